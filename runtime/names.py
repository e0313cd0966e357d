"""File names as text: Linux has no encoding for them, so a name may hold bytes that are no UTF-8."""

import os
import re

_SURROGATE = re.compile("[\ud800-\udfff]")
_ESCAPED_BYTES = range(0xDC80, 0xDD00)  # what PEP 383 makes of the bytes 0x80 to 0xff


def shown(name: str | os.PathLike[str]) -> str:
    r"""A file name, or a text that contains one, that every encoder accepts: bytes that are no UTF-8 become `\xNN`."""
    text = os.fspath(name)
    return text if text.isascii() else _SURROGATE.sub(_escape, text)


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code - 0xDC00:02x}" if code in _ESCAPED_BYTES else f"\\u{code:04x}"
