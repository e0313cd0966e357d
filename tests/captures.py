"""Where the public test captures are: a folder beside the checkout, or the one NETFLIGHT_CAPTURES names."""

import os
from pathlib import Path

import pytest


def captures() -> Path:
    """The folder of public captures; skips the test where it is missing."""
    named = os.environ.get("NETFLIGHT_CAPTURES")
    folder = Path(named) if named else Path(__file__).resolve().parents[2] / "shared" / "captures"
    if not folder.is_dir():
        pytest.skip(f"no public captures in {folder.parent.name}/{folder.name}; set NETFLIGHT_CAPTURES")
    return folder
