"""What HTTP messages carry, as events show it: header fields and the first bytes of bodies, with secrets redacted."""

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
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
_PLAIN, _LOGIN, _COOKIES, _KEY = range(4)
# Fields that have a key and nothing else in them.
_KEY_FIELD = re.compile(
    r"(?:api|access|auth|csrf|xsrf|session|secret|private)[_-]?(?:key|token|id|secret)$|^token$"
)
# What no credential of RFC 9110 (section 11.4) and no session has in it, and attacks have: JNDI look-ups and other
# expressions, paths upwards, markup, shell functions (Shellshock).
_TELLING = re.compile(r"[$%#]\{|\.\./|\.\.\\|<[\w!/?%]|\(\)\s*\{|`|\$\(")

# Names of what is secret: they end in one of these words, and may have another behind it.
_WORDS = (
    r"(?:passw(?:or)?d|passwort|passphrase|passcode|(?<!com)(?<!by)pass|pwd|pw|psw|secret|token|api[_-]?key|credential)s?"
    r"(?:[_\-.]?(?:\d{1,2}|confirm(?:ation)?|repeat|again|new|old|value|text))?\]?"
)
_HINTS = ("pass", "pwd", "pw", "psw", "secret", "token", "api", "credential")  # how each of them begins
_MAX_HINTS = 64  # of a body that are looked at
_NAME = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.:-[]$%")
_MAX_NAME = 64
_USER = re.compile(
    r"(?:.*[\W_])?(?:user(?:[_-]?(?:name|id))?|login(?:[_-]?name)?|uname|usr|log|uid|account|e?mail|benutzer(?:name)?)\]?",
    re.IGNORECASE,
)
_ONLY_PASSWORD = re.compile(
    r"(?:.*[\W_])?(?:passw(?:or)?d|passwort|passphrase|passcode|pass|pwd|pw|psw)\]?", re.IGNORECASE
)
_FLAGS = re.IGNORECASE | re.ASCII
_SECRET_NAME = re.compile(_WORDS, _FLAGS)
# What comes between the name and the value in forms, JSON, XML and multipart, by what stands before the name.
_IN_FORM = re.compile(r"(?:%5D)?=(?P<value>[^&\r\n]*)", _FLAGS)
_IN_JSON = re.compile(r'"\s{0,8}:\s{0,8}(?P<value>"(?:[^"\\]|\\.)*(?:"|\\?$)|[\w.+-]+)')
_IN_XML = re.compile(r"(?:\s[^<>]{0,200})?>(?P<value>[^<]*)")
_IN_PART = re.compile(r'"[^\r\n]{0,200}(?:\r?\n[^\r\n]{1,200}){0,4}\r?\n\r?\n(?P<value>[^\r\n]*)')
_PLACES: dict[str, tuple[re.Pattern[str], ...]] = {
    **dict.fromkeys(("", "&", ";", "?", "\n"), (_IN_FORM,)),
    '"': (_IN_JSON, _IN_PART),
    "<": (_IN_XML,),
}
_PAIR_OF_JSON = re.compile(r'"((?:[^"\\]|\\.){1,64})"\s*:\s*"((?:[^"\\]|\\.)*)"')
_FORM = "application/x-www-form-urlencoded"
_CONTROL = bytes({*range(32), 127} - {9, 10, 13})
_NOT_ASCII = _CONTROL + bytes(range(128, 256))
_UNSHOWN = ("image/", "audio/", "video/", "font/")


class Body(NamedTuple):
    """The beginning of a body as an event shows it, and the credentials in it."""

    text: str
    credentials: tuple[Credentials, ...] = ()


def fields_of(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Name, in lower case, and value of each header field line, secrets redacted; bounded in number and size."""
    total = 0
    for number, line in enumerate(lines):
        written, _, value = line.partition(":")
        name = written.strip().lower()[:_MAX_VALUE]
        value = redacted_field(name, value.strip())[:_MAX_VALUE]
        total += len(name) + len(value)
        if number == _MAX_FIELDS or total > _MAX_TOTAL:
            return
        if name:
            yield name, value


def header_names(found: Iterable[tuple[str, str]]) -> list[str]:
    """The names of header fields as Zeek's http.log has them: in upper case, each as often as it is there."""
    return [name.upper() for name, _ in found]


def redacted_field(name: str, value: str) -> str:
    """The value of a header field without the secrets in it: credentials, values of cookies, keys."""
    kind = _kind(name)
    if kind == _PLAIN:
        return value
    if kind == _LOGIN:
        if _TELLING.search(value):
            return value
        scheme = scheme_of(value)
        return f"{scheme} {REDACTED}" if scheme else REDACTED
    if kind == _COOKIES:
        if name.startswith("set"):
            first, rest = _cut(value, ";")
            return _cookie(first) + rest
        return ";".join(map(_cookie, value.split(";")))
    return value if _TELLING.search(value) else REDACTED


@lru_cache(maxsize=1 << 12)
def _kind(name: str) -> int:
    """Which secret a header field of a name has in it."""
    if name in _SECRET_FIELDS:
        return _LOGIN
    if name in _COOKIE_FIELDS:
        return _COOKIES
    return _KEY if _KEY_FIELD.search(name) else _PLAIN


def body_of(data: bytes, media_type: str, *, sent_by_client: bool) -> Body:
    """What an event shows of a body's first bytes; an empty text where that is nothing that can be read."""
    text = None if media_type.startswith(_UNSHOWN) else _text(data)
    if text is None:
        if not sent_by_client or media_type.startswith(_UNSHOWN):
            return Body("")
        return Body(escaped(data[:_BINARY]))
    if not sent_by_client or not text:
        return Body(redacted_body(text))
    return Body(redacted_body(text), tuple(logins(text, media_type)))


def redacted_body(text: str) -> str:
    """A body's text without the values of what is called a password, in forms, JSON, XML and multipart."""
    done, pieces = 0, []
    for at in _hints(text):
        if at < done:
            continue
        found = _secret(text, at)
        if found is not None:
            pieces += [text[done : found.start("value")], _hidden(found["value"])]
            done = found.end()
    return "".join([*pieces, text[done:]]) if pieces else text


def _hints(text: str) -> list[int]:
    """Where words begin that names of secrets have; in most texts there are none."""
    lower = text.lower()
    if len(lower) != len(text):
        lower = "".join(each.lower() if each.isascii() else each for each in text)
    found: list[int] = []
    for hint in _HINTS:
        at = lower.find(hint)
        while at >= 0 and len(found) < _MAX_HINTS:
            found.append(at)
            at = lower.find(hint, at + 1)
    return sorted(set(found))


def _secret(text: str, at: int) -> re.Match[str] | None:
    """The value that belongs to a name whose word begins at `at`."""
    name = _SECRET_NAME.match(text, at)
    if name is None:
        return None
    first = max(at - _MAX_NAME, 0)
    while at > first and text[at - 1] in _NAME:
        at -= 1
    for pattern in _PLACES.get(text[at - 1] if at else "", ()):
        found = pattern.match(text, name.end())
        if found is not None:
            return found
    return None


def logins(text: str, media_type: str) -> Iterator[Credentials]:
    """Users with their passwords in a form or in JSON, as far as it is there."""
    if not _hints(text):
        return
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


def _hidden(value: str) -> str:
    """What is shown of a secret; as it is, where it is none."""
    if not value or _TELLING.search(value) or _TELLING.search(unquote_plus(value)):
        return value
    return f'"{REDACTED}"' if value.startswith('"') else REDACTED


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
        if text.replace("\n", "").replace("\r", "").replace("\t", "").isprintable():
            return text
        break
    else:
        return escaped(data) if len(data.translate(None, _NOT_ASCII)) >= _LEAST_TEXT * len(data) else None
    if len(data.translate(None, _CONTROL)) < _LEAST_TEXT * len(data):
        return None
    return "".join(each if each >= " " or each in "\t\r\n" else f"\\x{ord(each):02x}" for each in text)


def escaped(data: bytes) -> str:
    r"""Bytes as a text, with all that is no printable ASCII as `\xNN`."""
    return "".join(
        chr(byte) if 32 <= byte < 127 or byte in (9, 10, 13) else f"\\x{byte:02x}" for byte in data
    )
