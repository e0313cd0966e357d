"""A server that greets with 220, on whatever port: FTP or SMTP, by what the client says first."""

from producers.files.body import Spot
from producers.files.conversation import Conversation, Tools
from producers.files.ftp import Announce, FtpControl
from producers.files.lines import Lines
from producers.files.mail import VERBS, MailConversation

FTP_PORTS = frozenset({21})
MAIL_PORTS = frozenset({25, 465, 587, 2525})


def conversation_on(tools: Tools, port: int | None, community_id: str, announce: Announce) -> Conversation:
    """The parser for a connection to `port` of a server."""
    if port in FTP_PORTS:
        return FtpControl(community_id, announce)
    if port in MAIL_PORTS:
        return MailConversation(tools)
    return Greeted(tools, community_id, announce)


class Greeted:
    """Decides by the first command, and hands everything on from there."""

    def __init__(self, tools: Tools, community_id: str, announce: Announce) -> None:
        self.done = False
        self._tools, self._community_id, self._announce = tools, community_id, announce
        self._commands = Lines()
        self._inner: Conversation | None = None

    def data(self, forward: bool, data: bytes, spot: Spot) -> None:  # noqa: FBT001  # see Conversation
        """The next bytes of a side."""
        if self._inner is None and forward:
            self._commands.push(data)
            line = next(iter(self._commands), None)
            if line is None:
                return
            data = line + b"\r\n" + self._commands.rest()
            verb = line.strip().partition(b" ")[0].upper()
            if verb in VERBS:
                self._inner = MailConversation(self._tools)
            else:
                self._inner = FtpControl(self._community_id, self._announce)
        if self._inner is not None:
            self._inner.data(forward, data, spot)
            self.done = self._inner.done

    def room(self, forward: bool) -> int:  # noqa: FBT001, ARG002  # as above
        """Every byte may matter."""
        return 0

    def gap(self, forward: bool, size: int, spot: Spot) -> None:  # noqa: FBT001  # as above
        """A hole."""
        if self._inner is not None:
            self._inner.gap(forward, size, spot)

    def end(self, forward: bool, spot: Spot) -> None:  # noqa: FBT001  # as above
        """A FIN."""
        if self._inner is not None:
            self._inner.end(forward, spot)

    def close(self, spot: Spot) -> None:
        """The connection is over."""
        if self._inner is not None:
            self._inner.close(spot)
