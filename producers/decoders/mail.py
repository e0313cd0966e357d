"""Mail headers and attachments, from tshark's `imf` layer to `email.*` (RFC 5322, RFC 2045 to 2047, RFC 2231)."""

import binascii
import re
from collections.abc import Iterator
from datetime import UTC
from email.errors import MessageError
from email.message import Message
from email.utils import getaddresses, parsedate_to_datetime
from typing import Any

from producers.decoders.tree import Tree, find_all, texts

MAX_ATTACHMENTS = 1000
_FOLD = re.compile(r"\r?\n[ \t]*|\r")
_FOLD_ALONE = re.compile(r"\r?\n(?=[ \t])")
_WORD = re.compile(r"=\?([\w.:*+-]{1,60})\?([bBqQ])\?([^?]*)\?=")
_ADDRESSES = {
    "email.from.address": "imf.from",
    "email.to.address": "imf.to",
    "email.cc.address": "imf.cc",
    "email.bcc.address": "imf.bcc",
    "email.reply_to.address": "imf.reply_to",
}
_MANY = 1000
"""Addresses that are read of a header."""
_LONG = 65_536
"""Characters of a header that are read."""


def headers(layer: Tree) -> dict[str, Any]:
    """The `email.*` fields that a message's headers say."""
    fields: dict[str, Any] = {}
    for name, source in _ADDRESSES.items():
        found = addresses(texts(layer.get(source)))
        if found:
            fields[name] = found
    sender = addresses(texts(layer.get("imf.sender")))
    if sender:
        fields["email.sender.address"] = sender[0]
    said = (
        ("email.subject", decoded(_first(layer, "imf.subject"))),
        ("email.message_id", _first(layer, "imf.message_id").strip().strip("<>")),
        ("email.x_mailer", decoded(_first(layer, "imf.ext.mailer") or _first(layer, "imf.user_agent"))),
        ("email.content_type", _first(layer, "imf.content.type.type") or _content_type(layer)),
        ("email.origination_timestamp", date(_first(layer, "imf.date"))),
    )
    fields |= {name: value for name, value in said if value}
    received = [unfolded(text) for text in texts(layer.get("imf.received"))]
    if received:
        fields["netflight.smtp.received"] = received
    files = list(attachments(layer))
    if files:
        fields["email.attachments"] = files
    return fields


def attachments(layer: Tree) -> Iterator[dict[str, Any]]:
    """The parts of a message that are attachments or have a file name, at any depth."""
    for number, part in enumerate(find_all(layer, "mime_multipart.part_tree")):
        if number == MAX_ATTACHMENTS:
            return
        message = Message()
        for header in ("Content-Type", "Content-Disposition"):
            for text in texts(part.get(f"mime_multipart.header.{header.lower()}"))[:1]:
                message[header] = text[:_LONG]
        name = decoded(_file_name(message))
        if not name and _disposition(message) != "attachment":
            continue
        file: dict[str, Any] = {}
        if name:
            file["name"] = name
            stem, dot, extension = name.rpartition(".")
            if dot and stem and extension.isalnum() and len(extension) <= 10:
                file["extension"] = extension.lower()
        kind = texts(part.get("mime_multipart.header.content-type"))
        if kind:
            file["mime_type"] = kind[0].partition(";")[0].strip().lower()
        yield {"file": file} if file else {"file": {"mime_type": "text/plain"}}


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


def _content_type(layer: Tree) -> str:
    return _first(layer, "imf.content.type").partition(";")[0].strip().lower()


def _first(tree: Tree, name: str) -> str:
    return (texts(tree.get(name)) or [""])[0]
