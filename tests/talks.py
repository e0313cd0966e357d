"""TCP connections written by hand, whole: handshake, what each side says with its acknowledgement, and the end."""

from collections.abc import Iterable
from pathlib import Path
from struct import pack

from tests.packets import Packet, ethernet, ip, pcap

CLIENT, SERVER = "192.0.2.1", "192.0.2.2"
_FIN, _SYN, _PUSH, _ACK = 1, 2, 8, 16
_STEP = 10**6  # nanoseconds between packets
_CLIENT_FIRST, _SERVER_FIRST = 0xFFFFFF00, 5000  # the client's sequence numbers wrap

Said = tuple[str, bytes]
"""`c` or `s` for client or server, and a segment of theirs."""


class Talks:
    """A capture of connections, one after the other."""

    def __init__(self) -> None:
        self.packets: list[Packet] = []

    def add(
        self,
        port: int,
        said: Iterable[Said],
        *,
        syn: bytes = b"",
        refused: bool = False,
        client_port: int = 0,
    ) -> int:
        """Add a connection; `syn` is data in the SYN (RFC 7413), sent again where it is `refused`. Return its port."""
        own = client_port or 40_000 + len(self.packets)
        ours, theirs = _CLIENT_FIRST, _SERVER_FIRST
        self._segment(own, port, _SYN, ours, 0, syn)
        ours += 1 + (0 if refused else len(syn))
        self._segment(port, own, _SYN | _ACK, theirs, ours)
        theirs += 1
        self._segment(own, port, _ACK, ours, theirs)
        for who, data in [("c", syn), *said] if refused else said:
            if who == "c":
                self._segment(own, port, _PUSH | _ACK, ours, theirs, data)
                ours += len(data)
                self._segment(port, own, _ACK, theirs, ours)
            else:
                self._segment(port, own, _PUSH | _ACK, theirs, ours, data)
                theirs += len(data)
                self._segment(own, port, _ACK, ours, theirs)
        self._segment(own, port, _FIN | _ACK, ours, theirs)
        self._segment(port, own, _FIN | _ACK, theirs, ours + 1)
        self._segment(own, port, _ACK, ours + 1, theirs + 1)
        return own

    def write(self, path: Path) -> Path:
        """Write the capture; return its path."""
        path.write_bytes(pcap(self.packets))
        return path

    def _segment(  # noqa: PLR0917  # the fields of a header
        self,
        source: int,
        destination: int,
        flags: int,
        sequence: int,
        acknowledgement: int,
        data: bytes = b"",
    ) -> None:
        """Add a segment; the client's port is the higher one."""
        header = (
            source,
            destination,
            sequence & 0xFFFFFFFF,
            acknowledgement & 0xFFFFFFFF,
            0x50,
            flags,
            64_000,
            0,
            0,
        )
        from_client = source > destination
        ends = (CLIENT, SERVER) if from_client else (SERVER, CLIENT)
        frame = ethernet(ip(*ends, 6, pack(">HHIIBBHHH", *header) + data), swapped=0 if from_client else 1)
        self.packets.append((10**18 + len(self.packets) * _STEP, frame, len(frame)))
