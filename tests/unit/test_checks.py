import pytest

from cockpit import checks


def test_the_first_failing_check_is_named_and_the_tests_do_not_run(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    steps = {
        "good": ["-c", "print('fine')"],
        "bad": ["-c", "import sys; sys.exit(3)"],
        "never": ["-c", "print('reached')"],
    }
    monkeypatch.setattr(checks, "STATIC", steps)
    assert checks.run([]) == 3
    told = capfd.readouterr()
    assert "the first failing check is bad" in told.err
    assert "reached" not in told.out


def test_pytest_gets_the_selection_and_its_summary_is_the_last_line(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(checks, "STATIC", {})
    code = checks.main(["tests/unit/test_checks.py", "-k", "selects_this_one", "--no-header"])
    assert code == 0
    assert "1 passed" in capfd.readouterr().out.splitlines()[-1]


def test_selects_this_one() -> None:
    assert set(checks.STATIC) == {"ruff check", "ruff format", "mypy", "import layers"}
