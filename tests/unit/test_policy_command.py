"""`netflight policy` on the command line."""

from pathlib import Path

import orjson
import pytest
from typer.testing import CliRunner

from cockpit.cli import app

RUN = CliRunner()
WEB = Path(__file__).parents[2] / "samples" / "web" / "capture.pcap"


def test_list_names_the_shipped_policies() -> None:
    done = RUN.invoke(app, ["policy", "list"])
    assert done.exit_code == 0
    assert {"all", "default"} <= {line.split()[0] for line in done.stdout.splitlines()}


def test_show_prints_the_file_or_the_code() -> None:
    text = RUN.invoke(app, ["policy", "show", "all"]).stdout
    assert "then: {decode: all, record: full}" in text
    assert "def decide(facts, buffer" in RUN.invoke(app, ["policy", "show", "all", "--code"]).stdout


def test_check_tells_every_mistake(tmp_path: Path) -> None:
    path = tmp_path / "my.yaml"
    path.write_text(
        "rules:\n- {name: a, when: prt == 1, then: count}\n- {name: b, when: port == x, then: count}\n"
    )
    done = RUN.invoke(app, ["policy", "check", str(path)])
    assert done.exit_code == 1
    assert "my.yaml:2:19: there is no field prt" in done.stderr
    assert "my.yaml:3:27: port: there is no value x" in done.stderr


def test_check_tells_rules_that_are_never_reached(tmp_path: Path) -> None:
    path = tmp_path / "my.yaml"
    path.write_text("rules:\n- {name: a, then: count}\ninclude: all\n")
    done = RUN.invoke(app, ["policy", "check", str(path)])
    assert done.exit_code == 0
    assert "everything is never reached" in done.stderr


@pytest.mark.parametrize("arguments", [["policy", "check", "defalt"], ["policy", "show", "defalt"]])
def test_a_policy_that_is_not_there(arguments: list[str]) -> None:
    done = RUN.invoke(app, arguments)
    assert "defalt: no such policy (name a file, or did you mean default?)" in str(done.exception)


def test_an_estimate_accounts_for_every_packet() -> None:
    done = RUN.invoke(app, ["policy", "check", "default", "--capture", str(WEB), "--json"])
    assert done.exit_code == 0, done.stderr
    told = orjson.loads(done.stdout)
    rules, total = told["estimate"]["rules"], told["estimate"]["total"]
    assert list(rules) == [rule["name"] for rule in told["rules"]]
    assert sum(figures["packets"] for figures in rules.values()) == total["packets"] > 0
    assert sum(figures["bytes"] for figures in rules.values()) == total["bytes"]
    assert 0 < total["decoded_packets"] < total["packets"]
    assert rules["heads"]["decoded_packets"] > 0
    assert rules["tcp-no-payload"]["decoded_packets"] == 0


def test_an_estimate_goes_on_after_a_bad_capture(tmp_path: Path) -> None:
    bad = tmp_path / "bad.pcap"
    bad.write_bytes(WEB.read_bytes()[:5_000])
    done = RUN.invoke(app, ["policy", "check", "all", "-c", str(bad), "-c", str(WEB), "--json"])
    assert done.exit_code == 1
    assert "bad.pcap" in done.stderr
    estimate = orjson.loads(done.stdout)["estimate"]
    assert estimate["rules"]["everything"]["packets"] == estimate["total"]["packets"] > 100
