"""The two sentences a damaged capture is told in, and the limits that make it one."""

from runtime.errors import CaptureError

MAX_PACKET = 262_144
"""The longest packet believed, in bytes: Wireshark's WTAP_MAX_PACKET_SIZE_STANDARD, so that tshark agrees."""

# Links that carry longer transfers, with what Wireshark believes of them: USB (Linux, its memory-mapped form,
# USBPcap, Darwin, 2.0) and D-Bus 128 MiB, Elektrobit high-speed capture 8 MiB.
_USB, _DBUS, _EBHSCR = (186, 189, 220, 249, 266), 231, 279
_LONGER = dict.fromkeys((*_USB, _DBUS), 128 << 20) | {_EBHSCR: 8 << 20}


class BrokenStreamError(Exception):
    """Compressed data is damaged or cut off; the text says which."""


class CutStreamError(BrokenStreamError):
    """Compressed data ends inside a member or frame."""


def max_packet(linktype: int) -> int:
    """The longest packet believed of a link type, in bytes."""
    return _LONGER.get(linktype, MAX_PACKET)


def cut_off(name: str, packets: int, byte: int) -> CaptureError:
    """The error for a capture that ends inside the packet after the first `packets`, `byte` bytes in."""
    return CaptureError(f"{name}: truncated at packet {packets + 1:,} (byte {byte:,}); {_before(packets)}")


def damaged(name: str, packets: int, byte: int, why: str) -> CaptureError:
    """The error for a capture that makes no sense at `byte`, after `packets` good packets."""
    return CaptureError(
        f"{name}: damaged ({why}) at packet {packets + 1:,} (byte {byte:,}); {_before(packets)}"
    )


def broken(name: str, packets: int, why: str) -> CaptureError:
    """The error for compressed data that ends too soon or makes no sense after `packets` packets."""
    return CaptureError(f"{name}: {why}; {_before(packets)}")


def _before(packets: int) -> str:
    if packets == 0:
        return "no packet before it was decoded"
    return (
        f"the {packets:,} packets before it were decoded"
        if packets > 1
        else "the packet before it was decoded"
    )
