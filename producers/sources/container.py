"""What a capture may be wrapped in: gzip, recognised by its first bytes and inflated as it streams."""

import zlib
from collections.abc import Iterable, Iterator

from runtime.errors import CaptureError

GZIP = b"\x1f\x8b"
_OUTPUT = 1 << 18  # inflated bytes at a time, whatever the ratio


def inflated(chunks: Iterable[bytes], name: str) -> Iterator[bytes]:
    """Yield the chunks as they are, or inflated if they begin like gzip; empty chunks pass through.

    Raises CaptureError where the compressed data is damaged or cut off, after yielding what came before.
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
    yield from _gunzip(whole, name) if head.startswith(GZIP) else whole


def _chain(head: bytes, chunks: Iterator[bytes]) -> Iterator[bytes]:
    if head:
        yield head
    yield from chunks


def _gunzip(chunks: Iterator[bytes], name: str) -> Iterator[bytes]:
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
                raise CaptureError(
                    f"{name}: the gzip data is damaged ({error}); what came first was decoded"
                ) from error
            if out:
                yield out
            data = member.unconsumed_tail
            if member.eof:
                data = member.unused_data.lstrip(b"\x00")
                member, begun = zlib.decompressobj(wbits=31), False
    if begun:
        raise CaptureError(f"{name}: the gzip data is cut off; what came before was decoded")
