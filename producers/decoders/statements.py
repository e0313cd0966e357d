"""Statements of query languages: their first word, and the passwords that stand in them, which events do not show."""

import re
from typing import Any, NamedTuple

from producers.decoders.secrets import REDACTED, Credentials
from producers.decoders.unit import Unit

_MOST = 16_384  # characters of a statement that are looked at; an event has half as many
# Every repetition is possessive or bounded: the time grows with the length of the text alone.
_GAP = r"(?:\s|/\*[^*]{0,64}\*/){0,16}+"
_NAME = r"(?:'[^']{0,128}'|\"[^\"]{0,128}\"|`[^`]{0,128}`|\[[^\]]{0,128}\]|[\w.@%$-]{1,128}+)"
# A literal that is not closed goes on to the end. A backslash before a quote is taken for an escape in every dialect:
# where it is none, more is hidden than needs to be.
_LITERAL = (
    r"[NE]?(?:'(?P<s>(?:[^'\\]|\\.|'')*+)'?+|\"(?P<d>(?:[^\"\\]|\\.|\"\")*+)\"?+"
    r"|\$\$(?P<q>(?:[^$]|\$(?!\$))*+)(?:\$\$)?+)"
)
_SECRET = re.compile(
    rf"(?:\bIDENTIFIED{_GAP}(?:(?:WITH|VIA){_GAP}{_NAME}{_GAP})?(?:BY|AS|USING)(?:{_GAP}PASSWORD)?{_GAP}\(?{_GAP}"
    rf"|(?:OLD_?)?PASS(?:WORD|WD|PHRASE)(?:{_GAP}FOR{_GAP}{_NAME}(?:@{_NAME})?)?{_GAP}[=(,]?{_GAP}"
    rf"(?:(?:OLD_)?PASSWORD{_GAP}\({_GAP})?"
    rf"|\b(?:PWD|SECRET|ACCESS_?KEY|REPLACE|SP_PASSWORD|SP_ADDLOGIN)\b{_GAP}[=(]?{_GAP}(?:{_NAME}{_GAP},{_GAP})?)"
    rf"(?P<literal>{_LITERAL})",
    re.IGNORECASE | re.DOTALL,
)
# As in connection strings: password=secret, without quotes of its own.
_ASSIGNED = re.compile(r"(?:password|passwd|pwd)=(?P<literal>[^\s'\";,)&?$:@]{1,256}+)", re.IGNORECASE)
_USER = re.compile(
    rf"\b(?:USER|ROLE|LOGIN|FOR|TO)\b{_GAP}(?:IF{_GAP}NOT{_GAP}EXISTS{_GAP})?(?P<name>{_NAME})", re.IGNORECASE
)
_HASHED = re.compile(
    r"\*[0-9A-F]{40}|md5[0-9a-f]{32}|SCRAM-SHA-256\$.*|0x0[12]00[0-9A-F]{16,}|\$[0-9a-zA-Z]+\$.*"
)
_COMMENT = re.compile(r"(?:\s|/\*(?:[^*]|\*(?!/))*+\*/|(?:--|#)[^\n]*+\n)*+")
_MENTIONED = re.compile(r"pass|pwd|secret|identified|token", re.IGNORECASE)
_WORD = re.compile(r"[A-Za-z_]{1,32}")


class Statement(NamedTuple):
    """A statement as an event shows it, and the credentials that it gave away."""

    text: str
    method: str
    credentials: tuple[Credentials, ...]

    def takes_secrets(self) -> bool:
        """Whether what is bound to its parameters may be a secret."""
        return _MENTIONED.search(self.text) is not None

    def tell(self, unit: Unit, fields: dict[str, Any], mirror: str = "") -> None:
        """Put the statement into `fields` (its text under `mirror`, too) and its credentials into the unit."""
        if self.text:
            fields["query"] = self.text
            if mirror:
                fields[mirror] = self.text
        if self.method:
            fields["method"] = self.method
        unit.credentials.extend(self.credentials)


def statement(text: str) -> Statement:
    """Read a statement: its first word in capitals is the method; literals after words for a password are hidden."""
    looked_at = text[:_MOST]
    found: list[Credentials] = []

    def hide(match: re.Match[str]) -> str:
        whole, literal = match.group(), match.group("literal")
        secret = next((part for part in match.groups()[1:] if part is not None), literal)
        if not secret or secret.startswith(REDACTED):
            return whole
        if not _HASHED.fullmatch(secret):
            before = looked_at[max(match.start() - 400, 0) : match.start("literal")]
            users = list(_USER.finditer(before))
            user = users[-1].group("name").strip("'\"`[]") if users else ""
            found.append(Credentials(user, secret[:256], "statement"))
        return whole[: match.start("literal") - match.start()] + f"'{REDACTED}'"

    shown = _ASSIGNED.sub(hide, _SECRET.sub(hide, looked_at))
    comment = _COMMENT.match(looked_at)
    word = _WORD.match(looked_at, comment.end() if comment else 0)
    return Statement(shown, word.group().upper() if word else "", tuple(found[:16]))
