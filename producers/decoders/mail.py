"""Mail headers and attachments, read line by line, to `email.*` (RFC 5322, RFC 2045 to 2047, RFC 2231)."""

import binascii
import re
from datetime import UTC
from email.errors import MessageError
from email.message import Message
from email.utils import getaddresses, parsedate_to_datetime
from typing import Any

from producers.decoders.stream import text as as_text

MAX_ATTACHMENTS = 1000
_FOLD = re.compile(r"\r?\n[ \t]*|\r")
_FOLD_ALONE = re.compile(r"\r?\n(?=[ \t])")
_WORD = re.compile(r"=\?([\w.:*+-]{1,60})\?([bBqQ])\?([^?]*)\?=")
_ADDRESSES = {
    "email.from.address": "from",
    "email.to.address": "to",
    "email.cc.address": "cc",
    "email.bcc.address": "bcc",
    "email.reply_to.address": "reply-to",
}
_MANY = 1000
"""Addresses that are read of a header."""
_LONG = 65_536
"""Characters of a header that are read, and of all headers of a message or a part."""
_DEEP = 16
"""How deep parts of parts are followed."""
_HEADER = re.compile(r"([!-9;-~]{1,100})[ \t]*:(.*)", re.DOTALL)


class MessageReader:
    """Reads a message's lines as they come: its headers, and those of its parts that are files."""

    def __init__(self) -> None:
        self.size = 0
        self._headers: dict[str, list[str]] | None = None  # of the message, once they are whole
        self._open: list[str] | None = []  # lines of headers that are not whole yet
        self._length = 0
        self._boundaries: list[bytes] = []
        self._nested = False
        self._files: list[dict[str, Any]] = []

    def line(self, line: bytes) -> None:
        """Take the next line, without its end."""
        if self._open is not None:
            if line and not (self._headers is not None and self._is_boundary(line)):
                self._keep(as_text(line), self._open)
                return
            self._close()
            if not line:
                return
        if self._boundaries and line.startswith(b"--"):
            self._cut(line)

    def fields(self) -> dict[str, Any]:
        """The `email.*` fields that the message's headers say, as far as they have come."""
        found = self._headers if self._headers is not None else _parsed(self._open or [])
        told = headers(found)
        if self._files:
            told["email.attachments"] = self._files
        return told

    def _keep(self, line: str, into: list[str]) -> None:
        """Keep a line of headers; one that begins with white space goes on with the line before (RFC 5322, 2.2.3)."""
        self._length += len(line) + 2
        if self._length > _LONG:
            return
        if line[0] in " \t" and into:
            into[-1] += f"\r\n{line}"
        else:
            into.append(line)

    def _close(self) -> None:
        """Headers are whole: the message's, or a part's."""
        found = _parsed(self._open or [])
        self._open, self._length = None, 0
        if self._headers is None:
            self._headers = found
        elif not self._nested:
            self._add_file(found)
        self._nested = False
        message = _described(found)
        kind = message.get_content_type() if found else ""
        if kind.startswith("multipart/") and len(self._boundaries) < _DEEP:
            boundary = _boundary(message)
            if boundary:
                self._boundaries.append(boundary)
        elif kind == "message/rfc822":
            self._open, self._nested = [], True

    def _add_file(self, found: dict[str, list[str]]) -> None:
        if len(self._files) < MAX_ATTACHMENTS:
            file = attachment(found)
            if file is not None:
                self._files.append(file)

    def _is_boundary(self, line: bytes) -> bool:
        return any(line.rstrip() in (b"--" + each, b"--" + each + b"--") for each in self._boundaries)

    def _cut(self, line: bytes) -> None:
        """A part begins or the last one ends, where the line is a boundary (RFC 2046, 5.1.1)."""
        said = line.rstrip()[2:]
        for depth, boundary in enumerate(self._boundaries):
            if said == boundary:
                del self._boundaries[depth + 1 :]
                self._open, self._nested = [], False
                return
            if said == boundary + b"--":
                del self._boundaries[depth:]
                return


def headers(found: dict[str, list[str]]) -> dict[str, Any]:
    """The `email.*` fields that a message's headers say, by their names in lower case."""
    fields: dict[str, Any] = {}
    for name, source in _ADDRESSES.items():
        said = addresses(found.get(source, []))
        if said:
            fields[name] = said
    sender = addresses(found.get("sender", []))
    if sender:
        fields["email.sender.address"] = sender[0]
    told = (
        ("email.subject", decoded(_first(found, "subject"))),
        ("email.message_id", _first(found, "message-id").strip().strip("<>")),
        ("email.x_mailer", decoded(_first(found, "x-mailer") or _first(found, "user-agent"))),
        ("email.content_type", _first(found, "content-type").partition(";")[0].strip().lower()),
        ("email.origination_timestamp", date(_first(found, "date"))),
    )
    fields |= {name: value for name, value in told if value}
    received = [unfolded(text) for text in found.get("received", [])]
    if received:
        fields["netflight.smtp.received"] = received
    return fields


def attachment(found: dict[str, list[str]]) -> dict[str, Any] | None:
    """What the headers of a part say of a file; nothing where it is no attachment and has no file name."""
    message = _described(found)
    name = decoded(_file_name(message))
    if not name and _disposition(message) != "attachment":
        return None
    file: dict[str, Any] = {}
    if name:
        file["name"] = name
        stem, dot, extension = name.rpartition(".")
        if dot and stem and extension.isalnum() and len(extension) <= 10:
            file["extension"] = extension.lower()
    kind = _first(found, "content-type").partition(";")[0].strip().lower()
    if kind:
        file["mime_type"] = kind
    return {"file": file or {"mime_type": "text/plain"}}


def _parsed(lines: list[str]) -> dict[str, list[str]]:
    """Headers by their names in lower case; a line that is none ends nothing."""
    found: dict[str, list[str]] = {}
    for line in lines:
        header = _HEADER.match(line)
        if header is not None:
            found.setdefault(header[1].lower(), []).append(header[2].strip(" \t"))
    return found


def _described(found: dict[str, list[str]]) -> Message:
    message = Message()
    for header in ("Content-Type", "Content-Disposition"):
        for text in found.get(header.lower(), [])[:1]:
            message[header] = text
    return message


def _boundary(message: Message) -> bytes:
    try:
        return (message.get_boundary() or "").encode("utf-8", "replace")
    except (ValueError, LookupError, TypeError, MessageError):
        return b""


def addresses(lines: list[str]) -> list[str]:
    """The addresses in the lines of a header, without display names, each once."""
    found = getaddresses([unfolded(line)[:_LONG] for line in lines])
    return list(dict.fromkeys(address for _, address in found[:_MANY] if address))


def decoded(text: str) -> str:
    """A header's text with its encoded words decoded (RFC 2047, section 6.2), its folds taken out (RFC 5322, 2.2.3).

    Words of one charset that follow each other are decoded together: senders split letters between them.
    """
    text = _FOLD_ALONE.sub("", text)[:_LONG]
    parts: list[str] = []
    said, charset, end = b"", "", 0
    for word in _WORD.finditer(text):
        between, end = text[end : word.start()], word.end()
        if between and (between.strip() or not charset):
            parts += [_text(said, charset), between]
            said, charset = b"", ""
        if charset and word[1].lower() != charset:
            parts.append(_text(said, charset))
            said = b""
        charset = word[1].lower()
        said += _bytes(word)
    return "".join([*parts, _text(said, charset), text[end:]]).strip()


def _bytes(word: re.Match[str]) -> bytes:
    """What an encoded word says; the word itself where it is broken."""
    said = word[3].encode("ascii", "replace")
    try:
        return binascii.a2b_base64(said) if word[2] in "bB" else binascii.a2b_qp(said, header=True)
    except binascii.Error:
        return word[0].encode("ascii", "replace")


def _text(said: bytes, charset: str) -> str:
    try:
        return said.decode(charset.partition("*")[0] or "ascii", "replace")
    except (LookupError, ValueError):  # no charset that Python knows
        return said.decode("latin-1")


def unfolded(text: str) -> str:
    """A header on one line, without spaces at its ends."""
    return _FOLD.sub(" ", text).strip()


def date(text: str) -> str:
    """A header's date in ISO 8601, UTC; nothing where it is none."""
    try:
        return (
            parsedate_to_datetime(unfolded(text))
            .astimezone(UTC)
            .strftime("%Y-%m-%dT%H:%M:%SZ")
            .rjust(20, "0")
        )
    except (ValueError, TypeError, IndexError, OverflowError):
        return ""


def _file_name(message: Message) -> str:
    try:
        return message.get_filename("") or ""
    except (ValueError, LookupError, TypeError, MessageError):
        return ""


def _disposition(message: Message) -> str:
    return str(message.get("Content-Disposition", "")).partition(";")[0].strip().lower()


def _first(found: dict[str, list[str]], name: str) -> str:
    return found.get(name, [""])[0]
