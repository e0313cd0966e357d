import re
import tomllib
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "helm" / "netflight"

Instruction = tuple[str, str]


@pytest.fixture(scope="module")
def instructions() -> list[Instruction]:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    joined = re.sub(r"\\\n\s*", " ", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE))
    lines = [line.strip().partition(" ") for line in joined.splitlines() if line.strip()]
    return [(word, rest) for word, _, rest in lines]


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def of(instructions: list[Instruction], word: str) -> list[str]:
    return [rest for found, rest in instructions if found == word]


def copied(instructions: list[Instruction]) -> set[str]:
    """What comes from the tree."""
    lines = [rest.split() for rest in of(instructions, "COPY") if not rest.startswith("--from")]
    return {source for line in lines for source in line[:-1]}


def test_the_context_has_what_is_copied_and_no_more(instructions: list[Instruction]) -> None:
    patterns = (ROOT / ".dockerignore").read_text(encoding="utf-8").split("\n")
    allowed = {pattern[1:] for pattern in patterns if pattern.startswith("!")}
    assert "*" in patterns
    assert copied(instructions) == allowed
    later = patterns[patterns.index("*") + 1 :]
    assert not [name for name in allowed for pattern in later if pattern and fnmatch(name, pattern)]


def test_the_image_gets_every_package_of_the_wheel(
    instructions: list[Instruction], project: dict[str, Any]
) -> None:
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert set(packages) <= copied(instructions)
    assert all((ROOT / name).is_dir() for name in packages)
    assert {project["project"]["readme"], *project["project"]["license-files"]} <= copied(instructions)


def test_everything_from_an_index_is_locked_by_hash(
    instructions: list[Instruction], project: dict[str, Any]
) -> None:
    installs = [part for run in of(instructions, "RUN") for part in run.split("&&") if " install " in part]
    fetches = [part for part in installs if "bin/pip" in part and "--no-index" not in part]
    assert fetches
    assert all("--require-hashes" in part and "--only-binary :all:" in part for part in fetches)
    locked = (ROOT / "requirements" / "build.txt").read_text(encoding="utf-8")
    for requirement in project["build-system"]["requires"]:
        name = re.split(r"[<>=~!\[ ]", requirement)[0]
        assert re.search(rf"^{name}==", locked, re.MULTILINE)


def test_the_image_runs_the_projects_command_as_the_charts_user(
    instructions: list[Instruction], project: dict[str, Any]
) -> None:
    helpers = (CHART / "templates" / "_helpers.tpl").read_text(encoding="utf-8")
    user, group = (re.search(rf"runAs{name}: (\d+)", helpers) for name in ("User", "Group"))
    assert user is not None
    assert group is not None
    assert of(instructions, "USER") == [f"{user[1]}:{group[1]}"]
    assert [yaml.safe_load(entry) for entry in of(instructions, "ENTRYPOINT")] == [["netflight"]]
    assert "netflight" in project["project"]["scripts"]


def test_dumpcap_has_the_capability_that_the_chart_grants(instructions: list[Instruction]) -> None:
    given = re.findall(r"setcap (\S+)=ep /usr/bin/dumpcap", " ".join(of(instructions, "RUN")))
    chart = (CHART / "templates" / "capture-daemonset.yaml").read_text(encoding="utf-8")
    granted = re.findall(r"add: \[(.*)\]", chart)
    # A file capability beyond the pod's bounding set would keep dumpcap from starting at all.
    assert [f"CAP_{name}" for name in granted] == [name.upper() for name in given]


def test_the_image_has_the_projects_version_and_the_charts_places(
    instructions: list[Instruction], project: dict[str, Any]
) -> None:
    assert f"VERSION={project['project']['version']}" in of(instructions, "ARG")
    environment = dict(pair.split("=", 1) for line in of(instructions, "ENV") for pair in line.split())
    assert environment["NETFLIGHT_STATE"] == "/var/lib/netflight"
    shared = (CHART / "templates" / "_environment.tpl").read_text(encoding="utf-8")
    assert f"value: {environment['NETFLIGHT_STATE']}\n" in shared


def test_both_stages_have_one_base(instructions: list[Instruction], project: dict[str, Any]) -> None:
    assert of(instructions, "FROM") == ["${PYTHON} AS build", "${PYTHON} AS run"]
    assert of(instructions, "ARG")[0] == "PYTHON=python:3.11-slim-bookworm"
    assert project["project"]["requires-python"].startswith(">=3.11")
