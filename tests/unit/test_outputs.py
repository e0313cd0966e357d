"""Outputs that are inputs are refused before anything is opened, whatever name they go by."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cockpit.outputs import refuse_folder, refuse_inputs
from runtime.errors import UsageError
from runtime.names import shown
from tests.packets import pcap

CAPTURE = pcap([(0, b"\0" * 60, 60)])
LINKS: dict[str, Callable[[Path, Path], object]] = {
    "same": lambda _capture, _other: None,
    "symbolic": lambda capture, other: other.symlink_to(capture),
    "hard": lambda capture, other: other.hardlink_to(capture),
    "of-folder": lambda capture, other: other.symlink_to(capture.parent),
}


def run(*arguments: str | bytes | Path, stdin: Path | None = None) -> "subprocess.CompletedProcess[bytes]":
    with (stdin or Path(os.devnull)).open("rb") as source:
        argv = [sys.executable, "-m", "cockpit", *arguments]
        return subprocess.run(argv, stdin=source, capture_output=True, check=False)


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("named", ["file", "folder"])
@pytest.mark.parametrize("option", ["--output", "--summary"])
def test_an_output_that_is_an_input_is_refused(tmp_path: Path, link: str, named: str, option: str) -> None:
    folder = tmp_path / "captures" / "deep"
    folder.mkdir(parents=True)
    capture, other = folder / "x.pcap", tmp_path / "other"
    capture.write_bytes(CAPTURE)
    LINKS[link](capture, other)
    output = {"same": capture, "of-folder": other / capture.name}.get(link, other)
    with pytest.raises(UsageError, match=f"x.pcap: the input is also the output .* of {option}"):
        refuse_inputs([tmp_path / "captures" if named == "folder" else capture], {option: output})
    assert capture.read_bytes() == CAPTURE


def test_other_outputs_are_taken(tmp_path: Path) -> None:
    capture, events = tmp_path / "x.pcap", tmp_path / "events.ndjson"
    capture.write_bytes(CAPTURE)
    for already in (False, True):  # events of an earlier run in the folder are no capture
        outputs = {"--output": events, "--summary": tmp_path / "summary.json", "other": None}
        refuse_inputs([str(tmp_path), "-", "missing"], outputs)
        refuse_inputs([capture], {"--output": Path(os.devnull)})
        if not already:
            events.write_text("{}\n")


def test_a_draft_and_a_second_output_are_outputs_too(tmp_path: Path) -> None:
    capture = tmp_path / "x.json.part"
    capture.write_bytes(CAPTURE)
    with pytest.raises(UsageError, match=r"x\.json\.part: the input is also"):
        refuse_inputs([capture], {"--summary": tmp_path / "x.json"})
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(UsageError, match="both --output and --summary"):
        refuse_inputs([], {"--output": tmp_path / "a", "--summary": tmp_path / "link" / "a"})


def test_a_ring_holds_no_inputs(tmp_path: Path) -> None:
    inside = tmp_path / "ring" / "segments"
    inside.mkdir(parents=True)
    (inside / "x.pcapng").write_bytes(CAPTURE)
    for source in (inside, inside / "x.pcapng", tmp_path / "ring", tmp_path):
        with pytest.raises(UsageError, match="--ring writes to"):
            refuse_folder([str(source)], "--ring", tmp_path / "ring")
    refuse_folder(["-", str(tmp_path / "y.pcap")], "--ring", tmp_path / "ring")


def test_the_command_leaves_the_capture_alone(tmp_path: Path) -> None:
    capture = tmp_path / "x.pcap"
    capture.write_bytes(CAPTURE)
    for arguments, stdin in [
        (("decode", capture, "-o", capture), None),
        (("decode", capture, "--summary", capture), None),
        (("decode", tmp_path, "-o", capture), None),
        (("decode", "-", "-o", capture), capture),
        (("capture", capture, "--summary", capture), None),
        (("demo", capture, "--summary", capture), None),
    ]:
        done = run(*arguments, stdin=stdin)
        assert done.returncode == 2, done.stderr
        assert b"which would overwrite it" in done.stderr
        assert capture.read_bytes() == CAPTURE
    with capture.open("ab") as appended:
        argv = [sys.executable, "-m", "cockpit", "decode", capture]
        done = subprocess.run(argv, stdout=appended, stderr=subprocess.PIPE, check=False)
    assert (done.returncode, capture.read_bytes()) == (2, CAPTURE)
    assert b"standard output" in done.stderr


def test_a_name_that_is_not_utf_8_is_escaped() -> None:
    assert shown(os.fsdecode(b"/a/\xff\xc3\xa9.pcap")) == "/a/\\xffé.pcap"
    assert shown(Path(os.fsdecode(b"\x80"))) == "\\x80"
    assert shown("a\ud800b") == "a\\ud800b"
    assert shown("plain é 日本") == "plain é 日本"
    assert str(UsageError("\udcff: no such file", "\udcfe")) == "\\xff: no such file (\\xfe)"
