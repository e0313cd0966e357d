"""`netflight packets`: what it writes, what it says, and how it refuses."""

import time
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest
from typer.testing import CliRunner, Result

from cockpit.cli import app
from producers.recorder.keeping import kept_ids
from producers.recorder.recorder import Recorder
from producers.sources.packet import RawPacket
from runtime.errors import NetflightError, UsageError
from tests.packets import read
from tests.rings import SECOND, bare, batch_of, conversation, id_of

START_NS = 1_700_000_000 * SECOND
Run = Callable[..., Result]


@pytest.fixture
def flow() -> list[RawPacket]:
    return conversation(1, 4000, 30, start_ns=START_NS)


@pytest.fixture
def run(tmp_path: Path, flow: list[RawPacket]) -> Run:
    """The command on a ring with that flow and others."""
    recorder = Recorder(tmp_path / "ring", 64 << 20, wait=True)
    for packets in (flow, *(conversation(host, 4000, 10, start_ns=START_NS) for host in range(2, 9))):
        recorder.write(batch_of(packets))
    recorder.close()

    def command(*arguments: str) -> Result:
        result = CliRunner().invoke(app, ["packets", *arguments, "--ring", str(tmp_path / "ring")])
        if isinstance(result.exception, NetflightError):
            raise result.exception
        return result

    return command


def test_writes_a_flow(run: Run, flow: list[RawPacket], tmp_path: Path) -> None:
    output = tmp_path / "flow.pcapng"
    result = run("--community-id", id_of(flow), "-o", str(output), "--json")
    assert bare(read(output.read_bytes())) == bare(flow)
    told = orjson.loads(result.stdout)
    assert told.pop("seconds") < 60
    assert told == {
        "community_id": id_of(flow),
        "flow": "tcp 10.0.0.1:4000 > 192.0.2.1:443",
        "packets": 30,
        "bytes": 30 * 1054,
        "from": "2023-11-14T22:13:20.000000000Z",
        "to": "2023-11-14T22:13:20.029000000Z",
        "segments": 1,
        "kept_segments": 0,
        "damaged": 0,
        "output": str(output),
    }


@pytest.mark.parametrize("name", ["ring/flow.pcapng", "segment", "ring/segments/flow.pcapng"])
def test_nothing_in_the_ring_is_written_to(
    run: Run, flow: list[RawPacket], tmp_path: Path, name: str
) -> None:
    before = {path: path.read_bytes() for path in (tmp_path / "ring").rglob("*") if path.is_file()}
    segment = next(path for path in before if path.suffix == ".pcapng")
    (tmp_path / "segment").hardlink_to(segment)
    with pytest.raises(UsageError, match=r"overwrite it|the recorder writes to"):
        run("--community-id", id_of(flow), "-o", str(tmp_path / name))
    assert {path: path.read_bytes() for path in (tmp_path / "ring").rglob("*") if path.is_file()} == before


def test_writes_a_flow_to_stdout(run: Run, flow: list[RawPacket]) -> None:
    result = run("-c", id_of(flow), "-o", "-")
    assert bare(read(result.stdout_bytes)) == bare(flow)


def test_sums_a_flow_up(run: Run, flow: list[RawPacket]) -> None:
    lines = run("-c", id_of(flow)).stdout.splitlines()
    assert lines[0] == f"{id_of(flow)} tcp 10.0.0.1:4000 > 192.0.2.1:443"
    assert lines[1].startswith("30 packets, 31,620 bytes, 2023-11-14T22:13:20.000000000Z to ")
    assert lines[2].startswith("in 1 segment, ")


@pytest.mark.parametrize(
    ("since", "until"),
    [
        ("2023-11-14T22:13:20.010Z", "2023-11-14T22:13:20.019000000Z"),
        ("1700000000.01", "1700000000.019"),
        ("2023-11-14T23:13:20.010+01:00", "2023-11-14 22:13:20.019"),
    ],
)
def test_times_are_read_in_many_forms(run: Run, flow: list[RawPacket], since: str, until: str) -> None:
    result = run("-c", id_of(flow), "--from", since, "--to", until, "-o", "-")
    assert bare(read(result.stdout_bytes)) == bare(flow[10:20])


def test_an_unknown_flow_is_told_with_what_the_ring_covers(run: Run, tmp_path: Path) -> None:
    output = tmp_path / "nothing.pcapng"
    covered = "holds 100 packets from 2023-11-14T22:13:20.000000000Z to 2023-11-14T22:13:20.029000000Z"
    with pytest.raises(NetflightError, match=covered) as refused:
        run("-c", "1:LQU9qZlK+B5F3KDmev6m5PMibrg=", "-o", str(output))
    assert refused.value.exit_code == 1
    assert not list(tmp_path.glob("nothing*"))


def test_a_flow_at_other_times_is_told(run: Run, flow: list[RawPacket]) -> None:
    with pytest.raises(NetflightError, match=r"the ring has 30 from 2023-11-14T22:13:20\.0"):
        run("-c", id_of(flow), "--from", "2024-01-01")


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ((), "which flow"),
        (("-c", "nonsense"), "no Community ID"),
        (("-c", "1:LQU9qZlK+B5F3KDmev6m5PMibrg=", "--from", "tomorrow"), "--from 'tomorrow' is no time"),
        (("-c", "1:LQU9qZlK+B5F3KDmev6m5PMibrg=", "--from", "9", "--to", "8"), "is after"),
        (("-c", "1:LQU9qZlK+B5F3KDmev6m5PMibrg=", "--json", "-o", "-"), "both want stdout"),
    ],
)
def test_wrong_usage(run: Run, arguments: tuple[str, ...], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        run(*arguments)


def test_lists_the_ring(tmp_path: Path, run: Run) -> None:  # noqa: ARG001  # it makes the ring
    ring = str(tmp_path / "ring")
    result = CliRunner().invoke(app, ["packets", "list", "--ring", ring])
    assert "ring  2023-11-14T22:13:20Z to 2023-11-14T22:13:20Z" in result.stdout
    assert "100 packets" in result.stdout
    assert "8 flows in 1 segment" in result.stdout
    told = orjson.loads(CliRunner().invoke(app, ["packets", "list", "--ring", ring, "--json"]).stdout)
    assert (told["ring"]["packets"], told["ring"]["flows"], told["ring"]["segments"]) == (100, 8, 1)
    assert (told["kept"]["packets"], told["keeps"], len(told["segments"])) == (0, [], 1)
    assert Path(told["segments"][0]["file"]).stat().st_size == told["ring"]["bytes"]


def test_asks_to_keep_a_flow(tmp_path: Path, run: Run, flow: list[RawPacket]) -> None:  # noqa: ARG001  # as above
    arguments = ["-c", id_of(flow), "--from", "1700000000", "--ring", str(tmp_path / "ring")]
    assert CliRunner().invoke(app, ["packets", "keep", *arguments]).exit_code == 0
    (keep,) = kept_ids(tmp_path / "ring")
    assert keep[:3] == (id_of(flow), START_NS, 2**63 - 1)
    assert abs(keep.made_ns - time.time_ns()) < 60 * SECOND


def test_a_folder_without_a_ring(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["packets", "list", "--ring", str(tmp_path)])
    assert isinstance(result.exception, UsageError)
    assert "no packet ring" in str(result.exception)
