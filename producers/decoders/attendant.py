"""A process beside each tshark: it reads what tshark prints and decodes it, and the main process gets answers.

It is forked when everything is loaded and compiled, reads tshark's output and the packets' places from pipes, and
writes its answers to a third; it ends with tshark. What goes through the pipes is length and content, in turn.
"""

import contextlib
import gc
import logging
import marshal
import os
import pickle
import signal
import time
from collections import deque
from pathlib import Path
from struct import Struct
from typing import NoReturn

from producers.decoders.decoding import Answer, Decoding
from producers.decoders.outlet import Outlet, widen
from producers.decoders.places import Places, unpacked
from producers.decoders.unit import Place

_READ_SIZE = 1 << 18
# Records that come one at a time cost half as much again in all three processes; so long they may gather, in seconds.
_GATHER = 0.002
_PLAIN, _ANY = b"m", b"p"
_HEAD = Struct("<I")

_log = logging.getLogger(__name__)


class Attendant:
    """Decodes the output of one tshark, which it takes over, in a process of its own."""

    def __init__(self, printed: int, decoding: Decoding) -> None:
        from_main, to_child = os.pipe()
        self._answers, from_child = os.pipe()
        for pipe in (to_child, from_child):
            widen(pipe)
        self._pid = os.fork()
        if not self._pid:
            _attend(printed, from_main, from_child, decoding)
        for pipe in (printed, from_main, from_child):
            os.close(pipe)
        os.set_blocking(self._answers, False)
        self.places = Outlet(to_child)
        self._status: int | None = None
        self._parts: list[bytes] = []
        self._missing = _HEAD.size

    @property
    def output(self) -> int:
        """The file descriptor to wait on for answers."""
        return self._answers

    def expect(self, places: Places) -> None:
        """Tell where the packets were seen that tshark gets next."""
        packed = places.packed()
        self.places.write(_HEAD.pack(len(packed)))
        self.places.write(packed)

    def receive(self) -> list[Answer] | None:
        """The answers that came; None once it has ended and all were returned."""
        try:
            data = os.read(self._answers, _READ_SIZE)
        except BlockingIOError:
            return []
        if not data:
            return None
        self._parts.append(data)
        self._missing -= len(data)
        if self._missing > 0:  # a long message is put together once, however many parts it comes in
            return []
        answers: list[Answer] = []
        whole, place = b"".join(self._parts), 0
        while len(whole) - place >= _HEAD.size:
            end = place + _HEAD.size + _HEAD.unpack_from(whole, place)[0]
            if end > len(whole):
                break
            answers += _loaded(whole[place + _HEAD.size : end])
            place = end
        rest = whole[place:]
        self._parts = [rest]
        size = _HEAD.unpack_from(rest)[0] if len(rest) >= _HEAD.size else 0
        self._missing = _HEAD.size + size - len(rest)
        return answers

    @property
    def failed(self) -> bool:
        """Whether it has not ended well; it is asked when it has ended."""
        if self._status is None:
            self._status = os.waitpid(self._pid, 0)[1]
        return self._status != 0

    def close(self) -> None:
        """End it."""
        if self._status is None:
            os.kill(self._pid, signal.SIGKILL)  # it has nothing to save
            os.waitpid(self._pid, 0)
        self.places.close()
        os.close(self._answers)


class _Arriving:
    """The places of the packets, as they come from the main process."""

    def __init__(self, pipe: int) -> None:
        self._pipe = pipe
        self._known: deque[Place] = deque()

    def next(self) -> Place:
        """The place of the next packet."""
        while not self._known:
            self._known.extend(unpacked(self._read(_HEAD.unpack(self._read(_HEAD.size))[0])))
        return self._known.popleft()

    def _read(self, size: int) -> bytes:
        parts = []
        while size:
            part = os.read(self._pipe, min(size, _READ_SIZE))
            if not part:
                raise BrokenPipeError
            parts.append(part)
            size -= len(part)
        return b"".join(parts)


def _attend(printed: int, places: int, answers: int, decoding: Decoding) -> NoReturn:
    """What the forked process does; it must never return into what its parent was about to do."""
    code = 1
    try:
        os.setsid()  # Ctrl-C is for the main process
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        _close_all_but(printed, places, answers)
        gc.freeze()
        gc.set_threshold(100_000, 50, 50)
        _decode(printed, _Arriving(places), answers, decoding)
        code = 0
    except BrokenPipeError:
        code = 0  # nobody wants to know any more
    except BaseException:  # noqa: BLE001  # whatever it is, it is told, and nothing follows
        _log.exception("decoding what tshark printed")
    finally:
        os._exit(code)


def _close_all_but(*kept: int) -> None:
    """Close what the parent has open, but for standard error; standard input and output are nothing."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1):
        os.dup2(nothing, number)
    for number in [int(path.name) for path in Path("/proc/self/fd").iterdir()]:
        if number > 2 and number not in kept:
            with contextlib.suppress(OSError):  # that of the list itself
                os.close(number)


def _decode(printed: int, places: _Arriving, answers: int, decoding: Decoding) -> None:
    while data := os.read(printed, _READ_SIZE):
        told: list[Answer] = []
        try:
            for record in decoding.splitter.push(data):
                told.append(decoding.answer(record, places.next()))  # noqa: PERF401  # those before a failure are told
        finally:
            if told:
                content = _dumped(told)
                view = memoryview(_HEAD.pack(len(content)) + content)
                while view:
                    view = view[os.write(answers, view) :]
        if len(data) < _READ_SIZE // 2:
            time.sleep(_GATHER)


def _dumped(answers: list[Answer]) -> bytes:
    """Answers as bytes: in the quickest way, or, where they hold more than plain values, in the one that takes all."""
    try:
        return _PLAIN + marshal.dumps(answers)
    except ValueError:
        return _ANY + pickle.dumps(answers, pickle.HIGHEST_PROTOCOL)


def _loaded(content: bytes) -> list[Answer]:
    answers: list[Answer] = (marshal if content[:1] == _PLAIN else pickle).loads(memoryview(content)[1:])
    return answers
