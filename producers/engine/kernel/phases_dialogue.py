"""Protocols over TCP that both sides together show, on any port: what one says, and the other answers at once.

A payload that may be the first half leaves a hint in its direction (`phase_hint`); the signature is found when the next
payload of the other direction is what has to follow.
"""

from typing import Any

from producers.compiled import bare_inner
from producers.engine.kernel.layout import Signature
from producers.engine.kernel.octets import Buffer, number, octet, word
from producers.engine.kernel.phases_http import is_capital

_NONE, _SOCKS, _SMTP, _FTP = (
    int(Signature.NONE),
    int(Signature.SOCKS),
    int(Signature.SMTP),
    int(Signature.FTP),
)
_POP3, _IMAP, _IRC = int(Signature.POP3), int(Signature.IMAP), int(Signature.IRC)
_MEMCACHED = int(Signature.MEMCACHED)

# Hints: what was said last.
_NOTHING = 0
_METHODS = 1  # SOCKS 5: ways to authenticate
_REQUEST = 2  # SOCKS 4: a request
_READY = 3  # 220: a server of SMTP or FTP is ready
_HELLO = 4  # SMTP: EHLO or HELO
_OK = 5  # POP3: +OK
_STAR = 6  # IMAP: * OK
_NICK = 7  # IRC: a client registers
_PREFIX = 8  # IRC: a server's line
_STORE = 9  # memcached: a command

_SPACE, _LINE_FEED, _COLON, _HYPHEN = 32, 10, 58, 45


@bare_inner
def converse(  # noqa: PLR0913, PLR0917 - a piece of buffer
    flow: Any, side: int, buffer: Buffer, start: int, available: int, length: int
) -> int:
    """The Signature that a payload completes, NONE if it does not; remembers what it may be the first half of."""
    said = number(flow.phase_hint[1 - side])
    flow.phase_hint[1 - side] = _NOTHING
    if said != _NOTHING:
        found = _answers(said, buffer, start, available, length)
        if found != _NONE:
            return found
    if flow.phase_hint[side] != _METHODS or not _asks_proxy(buffer, start, available):
        flow.phase_hint[side] = _hint(buffer, start, available, length)
    greets = flow.phase_hint[side] == _READY and _names_smtp(buffer, start, available)
    return _SMTP if greets else _NONE


@bare_inner
def _answers(said: int, buffer: Buffer, start: int, available: int, length: int) -> int:  # noqa: PLR0911 - a list of protocols
    """The Signature of what was `said` and this answer to it, NONE if it is none."""
    if said in (_METHODS, _REQUEST):
        return _SOCKS if _is_socks_answer(said, buffer, start, available, length) else _NONE
    if available < 4:
        return _NONE
    head = _lower(buffer, start)
    if said == _READY:
        if head in (0x65686C6F, 0x68656C6F, 0x6C686C6F):  # ehlo helo lhlo
            return _SMTP
        return _FTP if head in (0x75736572, 0x66656174, 0x61757468) else _NONE  # user feat auth
    if said == _HELLO:
        return _SMTP if word(buffer, start) in (0x3235302D, 0x32353020) else _NONE  # 250
    if said == _OK:
        return _POP3 if head in (0x75736572, 0x63617061, 0x61706F70, 0x61757468, 0x73746C73) else _NONE
    if said == _STAR:
        return _IMAP if _is_tagged(buffer, start, available) else _NONE
    if said == _NICK:
        return _IRC if _is_prefixed(buffer, start, available) else _NONE
    if said == _STORE:  # STOR VALU END STAT VERS
        answers = (0x53544F52, 0x56414C55, 0x454E440D, 0x53544154, 0x56455253)
        return _MEMCACHED if word(buffer, start) in answers else _NONE
    return _IRC if _registers(buffer, start, available) else _NONE


@bare_inner
def _hint(buffer: Buffer, start: int, available: int, length: int) -> int:  # noqa: PLR0911 - a list of protocols
    """What a payload may be the first half of."""
    first = octet(buffer, start)
    if first == 5:
        return _METHODS if _offers_methods(buffer, start, available, length) else _NOTHING
    if first == 4:
        return _REQUEST if _is_socks4_request(buffer, start, available, length) else _NOTHING
    if available < 4:
        return _NOTHING
    if first == 0x32:
        return _READY if word(buffer, start) in (0x32323020, 0x3232302D) else _NOTHING  # 220
    if first == 0x2B:
        return _OK if word(buffer, start) & 0xFFFFFF00 == 0x2B4F4B00 else _NOTHING  # +OK
    if first == 0x2A:
        return _STAR if word(buffer, start) == 0x2A204F4B else _NOTHING  # * OK
    if _registers(buffer, start, available):
        return _NICK
    if word(buffer, start) in (0x73657420, 0x67657420, 0x67657473, 0x61646420, 0x73746174, 0x76657273):
        return _STORE  # set get gets add stat vers (memcached's doc/protocol.txt)
    if (
        _lower(buffer, start) in (0x65686C6F, 0x68656C6F)
        and available > 4
        and octet(buffer, start + 4) == _SPACE
    ):
        return _HELLO
    return _PREFIX if _is_prefixed(buffer, start, available) else _NOTHING


@bare_inner
def _lower(buffer: Buffer, start: int) -> int:
    """Four letters as small ones; what is no letter may become another byte."""
    return word(buffer, start) | 0x20202020


@bare_inner
def _offers_methods(buffer: Buffer, start: int, available: int, length: int) -> bool:
    """Whether the payload is how a SOCKS 5 client begins (RFC 1928, 3).

    Version, number of methods, methods that are assigned or private, each once.
    """
    if available != length or available < 3 or octet(buffer, start + 1) != length - 2 or length > 12:
        return False
    for at in range(start + 2, start + length):
        method = octet(buffer, at)
        if method == 4 or (9 < method < 0x80) or method == 0xFF:
            return False
        for other in range(start + 2, at):
            if octet(buffer, other) == method:
                return False
    return True


@bare_inner
def _asks_proxy(buffer: Buffer, start: int, available: int) -> bool:
    """Whether a SOCKS 5 request begins at `start` (RFC 1928, 4); some clients do not wait before they send it."""
    if available < 10 or word(buffer, start) & 0xFF00FF00 != 0x05000000:
        return False
    return 1 <= octet(buffer, start + 1) <= 3 and octet(buffer, start + 3) in (1, 3, 4)


@bare_inner
def _is_socks4_request(buffer: Buffer, start: int, available: int, length: int) -> bool:
    """Whether the payload is a request of SOCKS 4 or 4a ("SOCKS: A protocol for TCP proxy across firewalls").

    Version, connect or bind, port, address, user, NUL, and for 4a a name, NUL.
    """
    if available != length or not 9 <= length <= 512 or not 1 <= octet(buffer, start + 1) <= 2:
        return False
    ends = number(0)
    for at in range(start + 8, start + length):
        if octet(buffer, at) == 0:
            ends += 1
        elif octet(buffer, at) < _SPACE:
            return False
    named = word(buffer, start + 4) < 256
    return ends == (2 if named else 1) and octet(buffer, start + length - 1) == 0


@bare_inner
def _is_socks_answer(said: int, buffer: Buffer, start: int, available: int, length: int) -> bool:
    """Whether a proxy answers: with the method it chose, or with what becomes of a SOCKS 4 request."""
    if said == _METHODS:
        method = octet(buffer, start + 1) if available > 1 else 4
        assigned = method < 10 and method != 4
        return length == 2 and octet(buffer, start) == 5 and (assigned or method >= 0x80)
    return (
        length == 8 and available == 8 and octet(buffer, start) == 0 and 90 <= octet(buffer, start + 1) <= 93
    )


@bare_inner
def _names_smtp(buffer: Buffer, start: int, available: int) -> bool:
    """Whether the first line of a greeting names SMTP (RFC 5321, 4.3.1)."""
    at, end = start + 4, start + min(available, 512) - 4
    while at <= end and octet(buffer, at) != _LINE_FEED:
        if _lower(buffer, at) == 0x736D7470:
            return True
        at += 1
    return False


@bare_inner
def _is_tagged(buffer: Buffer, start: int, available: int) -> bool:
    """Whether a command of IMAP with its tag begins at `start` (RFC 9051, 6): one that comes before a login."""
    at, end = start, start + min(available, 24) - 4
    while at < end and (
        48 <= octet(buffer, at) <= 57 or is_capital(octet(buffer, at) & 0xDF) or octet(buffer, at) == 46
    ):
        at += 1
    if at == start or at >= end or octet(buffer, at) != _SPACE:
        return False
    return _lower(buffer, at + 1) in (
        *(0x63617061, 0x6C6F6769, 0x61757468, 0x73746172),  # capa logi auth star
        *(0x69642028, 0x6964206E, 0x6E6F6F70, 0x6C6F676F),  # id (, id n, noop, logo
    )


@bare_inner
def _registers(buffer: Buffer, start: int, available: int) -> bool:
    """Whether a client of IRC registers at `start` (RFC 2812, 3.1; IRCv3, Capability Negotiation).

    PASS, NICK, USER; CAP LS, REQ, END.
    """
    if available < 7:
        return False
    head = word(buffer, start)
    if octet(buffer, start + 4) == _SPACE and head in (0x50415353, 0x4E49434B, 0x55534552):
        return True
    if head != 0x43415020:  # CAP
        return False
    return word(buffer, start + 3) & 0xFFFFFF in (0x4C5300 | octet(buffer, start + 6), 0x524551, 0x454E44)


@bare_inner
def _is_prefixed(buffer: Buffer, start: int, available: int) -> bool:
    """Whether a server's line begins at `start` (RFC 2812, 2.3).

    A prefix, then a reply's number or a command that is sent while a client registers.
    """
    if octet(buffer, start) != _COLON:
        return False
    at, end = start + 1, start + min(available, 128) - 4
    while at < end and 33 <= octet(buffer, at) <= 126:
        at += 1
    if at < start + 2 or at >= end or octet(buffer, at) != _SPACE:
        return False
    head = word(buffer, at + 1)
    if head & 0xFFFFFF00 == 0x43415000 or head in (0x4E4F5449, 0x50494E47, 0x4D4F4445):  # CAP NOTI PING MODE
        return True
    return head & 0xFF == _SPACE and head & 0xF0F0F000 == 0x30303000
