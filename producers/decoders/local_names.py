"""Names asked for on the local link: a query to a group or to all is answered by another address, on another flow."""

from typing import Any

from producers.decoders.unit import Place, Role, Unit


def _ends(place: Place) -> tuple[str, str, str, str]:
    """Sender's address and port, receiver's address and port; empty where there is no flow."""
    flow = place.flow
    if flow is None:
        return "", "", "", ""
    first = (flow.source_ip, str(flow.source_port))
    other = (flow.destination_ip, str(flow.destination_port))
    return (*first, *other) if place.from_initiator else (*other, *first)


def asker(unit: Unit) -> tuple[str, str]:
    """Address and port of the one who asks: what a query and the answers to it have in common."""
    sender, sender_port, receiver, receiver_port = _ends(unit.place)
    return (receiver, receiver_port) if unit.role is Role.RESPONSE else (sender, sender_port)


def responder(name: str, response: Unit | None) -> dict[str, Any]:
    """The field that says who answered; none without an answer."""
    address = _ends(response.place)[0] if response is not None else ""
    return {f"netflight.{name}.responder.ip": address} if address else {}
