"""The two sentences a damaged capture is told in, and the limits that make it one."""

from runtime.errors import CaptureError

MAX_PACKET = 262_144
"""The longest packet believed, in bytes: Wireshark's WTAP_MAX_PACKET_SIZE_STANDARD, so that tshark agrees."""


def cut_off(name: str, packets: int, byte: int) -> CaptureError:
    """The error for a capture that ends inside the packet after the first `packets`, `byte` bytes in."""
    return _error(name, "truncated", packets, byte)


def damaged(name: str, packets: int, byte: int, why: str) -> CaptureError:
    """The error for a capture that makes no sense at `byte`, after `packets` good packets."""
    return _error(name, f"damaged ({why})", packets, byte)


def _error(name: str, how: str, packets: int, byte: int) -> CaptureError:
    before = "no packet before it was" if packets == 0 else f"the {packets:,} packets before it were"
    if packets == 1:
        before = "the packet before it was"
    return CaptureError(f"{name}: {how} at packet {packets + 1:,} (byte {byte:,}); {before} decoded")
