"""Helm for the tests: one on PATH, one built before, or one built now by Go from its module."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from runtime.settings import cache_dir

HELM_MODULE = "helm.sh/helm/v3/cmd/helm"
HELM_VERSION = "v3.19.5"
CHART = Path(__file__).resolve().parents[1] / "helm" / "netflight"
EVERYTHING = CHART / "ci" / "everything-values.yaml"

Manifest = dict[str, Any]


def find_helm() -> Path:
    """The path of a Helm 3; skips where there is neither Helm nor Go. The first build takes minutes."""
    built = cache_dir() / "bin" / f"helm-{HELM_VERSION}"
    for known in (shutil.which("helm"), built):
        if known and Path(known).exists() and _answers(Path(known)):
            return Path(known)
    go = shutil.which("go")
    if go is None:
        pytest.skip("neither helm nor go is on PATH")
    return _build(go, built)


def _answers(helm: Path) -> bool:
    shown = subprocess.run([helm, "version", "--short"], capture_output=True, text=True, check=False)
    return shown.returncode == 0 and shown.stdout.startswith("v3.")


def _build(go: str, target: Path) -> Path:
    folder = target.parent / f"build-{os.getpid()}"
    folder.mkdir(parents=True)
    try:
        run = subprocess.run(
            [go, "install", f"{HELM_MODULE}@{HELM_VERSION}"],
            env={**os.environ, "GOBIN": str(folder), "GOTOOLCHAIN": "local", "CGO_ENABLED": "0"},
            capture_output=True,
            text=True,
            check=False,
        )
        if run.returncode:
            last = (run.stderr.strip().splitlines() or ["no output"])[-1]
            # Without a module proxy in reach nobody can build it; where everything is checked, that is a failure.
            give_up = pytest.fail if os.environ.get("CI") else pytest.skip
            give_up(f"go cannot build helm {HELM_VERSION}: {last}")
        (folder / "helm").replace(target)
    finally:
        shutil.rmtree(folder)
    return target


def helm(binary: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Helm away from the home folder's configuration."""
    return subprocess.run([binary, *arguments], capture_output=True, text=True, check=False)


def template(
    binary: Path, *, values: Manifest | None = None, file: Path | None = None, version: str = "1.30.0"
) -> subprocess.CompletedProcess[str]:
    """Render the chart as release `nf`, with a file of values and more values on top."""
    arguments = ["template", "nf", str(CHART), "--namespace", "sensors", "--kube-version", version]
    if file is not None:
        arguments += ["--values", str(file)]
    given = yaml.safe_dump(values or {})
    return subprocess.run(
        [binary, *arguments, "--values", "-"], input=given, capture_output=True, text=True, check=False
    )


def manifests(rendered: subprocess.CompletedProcess[str]) -> list[Manifest]:
    """The documents that Helm rendered; fails with Helm's own words."""
    assert rendered.returncode == 0, rendered.stderr
    return [found for found in yaml.safe_load_all(rendered.stdout) if found is not None]


def pods(found: list[Manifest]) -> dict[str, Manifest]:
    """Pod templates by component."""
    templates = [item["spec"]["template"] for item in found if "template" in item.get("spec", {})]
    return {item["metadata"]["labels"]["app.kubernetes.io/component"]: item for item in templates}


def containers(pod: Manifest) -> list[Manifest]:
    """All containers of a pod template, init containers first."""
    return [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]
