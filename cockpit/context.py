"""Settings as a command sees them: what was typed, the environment, a local stack that is up, the defaults."""

import os
from typing import Any

from runtime.names import shown
from runtime.settings import Settings, state_dir


def settings_for(**overrides: Any) -> Settings:
    """Settings with a running local stack's addresses where the operator has named none."""
    if overrides.get("sensor"):
        overrides["sensor"] = shown(overrides["sensor"])  # typed: any bytes, and part of every event
    return Settings.load(**_local_servers(), **overrides)


def _local_servers() -> dict[str, Any]:
    """The addresses of the local stack, if one is up and nothing says to use other servers."""
    if "NETFLIGHT_CONFIG" in os.environ:
        return {}
    wanted = {
        "kafka": ("NETFLIGHT_KAFKA__BOOTSTRAP", "bootstrap"),
        "elasticsearch": ("NETFLIGHT_ELASTICSEARCH__URLS", "urls"),
    }
    missing = {part: name for part, (variable, name) in wanted.items() if variable not in os.environ}
    if not missing or not (state_dir() / "stacks" / "local" / "stack.json").is_file():
        return {}  # without loading what stacks are made of
    from cockpit.stack import attach

    stack = attach()
    if stack is None:
        return {}
    found: dict[str, Any] = {"bootstrap": stack.kafka_bootstrap, "urls": [stack.elasticsearch_url]}
    return {part: {name: found[name]} for part, name in missing.items()}
