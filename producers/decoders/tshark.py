"""One tshark as a child: packets in as pcapng on its stdin, one answer per packet out, in order.

The child runs unprivileged and confined, with a profile of our own so that a user's preferences change nothing. It
prints a JSON record per packet, which its attendant turns into an answer. Both are driven without threads: what can be
moved is, and nothing blocks on a full pipe. Every record is flushed, so that when tshark ends the first packet without
an answer is the one it ended on.
"""

import os
import resource
import shutil
import signal
import struct
import subprocess
import tempfile
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from producers.decoders.outlet import Outlet, widen
from producers.decoders.protocols import HOLDING
from runtime.errors import DecoderError
from schemas.model import datasets

if TYPE_CHECKING:
    from producers.decoders.attendant import Attendant
    from producers.decoders.decoding import Answer, Decoding
    from producers.decoders.places import Places

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
_PLUGIN_FOLDER = "chosen"  # not the profile itself: tshark would run its init.lua a second time

# In this order: the streams are those of the dissectors that the first one leaves at their ports.
_SCRIPTS = ("recognise.lua", "streams.lua")
_LUA_FAILED = "Lua: "

PREFERENCES = {
    "tcp.reassemble_out_of_order": "FALSE",  # it would wait for ever for what is lost; `ordering` puts in order
    "tcp.analyze_sequence_numbers": "FALSE",  # what comes again was left out; the engine counts it
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
    protocols = HOLDING.union(name for spec in specs for name in (*spec.protocols, *spec.beside))
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

    `pending` is how many of the packets written are not answered yet. It is ready before its first packet, so it can
    be started ahead; before that it gets an attendant, who decodes. `memory` is how many bytes it is expected to fill
    at most.
    """

    def __init__(self, asked_for: Asked, memory: int = 1 << 30) -> None:
        self.pending = 0
        self._silent = 0.0
        self._nudged = True
        self._scripts_checked = False
        self._attendant: Attendant | None = None
        self._profile = tempfile.TemporaryDirectory(prefix="netflight-tshark-")
        _furnish(Path(self._profile.name))
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115  # lives as long as the child
        stdin, ours = os.pipe()
        self._printed, stdout = os.pipe()
        self._child = subprocess.Popen(
            [*_confinement(memory), *_command(asked_for)],
            stdin=stdin,
            stdout=stdout,
            stderr=self._stderr,
            env=_environment(self._profile.name),
            start_new_session=True,
            **_unprivileged(),
        )
        for pipe in (ours, stdout):
            widen(pipe)
        for pipe in (stdin, stdout):
            os.close(pipe)
        self._input = Outlet(ours)

    def attend(self, decoding: "Decoding") -> None:
        """Have its answers decoded; it can be given packets then."""
        from producers.decoders.attendant import Attendant  # noqa: PLC0415  # loads numba, meanwhile it starts
        from producers.sources.write import preamble  # noqa: PLC0415  # likewise

        self._attendant = Attendant(self._printed, decoding)
        self._input.write(preamble())

    @property
    def output(self) -> int:
        """The file descriptor to wait on for answers."""
        return self._attended.output

    @property
    def outlets(self) -> list[Outlet]:
        """What has bytes to be written, to wait on for room."""
        return [outlet for outlet in (self._input, self._attended.places) if outlet.waits]

    @property
    def backlog(self) -> int:
        """How many bytes wait for room in its pipes."""
        return self._input.backlog + self._attended.places.backlog

    @property
    def finished(self) -> bool:
        """Whether its input has ended and all packets are answered."""
        return self._input.closed and not self.pending

    @property
    def resident(self) -> int:
        """The memory it fills, in bytes; 0 once it has ended."""
        try:
            pages = Path(f"/proc/{self._child.pid}/statm").read_text(encoding="ascii").split()
        except OSError:
            return 0
        return int(pages[1]) * resource.getpagesize() if len(pages) > 1 else 0

    def describe(self, data: bytes) -> None:
        """Queue bytes of its input that hold no packet; `data` is not copied."""
        self._input.write(data)

    def write(self, data: bytes | memoryview, places: "Places") -> None:
        """Queue packets, which were seen at `places`; `data` is not copied."""
        self._attended.expect(places)
        self._input.write(data)
        self.pending += len(places.frames)
        self._nudged = False

    def nudge(self) -> None:
        """Push the packets that wait in tshark's input buffer on; once is enough until more are written."""
        if self.pending and not (self._input.backlog or self._nudged or self._input.closed):
            self._input.write(_FILLER)
            self._nudged = True

    def receive(self) -> "list[Answer]":
        """The answers that came. Raises TsharkEndedError when it has ended, after all that it answered was returned.

        Raises DecoderError where it has not loaded our scripts, without which it would find less than it should.
        """
        answers = self._attended.receive()
        if answers is None:
            raise self._ended()
        if answers:
            self.pending -= len(answers)
            self._silent = 0.0
            if not self._scripts_checked:
                self._check_scripts()
        return answers

    def waited(self, seconds: float) -> None:
        """Told that nothing came for so long; kills it after a minute on one packet, raises TsharkEndedError then."""
        self._silent += seconds if self.pending else 0.0
        if self._silent > SILENT_SECONDS:
            self._child.kill()
            raise self._ended(f"no answer for {SILENT_SECONDS:.0f} s")

    def end_input(self) -> None:
        """Tell it that no packet follows, once everything queued has been written; it answers the last ones then."""
        if not self._input.backlog:
            self._input.close()

    def close(self) -> None:
        """End the child and let go of its files."""
        if self._child.poll() is None:
            self._child.kill()  # it has nothing to save
        self._child.wait()
        self._input.close()
        if self._attendant is None:
            os.close(self._printed)
        else:
            self._attendant.close()
        self._stderr.close()
        self._profile.cleanup()

    @property
    def _attended(self) -> "Attendant":
        if self._attendant is None:
            raise DecoderError("tshark has no attendant")
        return self._attendant

    def _said(self) -> list[str]:
        """The lines on its standard error, but for the warning that it runs as root."""
        self._stderr.seek(0)
        lines = self._stderr.read().decode("utf-8", "replace").splitlines()
        return [line for line in lines if "Running as" not in line]

    def _check_scripts(self) -> None:
        """Raise DecoderError where Lua stopped at a mistake: tshark goes on without the rest of the scripts."""
        self._scripts_checked = True
        said = self._said()
        wrong = next((number for number, line in enumerate(said) if _LUA_FAILED in line), None)
        if wrong is not None:
            why = " ".join(said[wrong : wrong + 2])
            raise DecoderError(f"tshark did not load {', '.join(_SCRIPTS)}: {why}", "see docs/decoding.md")

    def _ended(self, why: str = "") -> TsharkEndedError:
        if self._attended.failed and self._child.poll() is None:
            self._child.kill()
            why = "its answer could not be read"
        code = self._child.wait()
        told = self._said()
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
    """Put into an empty profile what makes tshark recognise and show more; it runs a profile's init.lua by itself."""
    script = profile / "init.lua"
    shipped = resources.files("producers.decoders")
    script.write_bytes(b"\n".join(shipped.joinpath(name).read_bytes() for name in _SCRIPTS))
    script.chmod(0o644)
    profile.chmod(0o755)
    _link_plugins(profile)


def _command(asked_for: Asked) -> list[str]:
    command = [tshark_path(), "-n", "-l", "-r", "-", "-T", "json", "-J", " ".join(asked_for.protocols)]
    for name, value in {**PREFERENCES, **asked_for.preferences}.items():
        command += ["-o", f"{name}:{value}"]
    return command


def _environment(profile: str) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL") if name in os.environ}
    empty = {
        "WIRESHARK_CONFIG_DIR": profile,
        "WIRESHARK_PLUGIN_DIR": f"{profile}/{_PLUGIN_FOLDER}",
        "WIRESHARK_EXTCAP_DIR": profile,
    }
    return {**kept, **empty, "HOME": profile, "TZ": "UTC"}


def _link_plugins(profile: Path) -> None:
    """Put the chosen ones of Wireshark's own plugins where the child looks for them: VERSION/epan below the folder."""
    for plugin in _installed_plugins(tshark_path()):
        folder = profile / _PLUGIN_FOLDER / plugin.parents[1].name / "epan"
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
