"""Captures damaged at random, the same ones for the same seed, and how many packets an independent reader finds."""

import random
import re
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from producers.sources.errors import max_packet

Chance = random.Random
SAMPLES = Path(__file__).resolve().parents[1] / "samples"
_PCAP = {0xA1B2C3D4: 16, 0xA1B23C4D: 16, 0xA1B2CD34: 24}


def damaged(source: Path, folder: Path, seed: int) -> Path:
    """Write a damaged copy of a capture; its name says by which seed, how and of what."""
    chance = Chance(f"{source.name} {seed}")
    name = chance.choice(list(DAMAGES))
    copy = folder / f"{seed:03d}-{name}-{source.name}"
    DAMAGES[name](source, copy, chance)
    return copy


def undamaged(folder: Path) -> list[Path]:
    """Our samples and the captures below a folder, in the same order everywhere."""
    found = [*SAMPLES.rglob("*.pcap*"), *folder.rglob("*.pcap*")]
    return sorted(found, key=lambda path: path.parts[-2:])


def _errors(rate: str) -> Callable[[Path, Path, Chance], None]:
    """Bytes of packets changed by editcap; the capture's own structure stays right."""

    def damage(source: Path, copy: Path, chance: Chance) -> None:
        argv = ["editcap", "-E", rate, "--seed", str(chance.randrange(1 << 30)), source, copy]
        subprocess.run(argv, check=True, capture_output=True)

    return damage


def _cut(source: Path, copy: Path, chance: Chance) -> None:
    data = source.read_bytes()
    copy.write_bytes(data[: chance.randrange(len(data))])


def _flips(most: int) -> Callable[[Path, Path, Chance], None]:
    """Bits flipped anywhere, headers included."""

    def damage(source: Path, copy: Path, chance: Chance) -> None:
        data = bytearray(source.read_bytes())
        for _ in range(chance.randint(1, most)):
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        copy.write_bytes(data)

    return damage


def _header_flips(source: Path, copy: Path, chance: Chance) -> None:
    """Bits flipped in the first hundred bytes: link types, resolutions, the first packet's header."""
    data = bytearray(source.read_bytes())
    for _ in range(chance.randint(1, 4)):
        data[chance.randrange(min(len(data), 100))] ^= 1 << chance.randrange(8)
    copy.write_bytes(data)


def _moved(source: Path, copy: Path, chance: Chance) -> None:
    """A piece taken out, or put in once more elsewhere, or made zeros."""
    data = source.read_bytes()
    begin = chance.randrange(len(data))
    end = min(len(data), begin + chance.randint(1, 3_000))
    piece, place = data[begin:end], chance.randrange(len(data))
    copy.write_bytes(
        chance.choice(
            [
                data[:begin] + data[end:],
                data[:place] + piece + data[place:],
                data[:begin] + bytes(len(piece)) + data[end:],
            ]
        )
    )


DAMAGES: dict[str, Callable[[Path, Path, Chance], None]] = {
    "errors-0.001": _errors("0.001"),
    "errors-0.01": _errors("0.01"),
    "errors-0.1": _errors("0.1"),
    "errors-0.5": _errors("0.5"),
    "cut": _cut,
    "flips": _flips(20),
    "many-flips": _flips(500),
    "header-flips": _header_flips,
    "moved": _moved,
}


def records(path: Path) -> int | None:
    """Packets of a classic pcap by the format's letter, up to where it makes no sense; None for another format."""
    data = path.read_bytes()
    order, header = _layout(data)
    if not header or len(data) < 24:
        return 0 if header else None
    limit = max_packet(struct.unpack_from(order + "I", data, 20)[0] & 0x03FF_FFFF)
    place, found = 24, 0
    while place + header <= len(data):
        (captured,) = struct.unpack_from(order + "I", data, place + 8)
        place += header + captured
        if captured > limit or place > len(data):
            break
        found += 1
    return found


def _layout(data: bytes) -> tuple[str, int]:
    for order in "<>":
        magic = struct.unpack(order + "I", data[:4])[0] if len(data) >= 4 else 0
        if magic in _PCAP:
            return order, _PCAP[magic]
    return "<", 0


class Counted(NamedTuple):
    """What capinfos says of a capture: how many packets, and whether it read to the end without complaint."""

    packets: int
    whole: bool


def capinfos(paths: list[Path]) -> dict[Path, Counted]:
    """What capinfos says of those of the captures that it takes for pcap or pcapng, as we do."""
    argv = ["capinfos", "-TrtcM", *map(str, paths)]
    done = subprocess.run(argv, capture_output=True, text=True, errors="replace", check=False)
    stopped = re.findall(r'after reading (\d+) packets from "(.*)"', done.stderr)
    found = {Path(name): Counted(int(count), whole=False) for count, name in stopped}
    for line in done.stdout.splitlines():
        name, kind, count = line.split("\t")
        if kind in {"pcap", "nsecpcap", "pcapng"}:
            found[Path(name)] = Counted(int(count), whole=Path(name) not in found)
        else:
            found.pop(Path(name), None)
    return found
