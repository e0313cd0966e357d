"""What the stack needs of the machine: a JDK, an unprivileged user, room on the disk, free ports."""

import os
import pwd
import random
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

from cockpit.stack.process import Identity
from runtime.errors import StackError

JAVA_OLDEST, JAVA_NEWEST = 17, 25  # Kafka 4.2 needs 17; Elasticsearch 8.19 was tried on 17 and on 25
INSTALL_JAVA = "sudo apt-get install -y openjdk-17-jre-headless"
INSTALL_MAVEN = "sudo apt-get install -y maven"
# Below the kernel's range for outgoing connections (32768...), so that a server which is down for a moment
# does not find its port taken by somebody's client.
PORTS = range(20_000, 32_000)
PORT_TRIES = 200


def find_java(jvm_folder: Path = Path("/usr/lib/jvm")) -> Path:
    """The home of a Java 17 to 25: JAVA_HOME's, else PATH's, else the lowest version in `jvm_folder`.

    Raises StackError, with the command that installs one, where there is none.
    """
    seen: list[str] = []
    for home in _java_homes(jvm_folder):
        version = java_version(home)
        if version is None:
            continue
        if JAVA_OLDEST <= version <= JAVA_NEWEST:
            return home
        seen.append(f"{home} is Java {version}")
    raise StackError(
        f"no Java {JAVA_OLDEST} to {JAVA_NEWEST} on this machine{': ' if seen else ''}{', '.join(seen)}",
        f"{INSTALL_JAVA}, or name one in JAVA_HOME",
    )


def java_version(home: Path) -> int | None:
    """The feature version of the Java at `home`, or None where there is none that runs."""
    java = home / "bin" / "java"
    if not os.access(java, os.X_OK):
        return None
    try:
        release = (home / "release").read_text(encoding="utf-8")
    except OSError:
        answer = subprocess.run([java, "-version"], capture_output=True, text=True, check=False)
        release = answer.stderr.replace("version ", "JAVA_VERSION=", 1)
    found = re.search(r'JAVA_VERSION="(?:1\.)?(\d+)', release)
    return int(found[1]) if found else None


def find_maven() -> str:
    """The path of mvn; raises StackError with the command that installs it."""
    found = shutil.which("mvn")
    if found is None:
        raise StackError("no mvn on PATH; it fetches Kafka and Elasticsearch", INSTALL_MAVEN)
    return found


def unprivileged() -> Identity | None:
    """Who runs the servers where we are root: Elasticsearch refuses root. None: we are not root."""
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam("nobody")
    except KeyError:
        return Identity(65_534, 65_534)
    return Identity(entry.pw_uid, entry.pw_gid)


def open_folder(folder: Path) -> None:
    """Make the folder and its missing parents so that every user may enter them, whatever the umask is."""
    if not folder.is_dir():
        open_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        folder.chmod(0o755)


def require_reachable(folder: Path, identity: Identity | None, setting: str) -> None:
    """Raise StackError unless `identity` can enter and read `folder`; `setting` names what moves it."""
    if identity is None:
        return
    allowed = subprocess.run(
        ["/usr/bin/test", "-r", folder, "-a", "-x", folder],
        cwd="/",
        check=False,
        user=identity.uid,
        group=identity.gid,
        extra_groups=[],
    )
    if allowed.returncode != 0:
        raise StackError(
            f"{folder}: the servers run as an unprivileged user, who cannot read it",
            f"name a folder in {setting} that every user can enter",
        )


def require_space(folder: Path, gigabytes: float) -> None:
    """Raise StackError unless the disk under `folder` has `gigabytes` GiB free."""
    free = shutil.disk_usage(folder).free
    if free < gigabytes * 2**30:
        raise StackError(
            f"{folder}: {free / 2**20:,.0f} MiB free on this disk, {gigabytes * 1024:,.0f} MiB needed",
            "make room, or name another disk's folder in NETFLIGHT_STATE and NETFLIGHT_CACHE",
        )


def port_is_free(port: int) -> bool:
    """Whether a server could listen on this port of the loopback address now."""
    with socket.socket() as probe:
        # As servers do it: connections of one that has just stopped do not hold the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def choose_port(wanted: int | None, liked: int | None, taken: set[int], server: str) -> int:
    """A free port: `wanted` or an error, else `liked` if it is free, else any; added to `taken`.

    Raises StackError where the wanted port is in use.
    """
    if wanted is not None:
        if not port_is_free(wanted):
            raise StackError(f"{server}: port {wanted} is in use", "name another, or leave the choice to us")
        candidates = [wanted]
    else:
        candidates = [liked] if liked else []
        candidates += random.sample(PORTS, PORT_TRIES)
    for port in candidates:
        if port not in taken and port_is_free(port):
            taken.add(port)
            return port
    raise StackError(f"{server}: no free port among {PORT_TRIES} tried", f"is 127.0.0.1 up? wanted: {wanted}")


def _java_homes(jvm_folder: Path) -> Iterator[Path]:
    if os.environ.get("JAVA_HOME"):
        yield Path(os.environ["JAVA_HOME"])
    on_path = shutil.which("java")
    if on_path:
        yield Path(on_path).resolve().parents[1]
    homes = sorted({path.resolve().parents[1] for path in jvm_folder.glob("*/bin/java")})
    yield from sorted(homes, key=lambda home: java_version(home) or 0)
