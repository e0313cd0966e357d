"""Elements of DER (ITU-T X.690, section 10), as far as a certificate needs them where no library reads it."""

from typing import NamedTuple

_MAX_ELEMENTS = 256


class Element(NamedTuple):
    """An element: its tag of one octet, and its content."""

    tag: int
    content: bytes


def elements(data: bytes) -> list[Element]:
    """The elements that follow each other in `data`, up to the first that is cut short or has a long tag."""
    found: list[Element] = []
    at = 0
    while at + 2 <= len(data) and len(found) < _MAX_ELEMENTS:
        tag, size = data[at], data[at + 1]
        at += 2
        if size & 0x80:
            octets = size & 0x7F
            size = int.from_bytes(data[at : at + octets], "big")
            at += octets
        if tag & 0x1F == 0x1F or at + size > len(data):
            break
        found.append(Element(tag, data[at : at + size]))
        at += size
    return found
