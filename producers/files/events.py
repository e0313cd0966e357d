"""Files as the units that the event builder takes."""

from typing import Any

from producers.decoders.unit import Place, Role, Unit
from producers.files.body import File, Spot
from producers.files.connections import Found
from producers.files.heads import extension


def units_of(found: Found, path: str) -> tuple[Unit, Unit]:
    """The first and the last packet of a file, of which the first says everything; `path` is the capture's.

    The sizes of the two are those of the content: the event's bytes are what was seen of it, from its sender.
    """
    flow, file = found
    from_client = not file.to_client
    sent_by_initiator = from_client == file.client_first

    def unit(spot: Spot, fields: dict[str, Any], length: int) -> Unit:
        place = Place(spot.frame, spot.time_ns, flow, sent_by_initiator, length, spot.interface, path)
        return Unit(Role.SINGLE, fields, place, file.protocol)

    first = unit(file.first, _fields(file), file.seen)
    last = unit(file.last, {}, 0 if file.last.frame != file.first.frame else file.seen)
    host = file.fields.get("url.domain")
    first.hosts = [host] if host else []
    return first, last


def _fields(file: File) -> dict[str, Any]:
    content = file.content
    fields: dict[str, Any] = {
        "file.name": file.name,
        "file.path": file.path,
        "file.extension": extension(file.name),
        "file.size": content.size,
        "file.mime_type": content.mime,
        "file.hash.md5": content.md5,
        "file.hash.sha256": content.sha256,
        "netflight.file.source": file.source,
        "netflight.file.direction": "to_client" if file.to_client else "to_server",
        "netflight.file.complete": file.complete,
        "netflight.file.bytes_seen": file.seen,
        "netflight.file.missing_bytes": file.missing,
        "netflight.file.mime_declared": file.declared,
        "netflight.file.coding": file.coding,
        **file.fields,
    }
    return {name: value for name, value in fields.items() if value is not None and value != ""}
