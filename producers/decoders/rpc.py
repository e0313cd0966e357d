"""RPC interfaces of Windows: their names by UUID, and the names of their operations."""

from functools import cache
from importlib import resources
from typing import Any

import yaml

from producers.decoders.tables import LOADER

# tshark's names of layers, where the interface has another.
_NAMES = {
    "rpc_netlogon": "netlogon",
    "epm": "epmapper",
    "epm4": "epmapper",
    "efs": "efsrpc",
    "oxid": "IObjectExporter",
    "isystemactivator": "ISystemActivator",
    "remact": "IActivation",
    "remunk": "IRemUnknown",
    "mapi": "emsmdb",
    "taskschedulerservice": "ITaskSchedulerService",
}


@cache
def _known() -> dict[str, dict[str, Any]]:
    text = resources.files("producers.decoders").joinpath("rpc_interfaces.yaml").read_text(encoding="utf-8")
    known: dict[str, dict[str, Any]] = yaml.load(text, Loader=LOADER)  # noqa: S506  # it is a safe loader
    return known


def interface_name(uuid: str) -> str:
    """The name of an interface; empty where it has none."""
    return str(_known()["uuids"].get(uuid, ""))


def layer_interface(layer: str) -> str:
    """The name of the interface that tshark decodes in a layer."""
    return _NAMES.get(layer, layer)


def operation_name(interface: str, number: int) -> str:
    """The name of an operation, as Samba has it, else as Microsoft has; empty where it has none."""
    return str(_known()["operations"].get(interface, {}).get(number, "")) or method_name(interface, number)


def method_name(interface: str, number: int) -> str:
    """Microsoft's name of an operation; empty where it has none."""
    return str(_known()["methods"].get(interface, {}).get(number, ""))
