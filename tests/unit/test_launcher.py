"""The launcher on machines that lack things: a PATH with few programs on it, apt-get and Python as stand-ins
that record what they are asked for, and a copy of the launcher in a tree of its own."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import pytest

from tests.waiting import PATIENCE

ROOT = Path(__file__).parents[2]
NOBODY = 65_534
TOOLS = ["bash", "cat", "chmod", "env", "flock", "grep", "id", "mkdir", "mktemp", "readlink", "rm", "sh"]
TOOLS += ["sha256sum", "sleep", "tail", "tee", "touch", "tr", "true"]

# Stands for .venv's Python: tells what it was started with.
PYTHON = '#!/bin/sh\necho "PWD=$PWD PYTHONPATH=$PYTHONPATH ARGS=$*"\nexit 42\n'
APT_GET = """#!/bin/sh
echo "apt-get $* ($DEBIAN_FRONTEND)" >> "{log}"
if [ "$1" = install ]; then
    for name in tshark mvn java; do printf '#!/bin/sh\\n' > "{bin}/$name"; chmod +x "{bin}/$name"; done
fi
"""


@dataclass(frozen=True)
class Launcher:
    """A tree with the launcher, and the only folder on its PATH."""

    root: Path
    bin: Path

    def stand_in(self, name: str, text: str = "#!/bin/sh\n") -> Path:
        path = self.bin / name
        path.write_text(text)
        path.chmod(0o755)
        return path

    def run(
        self, *argv: str, cwd: Path | None = None, user: int | None = None, via: str | Path | None = None
    ) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [via or self.root / "netflight", *argv],
            cwd=cwd or self.root,
            env={"PATH": str(self.bin), "JAVA_HOME": ""},
            user=user,
            capture_output=True,
            text=True,
            check=False,
        )

    def make_environment(self) -> None:
        """An environment as a finished installation leaves it."""
        python = self.root / ".venv" / "bin" / "python"
        python.parent.mkdir(parents=True)
        python.write_text(PYTHON)
        python.chmod(0o755)
        self.stamp()

    def stamp(self) -> None:
        digest = sha256((self.root / "requirements" / "run.txt").read_bytes()).hexdigest()
        (self.root / ".venv" / "installed").write_text(f"run {digest}\n")


@pytest.fixture
def launcher() -> Iterator[Launcher]:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        made = Launcher(Path(folder) / "tree", Path(folder) / "bin")
        made.bin.mkdir()
        (made.root / "requirements").mkdir(parents=True)
        for name in ("run", "dev"):
            (made.root / "requirements" / f"{name}.txt").write_text("# nothing\n")
        shutil.copy(ROOT / "netflight", made.root)
        for tool in TOOLS:
            found = shutil.which(tool)
            assert found is not None, tool
            (made.bin / tool).symlink_to(found)
        yield made


def with_python(launcher: Launcher) -> None:
    """A real Python that can make environments, so that no network is needed: the requirements are empty."""
    (launcher.bin / "python3").symlink_to(Path(sys.executable).resolve())


def test_a_started_tree_runs_python_with_the_arguments_the_folder_and_the_exit_code(
    launcher: Launcher, tmp_path: Path
) -> None:
    launcher.make_environment()
    ended = launcher.run("decode", "--help", "a file.pcap", cwd=tmp_path)
    assert (
        ended.stdout
        == f"PWD={tmp_path} PYTHONPATH={launcher.root} ARGS=-m cockpit decode --help a file.pcap\n"
    )
    assert (ended.returncode, ended.stderr) == (42, "")


def test_it_finds_its_tree_through_a_link_a_relative_path_and_bash(
    launcher: Launcher, tmp_path: Path
) -> None:
    launcher.make_environment()
    (tmp_path / "nf").symlink_to(launcher.root / "netflight")
    for ended in (
        launcher.run("status", cwd=tmp_path, via=tmp_path / "nf"),
        launcher.run("status", via="./netflight"),
        launcher.run("netflight", "status", via=launcher.bin / "bash"),
    ):
        assert f"PYTHONPATH={launcher.root}" in ended.stdout.replace("/./", "/").replace("/. ", " ")
        assert ended.returncode == 42


def test_a_later_start_costs_less_than_half_a_second(launcher: Launcher) -> None:
    launcher.make_environment()
    began = time.monotonic()
    for _ in range(5):
        launcher.run("status")
    assert (time.monotonic() - began) / 5 < 0.5


def test_help_asks_nothing_of_the_machine(launcher: Launcher) -> None:
    launcher.make_environment()
    assert launcher.run("demo", "--help").returncode == 42


def test_who_may_not_install_gets_one_command_to_type(launcher: Launcher) -> None:
    launcher.make_environment()
    launcher.stand_in("apt-get", "#!/bin/sh\necho touched >> /proc/self/cwd/touched\n")
    ended = launcher.run("demo", user=NOBODY if os.geteuid() == 0 else None)
    assert ended.returncode == 1
    assert ended.stdout == ""
    commands = [line for line in ended.stderr.splitlines() if "sudo" in line]
    assert len(commands) == 1
    assert "apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y" in commands[0]
    assert "--no-install-recommends tshark maven" in commands[0]
    assert not (launcher.root / "touched").exists()


def test_the_package_that_is_named_is_one_that_apt_has(launcher: Launcher) -> None:
    launcher.stand_in("apt-get")
    # apt-cache: 3.13 is only mentioned by another package, 3.12 is there, others are unknown
    launcher.stand_in(
        "apt-cache", "#!/bin/sh\ncase $3 in *3.13*) ;; *3.12*) echo Package: $3 ;; *) exit 100 ;; esac\n"
    )
    ended = launcher.run("version", user=NOBODY if os.geteuid() == 0 else None)
    assert ended.returncode == 1
    assert "--no-install-recommends python3.12 python3.12-venv'" in ended.stderr


@pytest.mark.parametrize(
    ("arguments", "packages"),
    [
        (["engine", "--json"], "tshark nginx-light curl ethtool openssl iproute2"),
        (["producer", "--capture", "x.pcap"], "tshark"),
        (["memory"], "tshark"),
    ],
)
def test_a_benchmark_gets_the_programs_that_its_capture_is_recorded_with(
    launcher: Launcher, arguments: list[str], packages: str
) -> None:
    launcher.make_environment()
    launcher.stand_in("apt-get")
    ended = launcher.run("bench", *arguments, user=NOBODY if os.geteuid() == 0 else None)
    assert f"--no-install-recommends {packages}'" in ended.stderr


def test_the_benchmark_of_the_worker_gets_what_its_kafka_needs(launcher: Launcher) -> None:
    launcher.make_environment()
    launcher.stand_in("apt-get")
    ended = launcher.run("bench", "streams", user=NOBODY if os.geteuid() == 0 else None)
    assert "--no-install-recommends tshark maven" in ended.stderr


def test_a_machine_without_apt_is_told_what_is_missing(launcher: Launcher) -> None:
    launcher.make_environment()
    ended = launcher.run("decode", "x.pcap")
    assert ended.returncode == 1
    assert "missing: tshark" in ended.stderr


def test_root_or_sudo_installs_without_a_question_and_goes_on(launcher: Launcher) -> None:
    launcher.make_environment()
    log = launcher.root / "apt.log"
    launcher.stand_in("apt-get", APT_GET.format(log=log, bin=launcher.bin))
    launcher.stand_in("sudo", '#!/bin/sh\nshift\nexec "$@"\n')
    ended = launcher.run("demo")
    assert ended.returncode == 42, ended.stderr
    update, install = log.read_text().splitlines()
    assert update.startswith("apt-get update")
    assert install.startswith("apt-get install -y --no-install-recommends tshark maven")
    assert install.endswith("(noninteractive)")
    log.unlink()
    assert launcher.run("demo").stderr == ""
    assert not log.exists()


def test_a_failed_installation_shows_what_apt_said(launcher: Launcher) -> None:
    launcher.make_environment()
    launcher.stand_in("apt-get", "#!/bin/sh\necho 'E: no such package'\nexit 100\n")
    launcher.stand_in("sudo", '#!/bin/sh\nshift\nexec "$@"\n')
    ended = launcher.run("decode", "x")
    assert ended.returncode == 1
    assert "E: no such package" in ended.stderr


def test_the_first_start_makes_the_environment_once_for_two_at_once(launcher: Launcher) -> None:
    with_python(launcher)
    both = [
        subprocess.Popen(
            [launcher.root / "netflight", "status"],
            env={"PATH": str(launcher.bin)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    told = "".join(child.communicate(timeout=PATIENCE)[1] for child in both)
    assert told.count("making the Python environment in") == 1
    assert (launcher.root / ".venv" / "installed").exists()
    assert not (launcher.root / ".venv" / "unfinished").exists()


def test_an_interrupted_installation_is_made_anew(launcher: Launcher) -> None:
    with_python(launcher)
    launcher.make_environment()
    (launcher.root / ".venv" / "unfinished").touch()
    (launcher.root / ".venv" / "half-a-package").touch()
    assert "making the Python environment" in launcher.run("status").stderr
    assert not (launcher.root / ".venv" / "half-a-package").exists()


def test_changed_requirements_are_installed_and_a_pip_that_fails_is_told(launcher: Launcher) -> None:
    launcher.make_environment()
    (launcher.root / "requirements" / "run.txt").write_text("# changed\n")
    ended = launcher.run("status")
    assert "pip could not install requirements/run.txt" in ended.stderr
    assert "ARGS=-m pip install --require-hashes --only-binary :all:" in ended.stderr
    assert ended.returncode == 1
    assert not (launcher.root / ".venv" / "installed").exists()
    assert (launcher.root / ".venv" / "unfinished").exists()


def test_the_launcher_passes_shellcheck() -> None:
    shellcheck = shutil.which("shellcheck")
    if shellcheck is None:
        pytest.skip("no shellcheck on this machine: apt-get install shellcheck")
    scripts = [ROOT / "netflight", ROOT / ".ci" / "run"]
    ended = subprocess.run([shellcheck, *scripts], capture_output=True, text=True, check=False)
    assert ended.stdout == ""
