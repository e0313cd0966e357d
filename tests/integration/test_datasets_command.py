"""`netflight datasets`: the list, a dataset, and a new one from a capture that decodes and passes its own case."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import orjson
import pytest
import yaml

from cockpit import scaffold
from runtime.errors import CaptureError, UsageError
from schemas.model import Dataset, datasets
from tests.captures import captures

pytestmark = pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")
ROOT = Path(__file__).resolve().parents[2]


def netflight(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "cockpit", "datasets", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_list_has_every_dataset() -> None:
    told = [orjson.loads(line) for line in netflight("--json").stdout.splitlines()]
    assert [item["name"] for item in told] == list(datasets())
    assert all(item["index"].endswith(f"-{item['dataset']}-<namespace>") for item in told)
    table = netflight().stdout
    assert all(name in table for name in datasets())


def test_a_dataset_is_shown_with_its_fields() -> None:
    told = orjson.loads(netflight("show", "network_traffic.arp", "--json").stdout)
    assert set(told["fields"]) == set(datasets()["arp"].fields)
    done = netflight("show", "nothing")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines() == ["error: nothing: no such dataset (netflight datasets lists them)"]


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout whose datasets can be written to; the rest of the code is ours."""
    shutil.copytree(ROOT / "schemas", tmp_path / "schemas", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "tests" / "cases").mkdir(parents=True)
    monkeypatch.setattr(scaffold, "ROOT", tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return tmp_path


def test_a_new_dataset_decodes_the_capture_that_it_was_made_from(checkout: Path) -> None:
    capture = captures() / "arkime" / "captures" / "pim.pcap"
    written = scaffold.write_dataset("pim_new", "pim", capture)
    assert all(path.exists() for path in written)
    dataset = Dataset.model_validate(
        yaml.safe_load((checkout / "schemas" / "datasets" / "pim_new.yaml").read_text())
    )
    assert len(dataset.fields) > 5
    case = checkout / "tests" / "cases" / "pim_new"
    told = yaml.safe_load((case / "case.yaml").read_text())
    events = scaffold.decoded(case / told["capture"], "pim_new")
    assert len(events) == told["events"]["network_traffic.pim_new"] > 0
    (expected,) = json.loads((case / "expected.json").read_text())
    assert expected["event"]["id"] == events[0]["event"]["id"]
    assert expected["netflight"]["pim_new"]


def test_what_cannot_be_made_says_why(checkout: Path) -> None:
    capture = captures() / "arkime" / "captures" / "pim.pcap"
    with pytest.raises(UsageError, match="dns: there is a dataset of that name"):
        scaffold.write_dataset("dns", "dns", capture)
    with pytest.raises(CaptureError, match="tshark finds no ntp"):
        scaffold.write_dataset("ntp_new", "ntp", capture)
    assert not (checkout / "schemas" / "datasets" / "ntp_new.yaml").exists()
