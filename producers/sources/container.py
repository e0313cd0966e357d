"""What a capture may be wrapped in: gzip, recognised by its first bytes and inflated as it streams."""

import zlib
from collections.abc import Iterable, Iterator

GZIP = b"\x1f\x8b"
_OUTPUT = 1 << 14  # inflated bytes at a time, whatever the ratio; so much is lost where data is damaged


class BrokenStreamError(Exception):
    """Compressed data is damaged or cut off; the text says which."""


def inflated(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the chunks as they are, or inflated if they begin like gzip; empty chunks pass through.

    Raises BrokenStreamError where the compressed data ends too soon or makes no sense, after yielding what
    came before.
    """
    chunks = iter(chunks)
    head = b""
    for chunk in chunks:
        head += chunk
        if len(head) >= len(GZIP):
            break
        if not chunk:
            yield b""
    whole = _chain(head, chunks)
    yield from _gunzip(whole) if head.startswith(GZIP) else whole


def _chain(head: bytes, chunks: Iterator[bytes]) -> Iterator[bytes]:
    if head:
        yield head
    yield from chunks


def _gunzip(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Members one after the other (RFC 1952, section 2.2); zero padding after the last is allowed."""
    member, begun = zlib.decompressobj(wbits=31), False
    for chunk in chunks:
        data = chunk if begun else chunk.lstrip(b"\x00")
        if not chunk:
            yield b""
        while data:
            begun = True
            try:
                out = member.decompress(data, _OUTPUT)
            except zlib.error as error:
                raise BrokenStreamError(f"the gzip data is damaged ({error})") from error
            if out:
                yield out
            data = member.unconsumed_tail
            if member.eof:
                data = member.unused_data.lstrip(b"\x00")
                member, begun = zlib.decompressobj(wbits=31), False
    if begun:
        raise BrokenStreamError("the gzip data is cut off")
