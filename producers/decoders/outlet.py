"""The writing end of a pipe that never blocks: what does not fit yet waits."""

import contextlib
import fcntl
import os
from collections import deque

_SIZE = 1 << 20
_PIECES = 64  # how many buffers one system call writes at most


class Outlet:
    """Queues what is to be written to `pipe`, which is its own from now on; `backlog` is how many bytes wait."""

    def __init__(self, pipe: int) -> None:
        os.set_blocking(pipe, False)
        self.backlog = 0
        self.closed = False
        self.pipe, self._gone = pipe, False
        self._out: deque[memoryview] = deque()

    @property
    def waits(self) -> bool:
        """Whether something waits for room."""
        return self.backlog > 0 and not (self._gone or self.closed)

    def write(self, data: bytes | memoryview) -> None:
        """Queue bytes, which are not copied."""
        if len(data):
            self._out.append(memoryview(data))
            self.backlog += len(data)

    def send(self) -> None:
        """Write what the pipe takes."""
        if self._gone or self.closed:
            return
        out = self._out
        try:
            sent = os.writev(self.pipe, [out[place] for place in range(min(len(out), _PIECES))])
        except BlockingIOError:
            return
        except BrokenPipeError:
            self._gone = True  # who reads has ended; what it has answered can still be read
            return
        self.backlog -= sent
        while sent:
            if sent < len(out[0]):
                out[0] = out[0][sent:]
                return
            sent -= len(out.popleft())

    def close(self) -> None:
        """Close the pipe; what still waits goes nowhere."""
        if not self.closed:
            self.closed = True
            os.close(self.pipe)


def widen(pipe: int) -> None:
    """Make room in a pipe, so that both ends work at once; the system's limit may say no, which costs speed."""
    with contextlib.suppress(PermissionError):
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _SIZE)
