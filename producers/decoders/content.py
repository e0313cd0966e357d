"""What HTTP messages carry, as events show it: header fields and the first bytes of bodies, with secrets redacted."""

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple
from urllib.parse import unquote_plus

from producers.decoders.authorization import scheme_of
from producers.decoders.secrets import REDACTED, Credentials

CONTENT = 1024
"""How many bytes of a body an event shows."""

_MAX_FIELDS, _MAX_VALUE, _MAX_TOTAL = 64, 1024, 16_384  # header fields, characters of each, of all together
_BINARY = 256  # bytes shown of a request's body that is no text
_LEAST_TEXT = 0.85  # of a text, so many characters are printable

_SECRET_FIELDS = {"authorization", "proxy-authorization"}
_COOKIE_FIELDS = {"cookie", "set-cookie", "cookie2", "set-cookie2"}
# Fields that have a key and nothing else in them.
_KEY_FIELD = re.compile(
    r"(?:api|access|auth|csrf|xsrf|session|secret|private)[_-]?(?:key|token|id|secret)$|^token$"
)
# What no credential of RFC 9110 (section 11.4) and no session has in it, and attacks have: JNDI look-ups and other
# expressions, paths upwards, markup, shell functions (Shellshock).
_TELLING = re.compile(r"[$%#]\{|\.\./|\.\.\\|<[\w!/?%]|\(\)\s*\{|`|\$\(")

_GUARDED = (
    r"[\w.:\-\[\]$]{0,64}?(?:passw(?:or)?d|passwort|passphrase|passcode|passwd|(?<!com)(?<!by)pass|pwd|pw|psw|secret|token|api[_-]?key|credential)"
    r"(?:[_\-.]?(?:\d{1,2}|confirm(?:ation)?|repeat|again|new|old|value|text))?\]?"
)
_USER = re.compile(
    r"(?:.*[\W_])?(?:user(?:[_-]?(?:name|id))?|login(?:[_-]?name)?|uname|usr|log|uid|account|e?mail|benutzer(?:name)?)\]?",
    re.IGNORECASE,
)
_ONLY_PASSWORD = re.compile(
    r"(?:.*[\W_])?(?:passw(?:or)?d|passwort|passphrase|passcode|pass|pwd|pw|psw)\]?", re.IGNORECASE
)
_IN_FORM = re.compile(rf"(?P<lead>(?:^|[&;?\n])(?P<name>{_GUARDED})=)(?P<value>[^&\r\n]*)", re.IGNORECASE)
_IN_JSON = re.compile(
    rf'(?P<lead>"(?P<name>{_GUARDED})"\s*:\s*)(?P<value>"(?:[^"\\]|\\.)*(?:"|\\?$)|[\w.+-]+)', re.IGNORECASE
)
_IN_XML = re.compile(rf"(?P<lead><(?P<name>{_GUARDED})(?:\s[^<>]*)?>)(?P<value>[^<]*)", re.IGNORECASE)
_IN_PART = re.compile(
    rf'(?P<lead>name="(?P<name>{_GUARDED})"[^\r\n]*(?:\r?\n[^\r\n]+)*\r?\n\r?\n)(?P<value>[^\r\n]*)',
    re.IGNORECASE,
)
_PAIR_OF_JSON = re.compile(r'"((?:[^"\\]|\\.){1,64})"\s*:\s*"((?:[^"\\]|\\.)*)"')
_FORM = "application/x-www-form-urlencoded"
_UNSHOWN = ("image/", "audio/", "video/", "font/")


class Body(NamedTuple):
    """The beginning of a body as an event shows it, and the credentials in it."""

    text: str
    credentials: tuple[Credentials, ...] = ()


def fields_of(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Name, in lower case, and value of each header field line, secrets redacted; bounded in number and size."""
    total = 0
    for number, line in enumerate(lines):
        name, _, value = line.partition(":")
        name, value = name.strip().lower()[:_MAX_VALUE], redacted_field(name.strip().lower(), value.strip())
        total += len(name) + min(len(value), _MAX_VALUE)
        if number == _MAX_FIELDS or total > _MAX_TOTAL:
            return
        if name:
            yield name, value[:_MAX_VALUE]


def header_names(found: Iterable[tuple[str, str]]) -> list[str]:
    """The names of header fields as Zeek's http.log has them: in upper case, each as often as it is there."""
    return [name.upper() for name, _ in found]


def redacted_field(name: str, value: str) -> str:
    """The value of a header field without the secrets in it: credentials, values of cookies, keys."""
    if name in _SECRET_FIELDS:
        if _TELLING.search(value):
            return value
        scheme = scheme_of(value)
        return f"{scheme} {REDACTED}" if scheme else REDACTED
    if name in _COOKIE_FIELDS:
        if name.startswith("set"):
            first, rest = _cut(value, ";")
            return _cookie(first) + rest
        return ";".join(map(_cookie, value.split(";")))
    if _KEY_FIELD.search(name) and not _TELLING.search(value):
        return REDACTED
    return value


def body_of(data: bytes, media_type: str, *, sent_by_client: bool) -> Body:
    """What an event shows of a body's first bytes; an empty text where that is nothing that can be read."""
    text = _text(data)
    if text is None:
        if not sent_by_client or media_type.startswith(_UNSHOWN):
            return Body("")
        return Body(escaped(data[:_BINARY]))
    if not sent_by_client or not text:
        return Body(redacted_body(text))
    return Body(redacted_body(text), tuple(logins(text, media_type)))


def redacted_body(text: str) -> str:
    """A body's text without the values of what is called a password, in forms, JSON, XML and multipart."""
    for pattern in (_IN_FORM, _IN_JSON, _IN_XML, _IN_PART):
        text = pattern.sub(_hidden, text)
    return text


def logins(text: str, media_type: str) -> Iterator[Credentials]:
    """Users with their passwords in a form or in JSON, as far as it is there."""
    mechanism = "Form"
    if media_type.endswith("json") or text.lstrip()[:1] in ("{", "["):
        mechanism, pairs = "JSON", _PAIR_OF_JSON.findall(text)
    elif media_type in ("", _FORM):
        pairs = [
            (unquote_plus(name), unquote_plus(value))
            for name, found, value in (pair.partition("=") for pair in text.split("&"))
            if found
        ]
    else:
        return
    users = [value for name, value in pairs if _USER.fullmatch(name) and value]
    secrets = [value for name, value in pairs if _ONLY_PASSWORD.fullmatch(name) and value]
    if secrets:
        yield Credentials(users[0] if users else "", secrets[0], mechanism)


def _hidden(found: re.Match[str]) -> str:
    value = found["value"]
    if not value or _TELLING.search(value) or _TELLING.search(unquote_plus(value)):
        return found[0]
    quoted = value.startswith('"')
    return found["lead"] + (f'"{REDACTED}"' if quoted else REDACTED)


def _cookie(text: str) -> str:
    """A cookie with its name, and its value only where that is no session's."""
    name, found, value = text.partition("=")
    if _TELLING.search(text) or _TELLING.search(unquote_plus(text)):
        return text
    return (
        f"{name}={REDACTED}" if found and value.strip() else text if found or not name.strip() else REDACTED
    )


def _cut(text: str, at: str) -> tuple[str, str]:
    first, found, rest = text.partition(at)
    return first, found + rest


def _text(data: bytes) -> str | None:
    """Bytes as a text: UTF-8, of which the last character may be cut, else ASCII with a few bytes escaped; or None."""
    for end in range(len(data), max(len(data) - 4, -1), -1):
        try:
            text = data[:end].decode("utf-8")
        except UnicodeDecodeError:
            continue
        break
    else:
        text = data.decode("utf-8", "replace")
    if not text:
        return ""
    good = sum(1 for each in text if each.isprintable() or each in "\t\r\n") - text.count("\ufffd")
    if good < _LEAST_TEXT * len(text):
        return None
    if "\ufffd" in text and b"\xef\xbf\xbd" not in data:
        return escaped(data)
    return "".join(each if each >= " " or each in "\t\r\n" else f"\\x{ord(each):02x}" for each in text)


def escaped(data: bytes) -> str:
    r"""Bytes as a text, with all that is no printable ASCII as `\xNN`."""
    return "".join(
        chr(byte) if 32 <= byte < 127 or byte in (9, 10, 13) else f"\\x{byte:02x}" for byte in data
    )
