"""A live capture loses nothing that it does not tell of: tcpreplay across two namespaces, at rising rates."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

pytestmark = [
    pytest.mark.skipif(shutil.which("dumpcap") is None, reason="dumpcap is not installed"),
    pytest.mark.skipif(shutil.which("tcpreplay") is None, reason="tcpreplay is not installed"),
    pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root"),
]
ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "samples" / "web" / "capture.pcap"
MIB = 1 << 20

# Reads an interface until it has been quiet for a while after the first packet; tells what came. Its arguments: the
# interface, bytes of kernel buffer, seconds to waste on every block.
READER = """
import json, sys, time
from producers.sources.live import LiveSource

source = LiveSource(sys.argv[1], buffer=int(sys.argv[2]))
read = last = oldest = 0
ready = False
for block in source.blocks():
    if source.capturing and not ready:
        ready = True
        print("ready", flush=True)
    if len(block):
        assert block.first_frame == read + 1
        oldest = max(oldest, time.time_ns() - int(block.time_ns[0]))
        read, last = read + len(block), time.monotonic()
        time.sleep(float(sys.argv[3]))
    elif last and time.monotonic() - last > 1:
        source.stop()
print(json.dumps({"read": read, "dropped": source.dropped, "oldest": oldest / 1e9}))
"""


class Link(NamedTuple):
    """Two namespaces and the two ends of the wire between them."""

    sender: str
    receiver: str

    def run(self, namespace: str, *command: str) -> str:
        return subprocess.run(
            ["ip", "netns", "exec", namespace, *command], check=True, capture_output=True, text=True
        ).stdout

    def counter(self, namespace: str, interface: str, name: str) -> int:
        return int(self.run(namespace, "cat", f"/sys/class/net/{interface}/statistics/{name}"))


class Tally(NamedTuple):
    """Packets: sent as tcpreplay tells, arrived as the interface tells, read and dropped as we tell.

    `oldest` is the longest time in seconds from the wire to a block, the kernel's and dumpcap's own waiting included.
    """

    sent: int
    lost_on_the_way: int
    arrived: int
    read: int
    dropped: int
    oldest: float


@pytest.fixture(scope="module")
def link() -> Iterator[Link]:
    sender, receiver = f"nf{os.getpid()}s", f"nf{os.getpid()}r"
    made = []
    try:
        for name in (sender, receiver):
            added = subprocess.run(["ip", "netns", "add", name], check=False, capture_output=True, text=True)
            if added.returncode:
                pytest.skip(f"no namespaces here: {added.stderr.strip()}")
            made.append(name)
        both = Link(sender, receiver)
        both.run(
            sender, "ip", "link", "add", "out0", "type", "veth", "peer", "name", "in0", "netns", receiver
        )
        for name, interface in ((sender, "out0"), (receiver, "in0")):
            Path("/proc/sys/net/ipv6").is_dir() and both.run(
                name, "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1"
            )
            both.run(name, "ip", "link", "set", interface, "arp", "off", "mtu", "9000", "up")
        yield both
    finally:
        for name in made:
            subprocess.run(["ip", "netns", "del", name], check=True)


def replayed(link: Link, packets: int, rate: list[str], *, buffer: int, waste: float = 0.0) -> Tally:
    """Send the sample over and over while its other end is read."""
    before = link.counter(link.receiver, "in0", "rx_packets"), link.counter(link.sender, "out0", "tx_dropped")
    reader = subprocess.Popen(
        ["ip", "netns", "exec", link.receiver, sys.executable, "-c", READER, "in0", str(buffer), str(waste)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    try:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "ready\n"
        options = ["-q", "-K", "--loop=0", f"--limit={packets}", *rate]
        words = link.run(link.sender, "tcpreplay", "-i", "out0", *options, str(SAMPLE))
        told = json.loads(reader.stdout.readline())
        assert reader.wait(10) == 0
    finally:
        if reader.poll() is None:
            reader.terminate()
            reader.wait(10)
    sent = re.search(r"Successful packets:\s+(\d+)", words)
    assert sent is not None, words
    arrived = link.counter(link.receiver, "in0", "rx_packets") - before[0]
    lost = link.counter(link.sender, "out0", "tx_dropped") - before[1]
    return Tally(int(sent[1]), lost, arrived, **told)


@pytest.mark.parametrize(
    ("packets", "rate"),
    [
        (2_000, ["--pps=1000"]),
        (30_000, ["--pps=20000"]),
        (100_000, ["--pps=100000"]),
        (200_000, ["--topspeed"]),
    ],
    ids=["1k", "20k", "100k", "top"],
)
def test_what_was_sent_is_read_or_told_as_dropped(link: Link, packets: int, rate: list[str]) -> None:
    tally = replayed(link, packets, rate, buffer=32 * MIB)
    assert tally.arrived == tally.sent - tally.lost_on_the_way
    assert tally.read + tally.dropped == tally.arrived
    assert tally.sent == packets
    if packets < 100_000:
        assert tally.dropped == 0
        assert tally.oldest < 1


def test_what_is_lost_is_told_to_the_packet(link: Link) -> None:
    tally = replayed(link, 200_000, ["--topspeed"], buffer=MIB, waste=0.1)
    assert tally.dropped > 0
    assert tally.read + tally.dropped == tally.arrived == tally.sent - tally.lost_on_the_way
