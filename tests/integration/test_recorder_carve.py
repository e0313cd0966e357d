"""What is carved out of the ring is what tshark and editcap take out of the capture: frames, bytes, times."""

import subprocess
from collections import defaultdict
from pathlib import Path

import pytest

from producers.engine.kernel.layout import RECORD, RECORD_HEADERS
from producers.recorder.carve import Ring
from producers.recorder.recorder import Recorder
from producers.recorder.segment import places
from producers.sources.opening import open_path
from tests.captures import captures
from tests.rings import bare, batches, carved, ids_of

SAMPLES = Path(__file__).parents[2] / "samples"
# without errors of ICMP, whose Community ID is to tshark that of the packet they quote
PLAIN = [
    "dns/capture.pcap",
    "web/capture.pcap",
    "ssh/capture.pcap",
    "dhcp/capture.pcapng",
    "beacon/capture.pcap",
]
TUNNELS = [
    "gtp-u",
    "tcpdump-geneve",
    "gre-erspan-vxlan",
    "sctp-www",
    "v6",
    "80211http",
    "socks5-http-302-frag",
]
SMALL_SEGMENTS = 1 << 16


def recorded(folder: Path, capture: Path, verdict: int = RECORD) -> dict[str, list[int]]:
    """Record a capture into a ring; the frames of each flow."""
    flows: dict[str, list[int]] = defaultdict(list)
    recorder = Recorder(folder, 1 << 30, segment_bytes=SMALL_SEGMENTS, wait=True)
    for batch in batches(capture, verdict):
        recorder.write(batch)
        for number, identity in enumerate(ids_of(batch)):
            if identity:
                flows[identity].append(batch.block.first_frame + number)
    recorder.close()
    assert recorder.summary()["unrecorded"] == {}
    return flows


def run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def tshark_flows(capture: Path) -> dict[str, list[int]]:
    """The frames of each flow by tshark's own Community ID."""
    flows: dict[str, list[int]] = defaultdict(list)
    told = run(
        "tshark", "-n", "-r", str(capture), "--enable-protocol", "communityid",
        "-T", "fields", "-e", "frame.number", "-e", "communityid",
    )  # fmt: skip
    for line in told.splitlines():
        frame, _, identity = line.partition("\t")
        if identity:
            flows[identity].append(int(frame))
    return flows


@pytest.mark.parametrize("name", PLAIN)
def test_every_flow_of_a_sample_is_what_tshark_and_editcap_take_out(tmp_path: Path, name: str) -> None:
    capture = SAMPLES / name
    flows = tshark_flows(capture)
    assert recorded(tmp_path / "ring", capture) == flows
    ring = Ring(tmp_path / "ring")
    for number, (identity, frames) in enumerate(flows.items()):
        ours, theirs = tmp_path / "ours.pcapng", tmp_path / "theirs.pcap"
        with ours.open("wb") as file:
            assert ring.carve(identity, file.write).packets == len(frames)
        if number % max(1, len(flows) // 20) == 0:  # some twenty flows; all of them below
            run("editcap", "-F", "nsecpcap", "-r", str(capture), str(theirs), *map(str, frames))
            run("editcap", "-F", "nsecpcap", str(ours), str(tmp_path / "ours.pcap"))
            assert (tmp_path / "ours.pcap").read_bytes() == theirs.read_bytes()
    check_all(tmp_path / "ring", capture, flows)


def check_all(ring: Path, capture: Path, flows: dict[str, list[int]]) -> None:
    """Every flow, frame by frame, against the capture."""
    packets = {p.frame: p for block in open_path(str(capture)).blocks() for p in block}
    for identity, frames in flows.items():
        found, account = carved(ring, identity)
        assert bare(found) == bare([packets[frame] for frame in frames]), identity
        assert account.damaged == 0


@pytest.mark.parametrize("name", TUNNELS)
def test_every_flow_inside_tunnels_and_fragments(tmp_path: Path, name: str) -> None:
    capture = captures() / "arkime" / "captures" / f"{name}.pcap"
    flows = recorded(tmp_path / "ring", capture)
    assert flows
    check_all(tmp_path / "ring", capture, flows)


def test_segments_are_captures(tmp_path: Path) -> None:
    capture = SAMPLES / "office_day" / "capture.pcap"
    flows = recorded(tmp_path / "ring", capture)
    files = [str(place.path) for place in places(tmp_path / "ring" / "segments")]
    assert len(files) > 5
    told = run("capinfos", "-TMrc", "-t", *files)
    assert [line.split("\t")[1] for line in told.splitlines()] == ["pcapng"] * len(files)
    run("mergecap", "-F", "nsecpcap", "-a", "-w", str(tmp_path / "all.pcap"), *files)
    run("editcap", "-F", "nsecpcap", str(capture), str(tmp_path / "theirs.pcap"))
    assert (tmp_path / "all.pcap").read_bytes() == (tmp_path / "theirs.pcap").read_bytes()
    check_all(tmp_path / "ring", capture, flows)


def test_headers_are_whole_and_payload_is_not_there(tmp_path: Path) -> None:
    capture = SAMPLES / "web" / "capture.pcap"
    flows = recorded(tmp_path / "ring", capture, RECORD_HEADERS)
    identity = max(flows, key=lambda name: len(flows[name]))
    with (tmp_path / "headers.pcapng").open("wb") as file:
        Ring(tmp_path / "ring").carve(identity, file.write)
    fields = ("-T", "fields", "-e", "tcp.seq_raw", "-e", "tcp.len", "-e", "tcp.flags", "-e", "frame.len")
    ours = run("tshark", "-n", "-r", str(tmp_path / "headers.pcapng"), *fields)
    wanted = f"frame.number in {{{','.join(map(str, flows[identity]))}}}"
    assert ours == run("tshark", "-n", "-r", str(capture), "-Y", wanted, *fields)
    captured = run(
        "tshark", "-n", "-r", str(tmp_path / "headers.pcapng"), "-T", "fields", "-e", "frame.cap_len"
    )
    assert {int(length) for length in captured.split()} <= {54, 58, 62, 66, 70, 74, 78, 82, 86, 90, 94}


def test_an_index_made_anew_is_the_one_that_was_lost(tmp_path: Path) -> None:
    capture = captures() / "arkime" / "captures" / "gtp-iphone.pcap"
    flows = recorded(tmp_path / "ring", capture)
    (place, *_) = places(tmp_path / "ring" / "segments")
    before = place.index.read_bytes()
    place.index.unlink()
    Recorder(tmp_path / "ring", 1 << 30).close()
    assert len(place.index.read_bytes()) == len(before)
    check_all(tmp_path / "ring", capture, flows)
