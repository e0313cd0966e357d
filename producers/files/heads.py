"""Header fields as HTTP and mail write them, and what they say of names and types."""

import re
from urllib.parse import unquote_to_bytes

Fields = dict[str, str]

_PARAMETER = re.compile(r';\s*([\w!#$%&\'*+.^`|~-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;\s]*))')
_MAX_NAME = 1024


def header_fields(head: bytes) -> Fields:
    """The fields of a head (without its first line), by lower-case name, the first of each; folded lines joined.

    RFC 9112, section 5; RFC 5322, section 2.2.
    """
    found: Fields = {}
    name = ""
    for line in head.decode("utf-8", "replace").split("\n"):
        text = line.rstrip("\r")
        if text[:1] in (" ", "\t"):
            if name:
                found[name] += " " + text.strip()
            continue
        before, colon, value = text.partition(":")
        name = before.strip().lower() if colon else ""
        if name in found:
            name = ""
        elif name:
            found[name] = value.strip()
    return found


def media_type(fields: Fields) -> str:
    """The declared type without its parameters."""
    return fields.get("content-type", "").partition(";")[0].strip().lower()


def parameters(value: str) -> Fields:
    """The parameters of a field's value, by lower-case name; the extended form (RFC 8187, RFC 2231) wins."""
    found: Fields = {}
    pieces: dict[str, list[str]] = {}
    for name, quoted, bare in _PARAMETER.findall(value):
        key, text = name.lower(), re.sub(r'\\(["\\])', r"\1", quoted) if quoted else bare
        stem, star, number = key.partition("*")
        if star and number.rstrip("*").isdigit():
            pieces.setdefault(stem, []).append(text)
        elif star:
            found[stem] = _extended(text)
        else:
            found.setdefault(key, text)
    for name, texts in pieces.items():
        joined = "".join(texts)
        found.setdefault(name, _extended(joined) if joined.count("'") >= 2 else joined)
    return found


def file_name(fields: Fields) -> str:
    """The name by Content-Disposition (RFC 6266, RFC 2183), or Content-Type's `name`; the last part of a path."""
    told = parameters(fields.get("content-disposition", "")).get("filename")
    told = told or parameters(fields.get("content-type", "")).get("name", "")
    return base_name(told)


def base_name(path: str) -> str:
    """The last part of a path, whichever way its slashes lean."""
    return path.replace("\\", "/").rstrip("/").rpartition("/")[2][:_MAX_NAME]


def url_name(path: str) -> str:
    """The last part of a URL's path, percent-decoded (RFC 3986, section 2.1)."""
    last = path.partition("?")[0].partition("#")[0].rpartition("/")[2]
    return base_name(unquote_to_bytes(last).decode("utf-8", "replace"))


def extension(name: str) -> str:
    """What follows a name's last dot, in lower case; empty where that is no extension."""
    stem, dot, end = name.rpartition(".")
    return end.lower() if dot and stem and end.isalnum() and len(end) <= 10 else ""


def _extended(text: str) -> str:
    """`charset'language'percent-encoded` as text."""
    charset, _, rest = text.partition("'")
    octets = unquote_to_bytes(rest.partition("'")[2] or text)
    try:
        return octets.decode(charset or "utf-8", "replace")
    except LookupError:
        return octets.decode("utf-8", "replace")
