"""Every destination by its name. A new one is one line here and one module beside it."""

from runtime.errors import UsageError
from runtime.settings import Settings
from sinks import elasticsearch
from sinks.base import Destination, Factory

DESTINATIONS: dict[str, Factory] = {
    "elasticsearch": elasticsearch.destination,
}


def destination(name: str, settings: Settings) -> Destination:
    """The destination called `name`, not connected yet; raises UsageError for an unknown name."""
    if name not in DESTINATIONS:
        raise UsageError(f"sink {name}: no such sink", f"there are: {', '.join(sorted(DESTINATIONS))}")
    return DESTINATIONS[name](settings)
