"""Syslog: the older form (RFC 3164), the newer one (RFC 5424), and whatever else is sent to its port."""

import re
from collections.abc import Iterator
from typing import Any

from producers.decoders.base import Decoder
from producers.decoders.convert import number
from producers.decoders.tree import Tree
from producers.decoders.unit import Place, Unit

_LIMIT = 65_536
# RFC 5424, section 6: VERSION TIMESTAMP HOSTNAME APP-NAME PROCID MSGID, then structured data and the text.
_NEWER = re.compile(r"(\d{1,2}) (\S+) (\S+) (\S+) (\S+) (\S+) (?=[-\[])")
_NAMES = (
    *("log.syslog.version", "netflight.syslog.timestamp", "log.syslog.hostname"),
    *("log.syslog.appname", "log.syslog.procid", "log.syslog.msgid"),
)
# RFC 3164, section 4.1: a timestamp of 15 characters, a host, a tag with the number of a process.
_OLDER = re.compile(r"([A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d) ")
_HOST = re.compile(r"([^\s:\[\]]+|[0-9A-Fa-f:.]+) ")
_TAG = re.compile(r"([^\s:\[\]]{1,48})(?:\[([^\]\s]{1,128})\])?:")
_ELEMENT = re.compile(r'\[(?:[^\]"\\]|\\.|"(?:[^"\\]|\\.)*+")*+\]')


class SyslogDecoder(Decoder):
    """Units of syslog messages, read from their text: tshark's reading of the older form has no tag."""

    def extra_fields(self) -> frozenset[str]:
        """The message's text."""
        return frozenset({"syslog.msg"})

    def units(self, layer: Tree, protocol: str, place: Place) -> Iterator[Unit]:
        """One unit per message."""
        columns = self.columns(layer)
        for unit in super().units(layer, protocol, place):
            facility, severity = (
                number((columns.get(f"syslog.{n}") or [""])[0]) for n in ("facility", "level")
            )
            if facility is not None and severity is not None:
                unit.fields["log.syslog.priority"] = facility * 8 + severity
            told = parsed(columns.get("syslog.msg", [""])[0])
            unit.fields.update(told)
            host = told.get("log.syslog.hostname")
            unit.hosts = [host] if host else []
            yield unit


def parsed(text: str) -> dict[str, Any]:
    """The fields of a message without its priority; what has no form is all `message`."""
    text = text[:_LIMIT].rstrip("\r\n\0")
    newer = _NEWER.match(text)
    if newer:
        fields = {name: value for name, value in zip(_NAMES, newer.groups(), strict=True) if value != "-"}
        return _with(fields, "message", _text(text[newer.end() :], fields))
    older = _OLDER.match(text)
    if older is None:
        return _with({}, "message", text)
    fields = {"netflight.syslog.timestamp": older.group(1)}
    rest = text[older.end() :]
    host = _HOST.match(rest)
    if host:
        fields["log.syslog.hostname"] = host.group(1)
        rest = rest[host.end() :]
    tag = _TAG.match(rest)
    if tag:
        fields["log.syslog.appname"] = tag.group(1)
        _with(fields, "log.syslog.procid", tag.group(2) or "")
        rest = rest[tag.end() :]
    return _with(fields, "message", rest.lstrip(" "))


def _text(rest: str, fields: dict[str, str]) -> str:
    """Read the structured data into `fields` (RFC 5424, section 6.3); return the text behind it."""
    at = 0
    while element := _ELEMENT.match(rest, at):
        at = element.end()
    _with(fields, "netflight.syslog.structured_data", rest[:at])
    return rest[at:].removeprefix("-").removeprefix(" ").removeprefix("\ufeff")


def _with(fields: dict[str, str], name: str, value: str) -> dict[str, str]:
    if value:
        fields[name] = value
    return fields
