"""Protocols over TCP, recognised on any port by the bytes at the beginning of a segment."""

from producers.compiled import bare_inner
from producers.engine.kernel.layout import Signature
from producers.engine.kernel.octets import Buffer, number, octet, short, word
from producers.engine.kernel.phases_http import begins_head, is_capital
from producers.engine.kernel.phases_records import begins_hello, begins_old_hello, begins_ssh

_NONE = int(Signature.NONE)
_HTTP, _HTTP2 = int(Signature.HTTP), int(Signature.HTTP2)
_TLS, _SSH = int(Signature.TLS), int(Signature.SSH)
_STUN, _BITTORRENT, _SMB = int(Signature.STUN), int(Signature.BITTORRENT), int(Signature.SMB)
_RDP, _SIP, _DNS = int(Signature.RDP), int(Signature.SIP), int(Signature.DNS)

_STUN_COOKIE = 0x2112A442  # RFC 8489, 5
_RDP_PORT = 3389


@bare_inner
def is_dns_port(port: int) -> bool:
    """Whether DNS, multicast DNS or LLMNR has the port."""
    return port in (53, 5353, 5355)


@bare_inner
def begins_stun(buffer: Buffer, start: int, available: int) -> bool:
    """Whether a STUN message with the magic cookie begins at `start`."""
    return (
        available >= 20
        and octet(buffer, start) < 64
        and octet(buffer, start + 3) & 3 == 0
        and word(buffer, start + 4) == _STUN_COOKIE
    )


@bare_inner
def begins_sip(buffer: Buffer, start: int, available: int) -> bool:
    """Whether a SIP request (`METHOD sip:`) or response begins at `start`."""
    if available < 12:
        return False
    if word(buffer, start) == 0x5349502F and word(buffer, start + 4) == 0x322E3020:  # SIP/2.0
        return True
    at = number(0)
    while at < 12 and is_capital(octet(buffer, start + at)):
        at += 1
    if at < 3 or at + 5 > available or octet(buffer, start + at) != 32:
        return False
    scheme = word(buffer, start + at + 1) | 0x20202020
    return scheme in (0x7369703A, 0x73697073, 0x74656C3A)  # sip: sips tel:


@bare_inner
def _begins_rdp(buffer: Buffer, start: int, available: int, ports: bool) -> bool:  # noqa: FBT001 - what is known, no mode
    """Whether an X.224 connection request or confirmation of RDP begins at `start` (MS-RDPBCGR 2.2.1.1, .2).

    What other users of X.224 send looks the same without a cookie and a negotiation; then `ports` decides.
    """
    if available < 11 or short(buffer, start) != 0x0300 or octet(buffer, start + 5) & 0xEF != 0xE0 & 0xEF:
        return False
    length = short(buffer, start + 2)
    if octet(buffer, start + 4) + 5 != length or length > available:
        return False
    if ports:
        return True
    if length >= 23 and word(buffer, start + 11) == 0x436F6F6B:  # Cookie: mstshash=
        return True
    negotiation = start + length - 8
    return length >= 19 and 1 <= octet(buffer, negotiation) <= 3 and short(buffer, negotiation + 2) == 0x0800


@bare_inner
def _begins_smb(buffer: Buffer, start: int, available: int) -> bool:
    """Whether a NetBIOS session message with an SMB message begins at `start`."""
    if available < 8 or octet(buffer, start) != 0:
        return False
    return octet(buffer, start + 4) >= 0xFC and word(buffer, start + 4) & 0xFFFFFF == 0x534D42


@bare_inner
def _recognise_text(buffer: Buffer, start: int, available: int) -> int:
    """The Signature of a payload whose first byte is a capital letter."""
    if available >= 4 and begins_ssh(buffer, start, available):
        return _SSH
    if begins_sip(buffer, start, available):
        return _SIP
    if available >= 12 and word(buffer, start) == 0x50524920 and word(buffer, start + 4) == 0x2A204854:
        return _HTTP2  # PRI * HTTP/2.0: RFC 9113, 3.4
    return _HTTP if begins_head(buffer, start, available) else _NONE


@bare_inner
def _recognise_binary(buffer: Buffer, start: int, available: int, is_rdp_port: bool) -> int:  # noqa: FBT001 - what is known, no mode
    """The Signature of any other payload."""
    if begins_hello(buffer, start, available) or begins_old_hello(buffer, start, available):
        return _TLS
    if _begins_smb(buffer, start, available):
        return _SMB
    if _begins_rdp(buffer, start, available, is_rdp_port):
        return _RDP
    if begins_stun(buffer, start, available):
        return _STUN
    if available >= 20 and word(buffer, start) == 0x13426974 and word(buffer, start + 4) == 0x546F7272:
        return _BITTORRENT
    return _NONE


@bare_inner
def recognise_stream(
    buffer: Buffer, start: int, available: int, source_port: int, destination_port: int
) -> int:
    """The Signature of the segment's payload at `start`, NONE if it has none."""
    if is_capital(octet(buffer, start)):
        signature = _recognise_text(buffer, start, available)
    else:
        signature = _recognise_binary(buffer, start, available, _RDP_PORT in (source_port, destination_port))
    if signature == _NONE and (is_dns_port(source_port) or is_dns_port(destination_port)):
        return _DNS
    return signature
