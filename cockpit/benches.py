"""Which benchmarks there are: every module right in bench/, which an installed package does not have."""

import ast
import importlib
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.support.report import Options, Report

FOLDER = Path(__file__).resolve().parents[1] / "bench"


def known() -> dict[str, str]:
    """The benchmarks with the first sentence of each; UsageError where there is no checkout."""
    if not FOLDER.is_dir():
        raise UsageError(
            "netflight bench: there are no benchmarks here", "clone the repository, and ./netflight bench"
        )
    modules = sorted(path for path in FOLDER.glob("*.py") if path.stem != "__init__")
    return {path.stem: _first_line(path) for path in modules}


def load(name: str) -> "Callable[[Options], Report]":
    """What runs the benchmark of this name; UsageError where there is none."""
    names = known()
    if name not in names:
        raise UsageError(f"bench {name}: there is no such benchmark", f"one of {', '.join(names)}")
    run: Callable[[Options], Report] = importlib.import_module(f"bench.{name}").run
    return run


def _first_line(path: Path) -> str:
    return (ast.get_docstring(ast.parse(path.read_text())) or "").partition("\n")[0]
