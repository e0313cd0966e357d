"""Whether a login over SSH succeeded, inferred from the lengths of encrypted segments.

The method is that of Zeek's SSH analyzer (src/analyzer/protocol/ssh/SSH.cc), written anew. With the same cipher and MAC
some messages have a length of their own, whatever it is in bytes. The server's first answer to what the client sends
under the new keys is SERVICE_ACCEPT of `ssh-userauth` (RFC 4253, section 10): 17 bytes, padded to 24 or 32. SUCCESS of
a login (RFC 4252, section 6) is one byte, padded to 8 or 16: in all ciphers 16 bytes less. FAILURE has the same list of
methods each time, so the same length; the first is the answer to the method `none`, which clients ask for to get that
list. What is much longer than the first answer and comes before it is a banner.
"""

from collections.abc import Sequence
from typing import NamedTuple

_SUCCESS_IS_LESS = 16
_BANNER_IS_MORE = 256


class Segment(NamedTuple):
    """An encrypted segment: who sent it, its bytes, and whether something before it was lost."""

    side: str
    size: int
    lost: bool = False


class Login(NamedTuple):
    """What is inferred: `success`, `failure` or nothing, and how many attempts were answered, `none` not counted."""

    result: str = ""
    attempts: int = 0


def login(segments: Sequence[Segment]) -> Login:
    """What the segments of a connection say of its login, from the first encrypted one on.

    A success is one answer of its length; a failure is at least one refusal with nothing after it that could have been
    a success joined with other messages. Where a segment was lost before, nothing is inferred.
    """
    asked = accepted = refusal = attempts = after = 0
    banner = False
    for segment in segments:
        if segment.lost:
            return Login("", attempts)
        if segment.side == "client":
            asked = 1
            after += 1
        elif not asked:
            continue
        elif not accepted:
            accepted = segment.size
        elif segment.size == accepted - _SUCCESS_IS_LESS:
            return Login("success", attempts + 1)
        elif not refusal:
            if not banner and segment.size > accepted + _BANNER_IS_MORE:
                banner = True
            else:
                refusal, after = segment.size, 0
        elif segment.size == refusal:
            attempts += 1
            after = 0
        else:
            after += 1
    return Login("failure" if attempts and after <= _LAST_WORDS else "", attempts)


_LAST_WORDS = 2
"""Segments after the last refusal: another attempt without an answer, and a DISCONNECT."""
