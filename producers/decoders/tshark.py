"""One tshark as a child: packets in as pcapng on its stdin, one JSON record per packet out, in order.

The child runs unprivileged and confined, with a profile of our own so that a user's preferences change nothing, and
is driven without threads: `send` and `receive` move what can be moved and never block on a full pipe. Every answer
is flushed, so that when it ends the first packet without an answer is the one it ended on.
"""

import contextlib
import fcntl
import os
import resource
import shutil
import signal
import struct
import subprocess
import tempfile
from collections import deque
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

from producers.decoders.records import Splitter
from runtime.errors import DecoderError
from schemas.model import datasets

_READ_SIZE = 1 << 20
_PIPE_SIZE = 1 << 20
_PIECES = 64  # how many buffers one system call writes at most
# A block type that readers skip. tshark reads its input in 4 KiB pieces; this pushes what waits there on.
_FILLER = (
    struct.pack("<II", 0x0BAD_F17E & 0x7FFFFFFF, 16_384) + bytes(16_384 - 12) + struct.pack("<I", 16_384)
)
_MEBIBYTE = 1 << 20
# Beyond the memory it may fill before it is replaced, a tshark maps about this much: its libraries, its tables.
_MAPPED = 2048 * _MEBIBYTE
_LIMITS = {
    "core": (resource.RLIMIT_CORE, 0),
    "fsize": (resource.RLIMIT_FSIZE, 16 * _MEBIBYTE),  # its standard error is a file
    "nofile": (resource.RLIMIT_NOFILE, 256),
}

# A tshark that has not answered for so long is taken to hang.
SILENT_SECONDS = 60.0
# What tshark says of a packet that it cannot read, other than when it fails.
_REFUSALS = ("damaged or corrupt", "doesn't support")

# Dissectors that Wireshark comes with as plugins; no other plugin is loaded, a user's least of all.
_PLUGINS = ("opcua.so", "profinet.so")

PREFERENCES = {
    "tcp.reassemble_out_of_order": "TRUE",
    "ip.defragment": "TRUE",
}


class Asked(NamedTuple):
    """What tshark is to dissect, which layers stand inside of others, too, and the preferences it is to do so with."""

    protocols: tuple[str, ...]
    nested: tuple[str, ...]
    preferences: dict[str, str]


def asked() -> Asked:
    """What all datasets together ask tshark for."""
    specs = [dataset.tshark for dataset in datasets().values() if dataset.tshark is not None]
    preferences = {name: value for spec in specs for name, value in spec.preferences.items()}
    protocols = {name for spec in specs for name in (*spec.protocols, *spec.beside)}
    nested = {name for spec in specs for name in spec.nested}
    return Asked(tuple(sorted(protocols)), tuple(sorted(nested)), preferences)


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
    """A running tshark that dissects what it is asked for and tells nothing else.

    `pending` is how many of the packets written are not answered yet, `backlog` how many bytes wait for room in
    its pipe. It is ready before its first packet, so it can be started ahead. `memory` is how many bytes it is
    expected to fill at most.
    """

    def __init__(self, asked_for: Asked, memory: int = 1 << 30) -> None:
        self.pending = 0
        self.backlog = 0
        self._gone = False
        self._silent = 0.0
        self._nudged = True
        self._begun = False
        self._out: deque[memoryview] = deque()
        self._splitter = Splitter(asked_for.nested)
        self._profile = tempfile.TemporaryDirectory(prefix="netflight-tshark-")
        _furnish(Path(self._profile.name))
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115  # lives as long as the child
        self._child = subprocess.Popen(
            [*_confinement(memory), *_command(asked_for)],
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
    def output(self) -> int:
        """The file descriptor to wait on for answers."""
        return self._stdout.fileno()

    @property
    def input(self) -> int | None:
        """The file descriptor to wait on for room; None where nothing waits to be written."""
        return None if self._gone or not self._out else self._stdin.fileno()

    @property
    def finished(self) -> bool:
        """Whether its input has ended and all packets are answered."""
        return self._stdin.closed and not self.pending

    @property
    def resident(self) -> int:
        """The memory it fills, in bytes; 0 once it has ended."""
        try:
            pages = Path(f"/proc/{self._child.pid}/statm").read_text(encoding="ascii").split()
        except OSError:
            return 0
        return int(pages[1]) * resource.getpagesize() if len(pages) > 1 else 0

    def write(self, data: bytes | memoryview, packets: int = 0) -> None:
        """Queue bytes of its input with so many packets in them; `data` is not copied."""
        if not self._begun:
            self._begun = True
            self._begin()
        self._out.append(memoryview(data))
        self.backlog += len(data)
        self.pending += packets
        if packets:
            self._nudged = False

    def _begin(self) -> None:
        from producers.sources.write import preamble  # noqa: PLC0415  # loads numba, meanwhile it starts

        self.write(preamble())

    def nudge(self) -> None:
        """Push the packets that wait in tshark's input buffer on; once is enough until more are written."""
        if self.pending and not (self._out or self._nudged or self._stdin.closed):
            self.write(_FILLER)
            self._nudged = True

    def send(self) -> None:
        """Write what its pipe takes."""
        if self._gone:
            return
        out = self._out
        try:
            sent = os.writev(self._stdin.fileno(), [out[place] for place in range(min(len(out), _PIECES))])
        except BlockingIOError:
            return
        except BrokenPipeError:
            self._gone = True  # what it has answered can still be read
            return
        self.backlog -= sent
        while sent:
            if sent < len(out[0]):
                out[0] = out[0][sent:]
                return
            sent -= len(out.popleft())

    def receive(self) -> list[bytes]:
        """The records that came. Raises TsharkEndedError when it has ended, after all that it answered was returned."""
        try:
            data = os.read(self._stdout.fileno(), _READ_SIZE)
        except BlockingIOError:
            return []
        if not data:
            raise self._ended()
        records = self._splitter.push(data)
        self.pending -= len(records)
        self._silent = 0.0
        return records

    def waited(self, seconds: float) -> None:
        """Told that nothing came for so long; kills it after a minute on one packet, raises TsharkEndedError then."""
        self._silent += seconds if self.pending else 0.0
        if self._silent > SILENT_SECONDS:
            self._child.kill()
            raise self._ended(f"no answer for {SILENT_SECONDS:.0f} s")

    def end_input(self) -> None:
        """Tell it that no packet follows, once everything queued has been written; it answers the last ones then."""
        if not self._out and not self._stdin.closed:
            self._stdin.close()

    def close(self) -> None:
        """End the child and let go of its files."""
        if self._child.poll() is None:
            self._child.kill()  # it has nothing to save
        self._child.wait()
        if not self._stdin.closed:
            with contextlib.suppress(BrokenPipeError):  # what was not written has nowhere to go
                self._stdin.close()
        self._stdout.close()
        self._stderr.close()
        self._profile.cleanup()

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


def _confinement(memory: int) -> list[str]:
    """What starts the child with no way to new privileges and bounds on what it takes, where util-linux is there."""
    prlimit, setpriv = shutil.which("prlimit"), shutil.which("setpriv")
    command = []
    if prlimit is not None:
        bounds = _LIMITS | {"as": (resource.RLIMIT_AS, 2 * memory + _MAPPED)}
        command.append(prlimit)
        for name, (kind, bound) in bounds.items():
            _, hard = resource.getrlimit(kind)
            command.append(f"--{name}={bound if hard == resource.RLIM_INFINITY else min(bound, hard)}")
    if setpriv is not None:
        command += [setpriv, "--no-new-privs"]
    return command


def _furnish(profile: Path) -> None:
    """Put into an empty profile what makes tshark recognise more; it runs a profile's init.lua by itself."""
    script = profile / "init.lua"
    script.write_bytes(resources.files("producers.decoders").joinpath("recognise.lua").read_bytes())
    script.chmod(0o644)
    profile.chmod(0o755)
    _link_plugins(profile)


def _command(asked_for: Asked) -> list[str]:
    command = [tshark_path(), "-n", "-l", "-r", "-", "-T", "json", "-J", " ".join(asked_for.protocols)]
    for name, value in {**PREFERENCES, **asked_for.preferences}.items():
        command += ["-o", f"{name}:{value}"]
    return command


def _widen(pipe: int) -> None:
    """Make room in a pipe, so that tshark works on while we do; the system's limit may say no, which costs speed."""
    with contextlib.suppress(PermissionError):
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_SIZE)


def _environment(profile: str) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL") if name in os.environ}
    empty = {
        "WIRESHARK_CONFIG_DIR": profile,
        "WIRESHARK_PLUGIN_DIR": profile,
        "WIRESHARK_EXTCAP_DIR": profile,
    }
    return {**kept, **empty, "HOME": profile, "TZ": "UTC"}


def _link_plugins(profile: Path) -> None:
    """Put the chosen ones of Wireshark's own plugins where the child looks for them: VERSION/epan in the profile."""
    for plugin in _installed_plugins(tshark_path()):
        folder = profile / plugin.parents[1].name / "epan"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / plugin.name).symlink_to(plugin)


@cache
def _installed_plugins(tshark: str) -> tuple[Path, ...]:
    """The chosen plugins that are installed with a tshark (`/usr/lib/TRIPLET/wireshark/plugins/4.0/epan/opcua.so`)."""
    library = Path(tshark).resolve().parents[1] / "lib"
    places = ("*/wireshark/plugins/*/epan", "wireshark/plugins/*/epan")
    return tuple(path for place in places for name in _PLUGINS for path in library.glob(f"{place}/{name}"))


def _unprivileged() -> dict[str, Any]:
    """Arguments that make a child of root run as nobody."""
    return {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.geteuid() == 0 else {}
