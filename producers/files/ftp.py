"""Files over FTP (RFC 959; EPRT and EPSV: RFC 2428): names by the control connection, content by data connections."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from producers.files.body import Body, File, Spot
from producers.files.conversation import Tools
from producers.files.heads import base_name
from producers.files.lines import Lines

_SIX = re.compile(rb"(\d{1,3}),(\d{1,3}),(\d{1,3}),(\d{1,3}),(\d{1,3}),(\d{1,3})")
_EXTENDED = re.compile(rb"\((.)\1\1(\d{1,5})\1\)")
_TO_CLIENT = {b"RETR": True, b"STOR": False, b"STOU": False, b"APPE": False}
_LISTS = frozenset({b"LIST", b"NLST", b"MLSD"})


@dataclass(slots=True)
class Channel:
    """A data connection that was announced, and the command that it serves.

    `community_id` is the control connection's; `partial`: the transfer does not begin at the file's beginning, or
    adds to a file.
    """

    community_id: str
    command: bytes = b""
    argument: str = ""
    partial: bool = False


Announce = Callable[[str, int, Channel], None]
"""Told that a connection to an address (empty: the control connection's own server) and port is a data connection."""


class FtpControl:
    """A control connection: it announces data connections and says what they carry."""

    def __init__(self, community_id: str, announce: Announce, *, client_first: bool = True) -> None:
        self.done = False
        self._community_id, self._announce, self._client = community_id, announce, client_first
        self._commands, self._replies = Lines(), Lines()
        self._channel: Channel | None = None
        self._restart = False
        self._tls_asked = False

    def data(self, forward: bool, data: bytes, spot: Spot) -> None:  # noqa: FBT001, ARG002  # see Conversation
        """The next bytes of a side."""
        lines = self._commands if forward == self._client else self._replies
        lines.push(data)
        for line in lines:
            if forward == self._client:
                self._command(line)
            else:
                self._reply(line)

    def room(self, forward: bool) -> int:  # noqa: FBT001, ARG002  # as above
        """Every byte may matter."""
        return 0

    def gap(self, forward: bool, size: int, spot: Spot) -> None:  # noqa: FBT001, ARG002  # as above
        """A hole: the line it is in is lost."""
        (self._commands if forward == self._client else self._replies).rest()

    def end(self, forward: bool, spot: Spot) -> None:  # noqa: FBT001  # as above
        """Nothing to tell."""

    def close(self, spot: Spot) -> None:
        """Nothing to tell."""

    def _command(self, line: bytes) -> None:
        verb, _, argument = line.strip().partition(b" ")
        verb = verb.upper()
        self._tls_asked = verb == b"AUTH"
        if verb == b"PORT":
            self._open_six(argument)
        elif verb == b"EPRT" and argument.count(argument[:1] or b"|") == 4:
            _, _, address, port, _ = argument.split(argument[:1])
            if port.isdigit():
                self._open(address.decode("ascii", "replace"), int(port))
        elif verb == b"REST":
            self._restart = argument.strip() not in (b"", b"0")
        elif (verb in _TO_CLIENT or verb in _LISTS) and self._channel is not None:
            self._channel.command = verb
            self._channel.argument = argument.decode("utf-8", "replace").strip()
            self._channel.partial, self._restart = self._restart or verb == b"APPE", False

    def _reply(self, line: bytes) -> None:
        if line.startswith(b"227"):
            self._open_six(line)
        elif line.startswith(b"229"):
            found = _EXTENDED.search(line)
            if found:
                self._open("", int(found[2]))
        elif line.startswith(b"234") and self._tls_asked:  # RFC 4217, section 4
            self.done = True

    def _open_six(self, text: bytes) -> None:
        found = _SIX.search(text)
        if found:
            numbers = [int(each) for each in found.groups()]
            self._open(".".join(map(str, numbers[:4])), numbers[4] << 8 | numbers[5])

    def _open(self, address: str, port: int) -> None:
        if 0 < port < 65_536:
            self._channel = Channel(self._community_id)
            self._announce(address, port, self._channel)


class FtpData:
    """A data connection: one file, from whoever sends, up to its FIN."""

    def __init__(self, tools: Tools, channel: Channel) -> None:
        self.done = False
        self._tools, self._channel = tools, channel
        self._body: Body | None = None
        self._sender = True
        self._client_first = True
        self._first = self._last = Spot(0, 0, "")

    def data(self, forward: bool, data: bytes, spot: Spot) -> None:  # noqa: FBT001  # see Conversation
        """The next bytes of a side."""
        self._of(forward, spot).write(data)
        self._last = spot

    def room(self, forward: bool) -> int:  # noqa: FBT001  # as above
        """The content has no end but the connection's."""
        return 1 << 62 if self._body is not None and forward == self._sender else 0

    def gap(self, forward: bool, size: int, spot: Spot) -> None:  # noqa: FBT001  # as above
        """A hole."""
        self._of(forward, spot).gap(size)

    def end(self, forward: bool, spot: Spot) -> None:  # noqa: FBT001  # as above
        """The sender's FIN is the end of the file (RFC 959, section 3.4)."""
        if self._body is not None and forward == self._sender:
            self._last = spot
            self._tell(whole=True)

    def close(self, spot: Spot) -> None:  # noqa: ARG002  # as above
        """Without a FIN the file may go on."""
        self._tell(whole=False)

    def _of(self, forward: bool, spot: Spot) -> Body:  # noqa: FBT001  # as above
        if self._body is None:
            self._body, self._sender, self._first = Body(self._tools.limit), forward, spot
        return self._body

    def _tell(self, *, whole: bool) -> None:
        body, channel = self._body, self._channel
        self.done = True
        if body is None or channel.command in _LISTS:
            return
        self._body = None
        whole = whole and not body.missing and not channel.partial
        to_client = _TO_CLIENT.get(channel.command, True)
        fields: dict[str, Any] = {"netflight.file.control_community_id": channel.community_id}
        self._tools.tell(
            File(
                source="FTP_DATA",
                protocol="ftp-data",
                to_client=to_client,
                client_first=self._sender != to_client,
                first=self._first,
                last=self._last,
                content=body.content(whole=whole),
                complete=whole,
                seen=body.seen,
                missing=body.missing,
                name=base_name(channel.argument),
                path=channel.argument,
                fields=fields,
            )
        )
