"""Files in mails on their way by SMTP (RFC 5321; BDAT: RFC 3030): the MIME parts that are attached."""

from producers.files.body import File, KeptBody, Spot
from producers.files.conversation import Tools
from producers.files.heads import base_name, file_name, header_fields, media_type, parameters
from producers.files.lines import Lines
from producers.files.multipart import Part, entity

_MAX_HEAD = 65_536
VERBS = frozenset({b"EHLO", b"HELO", b"LHLO", b"MAIL", b"RCPT"})
"""Commands that tell an SMTP client."""
_END = b"\r\n.\r\n"


class MailConversation:
    """Commands and mails of a connection; the client is who sends commands."""

    def __init__(self, tools: Tools, *, client_first: bool = True) -> None:
        self.done = False
        self._tools, self._client = tools, client_first
        self._commands, self._replies = Lines(), Lines()
        self._asked = False  # DATA was sent, and what follows it is not known to be a mail yet
        self._code = 0  # of the last reply since then
        self._tls_asked = False
        self._mail: KeptBody | None = None
        self._left = -1  # bytes of a BDAT chunk that are to come; -1: none
        self._chunked = self._last_chunk = False  # of the mail: sent by BDAT; of the chunk: the last one
        self._tail = b""  # of a mail in DATA: what may be the beginning of its end
        self._first = self._last = Spot(0, 0, "")

    def data(self, forward: bool, data: bytes, spot: Spot) -> None:  # noqa: FBT001  # see Conversation
        """The next bytes of a side."""
        if forward == self._client:
            self._last = spot
            self._sent(data, spot)
        else:
            self._replies.push(data)
            for line in self._replies:
                if line[:3].isdigit() and line[3:4] != b"-":
                    self._reply(int(line[:3]))

    def room(self, forward: bool) -> int:  # noqa: FBT001, ARG002  # as above
        """Every byte may matter."""
        return 0

    def gap(self, forward: bool, size: int, spot: Spot) -> None:  # noqa: FBT001, ARG002  # as above
        """A hole. In a mail it is passed over; a command may be in it."""
        if forward != self._client or self._mail is None:
            return
        if self._chunked:
            inside = min(size, max(self._left, 0))
            self._mail.gap(inside)
            self._left -= inside
            if size > inside:  # and with it a command
                self._tell(whole=False)
            elif not self._left:
                self._end_chunk()
            return
        self._mail.write(self._tail)
        self._tail = b""
        self._mail.gap(size)

    def end(self, forward: bool, spot: Spot) -> None:  # noqa: FBT001, ARG002  # as above
        """A FIN ends what was begun."""
        if forward == self._client:
            self._tell(whole=False)

    def close(self, spot: Spot) -> None:  # noqa: ARG002  # as above
        """A mail that has not ended is incomplete."""
        self._tell(whole=False)

    def _reply(self, code: int) -> None:
        self._code = code
        if code == 220 and self._tls_asked:  # RFC 3207, section 4
            self.done = True

    def _sent(self, data: bytes, spot: Spot) -> None:
        while data and not self.done:
            if self._left >= 0:
                data = self._chunk(data)
            elif self._mail is not None and not self._chunked:
                data = self._text(data)
            elif self._asked and not 400 <= self._code < 600:
                self._begin(spot)
                data = self._commands.rest() + data
            else:
                self._asked = False
                self._commands.push(data)
                data = b""
                for line in self._commands:
                    self._command(line, spot)
                    if self._asked and self._code == 0:
                        break  # what the server says decides what follows; it comes with later packets
                    if self._left >= 0:
                        data = self._commands.rest()
                        break

    def _command(self, line: bytes, spot: Spot) -> None:
        verb, _, rest = line.strip().partition(b" ")
        verb = verb.upper()
        self._tls_asked = verb == b"STARTTLS"
        if verb == b"DATA":
            self._asked, self._code = True, 0
        elif verb == b"BDAT":
            size, _, last = rest.strip().partition(b" ")
            if size.isdigit() and len(size) < 12:
                if self._mail is None:
                    self._begin(spot)
                    self._chunked, self._tail = True, b""
                self._left, self._last_chunk = int(size), last.strip().upper() == b"LAST"
                if not self._left:
                    self._end_chunk()

    def _begin(self, spot: Spot) -> None:
        self._asked = self._chunked = False
        self._mail = KeptBody(self._tools.limit, self._tools.budget)
        self._first = self._last = spot
        self._tail = b"\r\n"  # the line before ends with it: the mail's end may follow at once

    def _text(self, data: bytes) -> bytes:
        """Bytes of a mail in DATA, up to the line with a dot alone; return what follows it."""
        mail = self._mail
        if mail is None:
            return data
        joined = self._tail + data
        end = joined.find(_END)
        if end < 0:
            keep = len(_END) - 1
            mail.write(joined[:-keep])
            self._tail = joined[-keep:]
            return b""
        mail.write(joined[: end + 2])
        self._tail = b""
        self._tell(whole=True)
        return joined[end + len(_END) :]

    def _chunk(self, data: bytes) -> bytes:
        """Bytes of a BDAT chunk; return what follows it."""
        piece = data[: self._left]
        if self._mail is not None:
            self._mail.write(piece)
        self._left -= len(piece)
        if not self._left:
            self._end_chunk()
        return data[len(piece) :]

    def _end_chunk(self) -> None:
        self._left = -1
        if self._last_chunk:
            self._tell(whole=True)

    def _tell(self, *, whole: bool) -> None:
        """Tell the files in the mail that is being read, if there is one."""
        mail, self._mail, self._left = self._mail, None, -1
        if mail is None:
            return
        if not whole and self._tail:
            mail.write(self._tail)
        self._tail = b""
        if mail.data is not None:
            raw, holes = _without_dots(bytes(mail.data), mail.holes)
            fields = header_fields(raw[:_MAX_HEAD].partition(b"\r\n\r\n")[0])
            for part in entity(raw, holes, closed=whole):
                if _is_file(part):
                    self._tools.tell(self._file(part, fields.get("message-id", "")))
        mail.close()

    def _file(self, part: Part, message_id: str) -> File:
        declared = media_type(part.fields)
        return File(
            source="SMTP",
            protocol="smtp",
            to_client=False,
            client_first=self._client,
            first=self._first,
            last=self._last,
            content=part.content(),
            complete=part.complete,
            seen=part.seen,
            missing=part.missing,
            name=base_name(file_name(part.fields)),
            declared=declared,
            fields={"email.message_id": message_id} if message_id else {},
        )


def _is_file(part: Part) -> bool:
    """Whether a part is more than the mail's own text."""
    if part.fields.get("content-disposition", "").lower().startswith("attachment") or "filename" in part.said:
        return True
    declared = media_type(part.fields)
    named = "name" in parameters(part.fields.get("content-type", ""))
    return bool(part.data) and (named or declared.partition("/")[0] not in ("", "text", "multipart"))


def _without_dots(raw: bytes, holes: list[tuple[int, int]]) -> tuple[bytes, list[tuple[int, int]]]:
    """A mail without the dots that SMTP adds (RFC 5321, section 4.5.2), and without a line end at its beginning."""
    shorter = raw.replace(b"\r\n..", b"\r\n.")
    cut = 2 if shorter.startswith(b"\r\n") else 0
    moved = [
        (
            first - raw.count(b"\r\n..", 0, first) - cut,
            last - raw.count(b"\r\n..", 0, first) - cut,
        )
        for first, last in holes
    ]
    return shorter[cut:], moved
