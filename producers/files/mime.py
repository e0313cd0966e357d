"""What a file is, by its first bytes."""

from functools import lru_cache

import puremagic

HEAD = 512
"""How many of a file's first bytes are looked at."""

_UNKNOWN = "application/octet-stream"
_SURE = 0.3  # of puremagic's confidence: a mark of three bytes
_TEXT_CONTROLS = frozenset(range(32)) - frozenset(b"\t\n\f\r\x1b\b")
# What puremagic does not know, or takes for something narrower: its zip is any document in a zip.
_MARKS = (
    (b"MZ", "application/vnd.microsoft.portable-executable"),
    (b"\x7fELF", "application/x-executable"),
    (b"#!", "text/x-shellscript"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"\x1f\x8b", "application/gzip"),
    (b"%PDF-", "application/pdf"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "application/x-ole-storage"),
    (b"Rar!\x1a\x07", "application/vnd.rar"),
)
_OFFICE = "application/vnd.openxmlformats-officedocument"
_ZIPPED = (
    (b"word/", f"{_OFFICE}.wordprocessingml.document"),
    (b"xl/", f"{_OFFICE}.spreadsheetml.sheet"),
    (b"ppt/", f"{_OFFICE}.presentationml.presentation"),
    (b"META-INF/", "application/java-archive"),
    (b"AndroidManifest.xml", "application/vnd.android.package-archive"),
)
_MARKUP = (
    (b"<!doctype html", "text/html"),
    (b"<html", "text/html"),
    (b"<head", "text/html"),
    (b"<?xml", "text/xml"),
    (b"<svg", "image/svg+xml"),
)


@lru_cache(maxsize=4096)
def mime_type(head: bytes) -> str:
    """The media type of a file that begins with `head` (the first HEAD bytes of it)."""
    for mark, name in _MARKS:
        if head.startswith(mark):
            return name
    if head.startswith(b"PK\x03\x04"):
        return _zipped(head)
    begin = head.lstrip().lower()
    for mark, name in _MARKUP:
        if begin.startswith(mark):
            return name
    if _is_text(head):
        return "application/json" if begin[:1] in (b"{", b"[") and b'"' in begin else "text/plain"
    return _by_magic(head)


def _zipped(head: bytes) -> str:
    """A zip by the names of its first members (OPC, ODF, JAR)."""
    if head[30:38] == b"mimetype":  # ODF 1.3, part 2, section 3.3: stored first, uncompressed
        name = head[38:].split(b"PK", 1)[0]
        return name.decode("ascii", "replace") if name.startswith(b"application/") else "application/zip"
    return next((name for mark, name in _ZIPPED if mark in head), "application/zip")


def _is_text(head: bytes) -> bool:
    if any(octet in _TEXT_CONTROLS for octet in head):
        return False
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start > len(head) - 4 and len(head) == HEAD  # a character cut off
    return True


def _by_magic(head: bytes) -> str:
    try:
        found = puremagic.magic_string(head)
    except (puremagic.PureError, ValueError):
        return _UNKNOWN
    return next((each.mime_type for each in found if each.mime_type and each.confidence >= _SURE), _UNKNOWN)
