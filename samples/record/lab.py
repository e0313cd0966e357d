"""A small network of Linux namespaces: hosts on bridged Ethernet segments, and a tap on a segment.

Everything made here is taken down when the `with` block is left, whatever the reason.
"""

from __future__ import annotations

import ipaddress
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType

NETNS_ETC = Path("/etc/netns")  # `ip netns exec NAME` binds the files in NAME/ over those in /etc
OFFLOADS = ("tx", "rx", "sg", "tso", "gso", "gro")


class LabError(Exception):
    """A command of the laboratory failed; the text has the command and what it printed."""


@dataclass
class Host:
    """A network namespace with a host name and files of /etc of its own."""

    name: str
    ns: str
    folder: Path
    lab: Lab = field(repr=False)

    def _wrap(self, argv: tuple[str, ...]) -> list[str]:
        # Its own host name, so that no client (DHCP, SSH) tells the name of the machine it is recorded on.
        rename = 'hostname "$0" && exec "$@"'
        return ["ip", "netns", "exec", self.ns, "unshare", "--uts", "sh", "-c", rename, self.name, *argv]

    def run(self, *argv: str, ok: tuple[int, ...] | None = (0,), seconds: float = 60) -> str:
        """Run a program to its end and return its standard output; LabError on an exit code not in `ok`."""
        done = subprocess.run(
            self._wrap(argv),
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            check=False,
            stdin=subprocess.DEVNULL,
            cwd=self.folder,
            env=self.lab.environment,
        )
        if ok is not None and done.returncode not in ok:
            raise LabError(
                f"{self.name}: {' '.join(argv)}: exit {done.returncode}: {done.stderr}{done.stdout}"
            )
        return done.stdout

    def start(self, *argv: str) -> subprocess.Popen[bytes]:
        """Start a program that lives until the laboratory is taken down; its output goes to a log."""
        log = (self.folder / f"{Path(argv[0]).name}.log").open("ab")
        return self.lab.spawn(self._wrap(argv), log, self.folder)

    def etc(self, name: str, text: str) -> None:
        """Give this host, and only this host, a file /etc/NAME."""
        (NETNS_ETC / self.ns / name).write_text(text)

    def write(self, name: str, text: str | bytes, mode: int = 0o644) -> Path:
        """Write a file into the host's own folder."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        path.chmod(mode)
        return path

    def listening(self, port: int, transport: str = "tcp") -> bool:
        """Whether a program on this host is bound to the port."""
        flags = "-Hltn" if transport == "tcp" else "-Hlun"
        return bool(re.search(rf":{port}\s", self.run("ss", flags)))


class Lab:
    """Hosts, segments, the programs on them and one tap."""

    def __init__(self) -> None:
        self._id = f"nf{os.getpid()}"
        self._namespaces: list[str] = []
        self._programs: list[subprocess.Popen[bytes]] = []
        self._segments: dict[str, str] = {}
        self.folder = Path(tempfile.mkdtemp(prefix="netflight-lab-"))
        self.folder.chmod(0o755)  # servers that gave up root read their files below it
        self.environment = {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "LANG": "C.UTF-8",
            "HOME": str(self.folder),
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for program in reversed(self._programs):
            self.stop(program)
        for ns in self._namespaces:
            # Daemons that left their process group still are in our namespace.
            pids = subprocess.run(["ip", "netns", "pids", ns], capture_output=True, text=True, check=False)
            for pid in pids.stdout.split():
                _signal(int(pid), signal.SIGKILL)
            subprocess.run(["ip", "netns", "del", ns], check=False)
            shutil.rmtree(NETNS_ETC / ns, ignore_errors=True)
        if NETNS_ETC.is_dir() and not any(NETNS_ETC.iterdir()):
            NETNS_ETC.rmdir()
        shutil.rmtree(self.folder, ignore_errors=True)

    def spawn(self, argv: list[str], log: IO[bytes], folder: Path) -> subprocess.Popen[bytes]:
        """Start a program in a process group of its own, to be stopped with the laboratory."""
        program = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=folder,
            env=self.environment,
            start_new_session=True,
        )
        log.close()
        self._programs.append(program)
        return program

    def stop(self, program: subprocess.Popen[bytes], with_signal: signal.Signals = signal.SIGTERM) -> None:
        """Ask a program to end; kill it after five seconds."""
        if program.poll() is None:
            os.killpg(program.pid, with_signal)
            try:
                program.wait(5)
            except subprocess.TimeoutExpired:
                os.killpg(program.pid, signal.SIGKILL)
                program.wait()

    def tell(self, program: subprocess.Popen[bytes], number: signal.Signals) -> None:
        """Send a signal to a program that was started here."""
        os.killpg(program.pid, number)

    def segment(self, name: str) -> str:
        """The namespace that holds the bridge `br0` of a segment; made at first use."""
        if name not in self._segments:
            ns = self._segments[name] = self._namespace(f"switch-{name}")
            _ip("-n", ns, "link", "add", "br0", "type", "bridge", "mcast_snooping", "0")
            _sysctl(ns, "net.ipv6.conf.all.disable_ipv6=1")  # the switch itself says nothing
            _ip("-n", ns, "link", "set", "br0", "up")
        return self._segments[name]

    def host(self, name: str, *addresses: str, segment: str = "lan") -> Host:
        """A host with one interface, eth0, on a segment; `addresses` are like 192.0.2.10/24."""
        ns = self._namespace(name)
        folder = self.folder / name
        folder.mkdir()
        _sysctl(ns, "net.ipv4.ping_group_range=0 2147483647")
        host = Host(name, ns, folder, self)
        self.plug(host, "eth0", segment, *addresses)
        return host

    def plug(self, host: Host, interface: str, segment: str, *addresses: str) -> None:
        """Connect one more interface of a host to a segment."""
        switch = self.segment(segment)
        port = f"p{len(self._namespaces)}{interface}"
        _ip("link", "add", interface, "netns", host.ns, "type", "veth", "peer", "name", port, "netns", switch)
        for ns, end in ((host.ns, interface), (switch, port)):
            # Without offloads packets have the sizes and checksums they would have on a cable.
            switches = [word for feature in OFFLOADS for word in (feature, "off")]
            _command("ip", "netns", "exec", ns, "ethtool", "-K", end, *switches)
        _ip("-n", switch, "link", "set", port, "master", "br0", "up")
        first = next((a for a in addresses if ":" not in a), f"192.0.2.{200 + len(self._namespaces)}/24")
        packed = ipaddress.ip_interface(first).packed
        mac = "02:00:" + packed.hex(":")  # locally administered, and told apart at a glance
        # No duplicate address detection, no router solicitation: only what is asked for goes on the wire.
        conf = f"net.ipv6.conf.{interface}"
        _sysctl(host.ns, f"{conf}.accept_dad=0", f"{conf}.router_solicitations=0")
        _ip("-n", host.ns, "link", "set", interface, "address", mac, "up")
        for address in addresses:
            _ip("-n", host.ns, "address", "add", address, "dev", interface)

    def _namespace(self, name: str) -> str:
        ns = f"{self._id}-{name}"
        self._namespaces.append(ns)
        _ip("netns", "add", ns)
        (NETNS_ETC / ns).mkdir(parents=True, exist_ok=True)
        _ip("-n", ns, "link", "set", "lo", "up")
        return ns


class Tap:
    """dumpcap on the bridge of a segment, as on a mirror port: every frame once. `buffer` is its buffer in MiB."""

    def __init__(self, lab: Lab, path: Path, segment: str = "lan", buffer: int = 32) -> None:
        self._lab = lab
        self._path = path
        self._buffer = str(buffer)
        self._ns = lab.segment(segment)
        self._log = lab.folder / "dumpcap.log"

    def __enter__(self) -> Self:
        time.sleep(3.0)  # multicast listener reports of new IPv6 addresses are not part of the story
        argv = ["ip", "netns", "exec", self._ns, "dumpcap", "-q", "-P", "-i", "br0", "-B", self._buffer]
        self._program = self._lab.spawn(
            [*argv, "-w", str(self._path)], self._log.open("wb"), self._lab.folder
        )
        wait_for(lambda: b"File:" in self._log.read_bytes(), "dumpcap to start")
        time.sleep(0.5)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        time.sleep(1.0)  # dumpcap hands over its buffer every now and then
        self._lab.stop(self._program, signal.SIGINT)
        said = self._log.read_text()
        if kind is None and not re.search(r"received/dropped on interface 'br0': \d+/0 ", said):
            raise LabError(f"packets were lost: {said}")


def wait_for(happens: Callable[[], bool], what: str, seconds: float = 15) -> None:
    """Return as soon as `happens()`; LabError after `seconds`."""
    end = time.monotonic() + seconds
    while not happens():
        if time.monotonic() > end:
            raise LabError(f"waited {seconds:.0f} s for {what}")
        time.sleep(0.1)


def together(tasks: Iterable[Callable[[], object]], at_once: int) -> None:
    """Run tasks in threads; the first error or Ctrl-C is raised without waiting for the tasks under way.

    Those end by themselves: taking down the laboratory ends the programs they wait for.
    """
    pool = ThreadPoolExecutor(at_once)
    try:
        for future in [pool.submit(task) for task in tasks]:
            future.result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _command(*argv: str) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LabError(f"{' '.join(argv)}: {done.stderr.strip()}")


def _ip(*argv: str) -> None:
    _command("ip", *argv)


def _sysctl(ns: str, *settings: str) -> None:
    for setting in settings:
        _command("ip", "netns", "exec", ns, "sysctl", "-qw", setting)


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
