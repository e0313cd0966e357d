"""One tshark as a child: packets in as pcapng on its stdin, one JSON record per packet out, in order.

The child runs unprivileged, with an empty profile so that a user's preferences change nothing, and is driven
without threads: `exchange` moves what can be moved both ways and never blocks on a full pipe. Every answer is
flushed, so that when it ends the first packet without an answer is the one it ended on.
"""

import contextlib
import fcntl
import json
import os
import re
import select
import shutil
import signal
import struct
import subprocess
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from producers.decoders.tree import Tree
from producers.sources.packet import RawPacket
from runtime.errors import DecoderError

# The link types that pcapng can tell.
MAX_LINKTYPE = 0xFFFF
_READ_SIZE = 1 << 20
_WRITE_SIZE = 1 << 18
_PIPE_SIZE = 1 << 20
_RECORD_END = b"\n  }"
_SECTION = struct.pack("<IIIHHqI", 0x0A0D0D0A, 28, 0x1A2B3C4D, 1, 0, -1, 28)
_EPB_HEAD = struct.Struct("<IIIIIII")
_U32 = struct.Struct("<I")
_PADDING = (b"", b"\0\0\0", b"\0\0", b"\0")
# A block type that readers skip. tshark reads its input in 4 KiB pieces; this pushes what waits there on.
_FILLER = struct.pack("<II", 0x0BAD_F17E & 0x7FFFFFFF, 16_384) + bytes(16_384 - 12) + _U32.pack(16_384)

# A tshark that has not answered for so long is taken to hang.
SILENT_SECONDS = 60.0
# What tshark says of a packet that it cannot read, other than when it fails.
_REFUSALS = ("damaged or corrupt", "doesn't support")
_LONE_SURROGATE = re.compile(r"[\ud800-\udfff]")

PREFERENCES = {
    "tcp.reassemble_out_of_order": "TRUE",
    "ip.defragment": "TRUE",
}


class TsharkEndedError(DecoderError):
    """tshark ended with packets unanswered: `refused` the first of them, or died on it; `reason` is the short why."""

    def __init__(self, what: str, reason: str, *, refused: bool) -> None:
        super().__init__(what, "see docs/decoding.md")
        self.reason = reason
        self.refused = refused


def tshark_path() -> str:
    """The path of tshark; raises DecoderError with what to install where there is none."""
    path = shutil.which("tshark")
    if path is None:
        raise DecoderError("tshark is not installed", "apt-get install tshark")
    return path


class Tshark:
    """A running tshark that dissects `protocols` and tells nothing else.

    `unanswered` are the packets written and not yet answered, the oldest first.
    """

    def __init__(self, protocols: Sequence[str], preferences: Mapping[str, str]) -> None:
        self.unanswered: deque[RawPacket] = deque()
        self._gone = False
        self._silent = 0.0
        self._interfaces: dict[int, int] = {}
        self._out = bytearray(_SECTION)
        self._splitter = Splitter()
        self._profile = tempfile.TemporaryDirectory(prefix="netflight-tshark-")
        Path(self._profile.name).chmod(0o755)
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115  # lives as long as the child
        command = [
            tshark_path(),
            "-n",
            "-l",
            "-r",
            "-",
            "-T",
            "json",
            "--no-duplicate-keys",
            "-J",
            " ".join(protocols),
        ]
        for name, value in {**PREFERENCES, **preferences}.items():
            command += ["-o", f"{name}:{value}"]
        self._child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            env=_environment(self._profile.name),
            start_new_session=True,
            **_unprivileged(),
        )
        if self._child.stdin is None or self._child.stdout is None:
            raise DecoderError("tshark has no pipes")
        self._stdin, self._stdout = self._child.stdin, self._child.stdout
        for pipe in (self._stdin, self._stdout):
            os.set_blocking(pipe.fileno(), False)
            _widen(pipe.fileno())

    @property
    def pending(self) -> int:
        """How many packets wait for their answer."""
        return len(self.unanswered)

    @property
    def backlog(self) -> int:
        """Bytes that wait to be written."""
        return len(self._out)

    def write(self, packet: RawPacket) -> None:
        """Queue a packet for tshark; its link type is MAX_LINKTYPE at most."""
        number = self._interfaces.get(packet.linktype)
        if number is None:
            number = self._interfaces[packet.linktype] = len(self._interfaces)
            self._out += _interface_block(packet.linktype)
        size = len(packet.data)
        padding = _PADDING[size & 3]
        total = 32 + size + len(padding)
        time_ns = packet.time_ns & 0xFFFFFFFFFFFFFFFF
        self._out += _EPB_HEAD.pack(
            6, total, number, time_ns >> 32, time_ns & 0xFFFFFFFF, size, packet.wire_length
        )
        self._out += packet.data
        self._out += padding
        self._out += _U32.pack(total)
        self.unanswered.append(packet)

    def nudge(self) -> None:
        """Push the packets that wait in tshark's input buffer on; for a live source that has gone quiet."""
        self._out += _FILLER

    def exchange(self, seconds: float) -> list[bytes]:
        """Move data both ways for as long as nothing moves at most `seconds`; return the records that came.

        Raises TsharkEndedError when the child has ended, after all that it answered was returned, or when it
        has worked on one packet for a minute.
        """
        writing = [self._stdin] if self._out and not self._gone else []
        began = time.monotonic()
        readable, writable, _ = select.select([self._stdout], writing, [], seconds)
        if writable:
            self._send()
        if readable:
            self._silent = 0.0
            return self._receive()
        self._silent += time.monotonic() - began
        if self._silent > SILENT_SECONDS and self.pending:
            self._child.kill()
            raise self._ended(f"no answer for {SILENT_SECONDS:.0f} s")
        return []

    def finish(self) -> Iterator[list[bytes]]:
        """Write what waits, close the input, and yield the remaining records; raises TsharkEndedError if it ended."""
        while self._out and not self._gone:
            yield self.exchange(1.0)
        if not self._gone:
            self._stdin.close()
        while self.pending:
            yield self.exchange(1.0)
        self.close()

    def close(self) -> None:
        """End the child and let go of its files."""
        if self._child.poll() is None:
            self._child.terminate()
            try:
                self._child.wait(2)
            except subprocess.TimeoutExpired:
                self._child.kill()
        self._child.wait()
        if not self._stdin.closed:
            try:
                self._stdin.close()
            except BrokenPipeError:
                self._out.clear()
        self._stdout.close()
        self._stderr.close()
        self._profile.cleanup()

    def _send(self) -> None:
        try:
            sent = os.write(self._stdin.fileno(), memoryview(self._out)[:_WRITE_SIZE])
        except BlockingIOError:
            return
        except BrokenPipeError:
            self._gone = True  # what it has answered can still be read
            return
        del self._out[:sent]

    def _receive(self) -> list[bytes]:
        try:
            data = os.read(self._stdout.fileno(), _READ_SIZE)
        except BlockingIOError:
            return []
        if not data:
            raise self._ended()
        records = self._splitter.push(data)
        for _ in records:
            self.unanswered.popleft()
        return records

    def _ended(self, why: str = "") -> TsharkEndedError:
        code = self._child.wait()
        self._stderr.seek(0)
        told = [
            line
            for line in self._stderr.read().decode("utf-8", "replace").splitlines()
            if "Running as" not in line
        ]
        why = why or (signal.Signals(-code).name if code < 0 else f"exit code {code}")
        last = f": {told[-1]}" if told else ""
        refused = code > 0 and any(said in line for line in told for said in _REFUSALS)
        reason = f"tshark refused it{last}" if refused else f"tshark ended ({why})"
        what = f"tshark ended ({why}) with {self.pending} packets not yet decoded{last}"
        return TsharkEndedError(what, reason, refused=refused)


class Splitter:
    """Cuts tshark's output into records, wherever it was cut on its way."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._scanned = 0

    def push(self, data: bytes) -> list[bytes]:
        """Take output in; return the records that are complete: each ends with a brace at two spaces."""
        buffer, records, start = self._buffer, [], 0
        buffer += data
        end = buffer.find(_RECORD_END, max(self._scanned - len(_RECORD_END), 0))
        while end >= 0:
            begin = buffer.find(b"{", start, end)
            records.append(bytes(buffer[begin : end + len(_RECORD_END)]))
            start = end + len(_RECORD_END)
            end = buffer.find(_RECORD_END, start)
        del buffer[:start]
        self._scanned = len(buffer)
        return records


def layers(record: bytes) -> Tree | None:
    """The layers of a record; None where it is no record of tshark's.

    Bytes that are no UTF-8 and halves of surrogate pairs become U+FFFD; raw control characters stay.
    """
    try:
        tree = orjson.loads(record)
    except orjson.JSONDecodeError:
        tree = _repaired(record)
    source = tree.get("_source") if isinstance(tree, dict) else None
    found = source.get("layers") if isinstance(source, dict) else None
    return found if isinstance(found, dict) else None


def _repaired(record: bytes) -> object:
    try:
        tree = json.loads(record.decode("utf-8", "replace"), strict=False)
        text = json.dumps(tree, ensure_ascii=False)
        return json.loads(_LONE_SURROGATE.sub("\ufffd", text))
    except (ValueError, RecursionError):
        return None


def _widen(pipe: int) -> None:
    """Make room in a pipe, so that tshark works on while we do; the system's limit may say no, which costs speed."""
    with contextlib.suppress(PermissionError):
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_SIZE)


def _interface_block(linktype: int) -> bytes:
    resolution = struct.pack("<HHB3xHH", 9, 1, 9, 0, 0)
    body = struct.pack("<HHI", linktype, 0, 0) + resolution
    total = 12 + len(body)
    return _U32.pack(1) + _U32.pack(total) + body + _U32.pack(total)


def _environment(profile: str) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL") if name in os.environ}
    empty = {
        "WIRESHARK_CONFIG_DIR": profile,
        "WIRESHARK_PLUGIN_DIR": profile,
        "WIRESHARK_EXTCAP_DIR": profile,
    }
    return {**kept, **empty, "HOME": profile, "TZ": "UTC"}


def _unprivileged() -> dict[str, Any]:
    """Arguments that make a child of root run as nobody."""
    return {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.geteuid() == 0 else {}
