"""Where the public test captures are: a folder beside the checkout, or the one NETFLIGHT_CAPTURES names.

Call these in a test or a fixture, never while a module is imported: there a missing folder is an error.
"""

import os
from pathlib import Path

import pytest

_SHARED = Path(__file__).resolve().parents[2] / "shared"


def captures() -> Path:
    """The folder of public captures; skips the test where it is missing."""
    return _existing(Path(os.environ.get("NETFLIGHT_CAPTURES") or _SHARED / "captures"))


def faults() -> Path:
    """The folder of small captures with known right answers, beside the public ones; skips the test likewise."""
    named = os.environ.get("NETFLIGHT_CAPTURES")
    return _existing((Path(named).parent if named else _SHARED) / "faults")


def sigma_rules() -> Path:
    """The folder of SigmaHQ's network rules, beside the public captures; skips the test likewise."""
    named = os.environ.get("NETFLIGHT_CAPTURES")
    return _existing((Path(named).parent if named else _SHARED) / "sigma")


def _existing(folder: Path) -> Path:
    if not folder.is_dir():
        pytest.skip(f"no {folder.parent.name}/{folder.name}; set NETFLIGHT_CAPTURES")
    return folder
