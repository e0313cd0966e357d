"""A new dataset from a capture: its YAML from what tshark shows of a protocol there, and a test case to begin with.

What is written decodes at once: one event per unit, with the fields that the capture has. What tshark cannot tell (ECS
names, how requests meet responses) is for whoever runs it.
"""

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import yaml

from producers.decoders.convert import CONVERTERS, choice
from producers.decoders.tree import Tree, layers_of
from producers.decoders.tshark import tshark_path
from runtime.errors import CaptureError, UsageError
from schemas.events import Event, comparable
from schemas.model import datasets

ROOT = Path(__file__).resolve().parents[1]
MAX_FIELDS = 25
MAX_NAMES = 40
MAX_CAPTURE = 200_000
"""How many bytes a capture of the repository may have."""
_PACKETS = 2_000

_NUMBERS = ("FT_UINT", "FT_INT", "FT_CHAR", "FT_FRAMENUM")


@dataclass(frozen=True)
class Known:
    """What tshark knows of a field: its title, its type (`FT_UINT8`), what its values mean."""

    title: str
    kind: str
    names: dict[int, str]


def write_dataset(name: str, layer: str, capture: Path) -> list[Path]:
    """Write schemas/datasets/NAME.yaml and tests/cases/NAME from a capture; return the files.

    `layer` is tshark's name of the protocol. Raises UsageError where the dataset is there already or there is no
    checkout, CaptureError where tshark cannot read the capture or finds no such protocol in it.
    """
    target, case = ROOT / "schemas" / "datasets" / f"{name}.yaml", ROOT / "tests" / "cases" / name
    if not (ROOT / "tests").is_dir():
        raise UsageError("datasets new: there is no checkout here", "clone the repository")
    if name in datasets() or target.exists() or case.exists():
        raise UsageError(f"{name}: there is a dataset of that name", f"see {target.relative_to(ROOT)}")
    found = _layers(capture, layer)
    if not found:
        raise CaptureError(
            f"{capture}: tshark finds no {layer} in its first {_PACKETS:,} packets",
            "tshark -r FILE -T fields -e frame.protocols shows what it finds",
        )
    if capture.stat().st_size > MAX_CAPTURE:
        raise UsageError(
            f"{capture}: {capture.stat().st_size:,} bytes, more than a case may have ({MAX_CAPTURE:,})",
            f"tshark -r {capture.name} -Y {layer} -w small.pcap",
        )
    target.write_text(_dataset(name, layer, capture, _seen(found)), encoding="utf-8")
    case.mkdir(parents=True)
    copy = case / f"capture{capture.suffix}"
    shutil.copyfile(capture, copy)
    frames = sum(1 for _ in _tshark(capture, "-Y", layer, "-T", "fields", "-e", "frame.number").splitlines())
    (case / "case.yaml").write_text(
        f'title: "{name}: what happens in this capture"\n'
        "recorded: which server and client of yours made it, with their versions\n"
        f"capture: {copy.name}\n"
        f"events:\n  network_traffic.{name}: {frames}  # tshark -Y {layer}: packets; more where one has several\n",
        encoding="utf-8",
    )
    written = [target, case / "case.yaml", copy]
    events = decoded(copy, name)
    if events:
        written.append(write_expected(case, events[:1]))
    return written


def decoded(capture: Path, name: str) -> list[Event]:
    """The events of a dataset that `netflight decode` makes of a capture, in a process that knows new datasets."""
    argv = [sys.executable, "-m", "cockpit", "decode", "--quiet", str(capture)]
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH", ""))))
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(argv, capture_output=True, cwd=ROOT, env=environment, check=False)
    if done.returncode:
        raise CaptureError(f"{capture}: {done.stderr.decode(errors='replace').strip()}")
    events = map(orjson.loads, done.stdout.splitlines())
    return [event for event in events if event["event"]["dataset"] == f"network_traffic.{name}"]


def write_expected(case: Path, events: list[Event]) -> Path:
    """Write whole events as a case's expected.json: what came out, right or wrong, so read them before you commit."""
    path = case / "expected.json"
    told = [comparable(event) for event in events]
    path.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def _layers(capture: Path, layer: str) -> list[Tree]:
    """The layers of a protocol in a capture's packets."""
    text = _tshark(
        capture, "-c", str(_PACKETS), "-T", "json", "-J", layer, "--no-duplicate-keys", "-Y", layer
    )
    records = json.loads(text or "[]", strict=False)
    trees = (record["_source"]["layers"] for record in records)
    return [found for tree in trees if layer in tree for found in layers_of(tree[layer])]


def _tshark(capture: Path, *arguments: str) -> str:
    done = subprocess.run(
        [tshark_path(), "-n", "-r", str(capture), *arguments], capture_output=True, check=False
    )
    if done.returncode:
        raise CaptureError(f"{capture}: tshark: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout.decode(errors="replace")


def _seen(found: list[Tree]) -> dict[str, str]:
    """The fields with values in the layers, those in most of them first, with an example each."""
    counts: Counter[str] = Counter()
    examples: dict[str, str] = {}
    for tree in found:
        for name, value in _leaves(tree):
            counts[name] += 1
            examples.setdefault(name, value)
    return {name: examples[name] for name, _ in counts.most_common()}


def _leaves(tree: Tree) -> list[tuple[str, str]]:
    leaves: list[tuple[str, str]] = []
    for name, value in tree.items():
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, dict):
                leaves += _leaves(item)
            elif isinstance(item, str):
                leaves.append((name, item))
    return leaves


def _dataset(name: str, layer: str, capture: Path, seen: dict[str, str]) -> str:
    known = _known(set(seen))
    chosen = [field for field in seen if field in known][:MAX_FIELDS]
    names = {field: _field_name(name, layer, field) for field in chosen}
    objects = {above for told in names.values() for above in _above(told)}
    fields = [
        f"  {told}{'.value' if told in objects else ''}: {_flow(_field(field, known[field], seen[field]))}"
        for field, told in names.items()
    ]
    return "\n".join(
        [
            f"name: {name}",
            f"title: {layer.upper()}",
            f"description: One event per {layer.upper()} message.",
            f"dataset: network_traffic.{name}",
            f"topic: {name}",
            f"protocol: {name}",
            f"event: {{type: [connection, protocol], action: {name}_message}}",
            "# decode: what is decoded whole, by port, IP protocol or signature; of other flows the first packets are.",
            f"tshark: {{protocols: [{layer}], decode: {_places(capture, layer)}}}",
            "# pair: request: and response: say which is which, key: what both have in common (see dns.yaml).",
            "transaction: {kind: single}",
            "fields:",
            *fields,
            "",
        ]
    )


def _field_name(name: str, layer: str, field: str) -> str:
    """`ntp.flags.mode` as `netflight.ntp.flags.mode`; a name that is no name of ours has its letters replaced."""
    rest = field.removeprefix(f"{layer}.").lower()
    parts = ["".join(c if c.isascii() and c.isalnum() else "_" for c in part) for part in rest.split(".")]
    return ".".join(["netflight", name, *(part or "_" for part in parts)])


def _above(name: str) -> list[str]:
    """The names of the objects that a field is in."""
    parts = name.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts))]


def _places(capture: Path, layer: str) -> str:
    """Where the protocol is found: the lower port of each side's, and the IP protocol where there are no ports."""
    columns = ("tcp.srcport", "tcp.dstport", "udp.srcport", "udp.dstport", "ip.proto", "ipv6.nxt")
    wanted = [part for column in columns for part in ("-e", column)]
    text = _tshark(capture, "-c", str(_PACKETS), "-Y", layer, "-T", "fields", "-E", "occurrence=l", *wanted)
    found: dict[str, set[int]] = {}
    for line in text.splitlines():
        tcp, tcp_other, udp, udp_other, *protocols = line.split("\t")
        if tcp:
            found.setdefault("tcp", set()).add(min(int(tcp), int(tcp_other)))
        elif udp:
            found.setdefault("udp", set()).add(min(int(udp), int(udp_other)))
        else:
            found.setdefault("ip", set()).update(int(number) for number in protocols if number)
    return _flow({kind: sorted(numbers) for kind, numbers in found.items()})


def _field(field: str, known: Known, example: str) -> dict[str, Any]:
    told: dict[str, Any] = {"type": "keyword", "tshark": field}
    if known.names:
        told["names"] = known.names
    elif known.kind == "FT_BOOLEAN":
        told |= {"type": "boolean", "convert": "boolean"}
    elif known.kind in ("FT_IPv4", "FT_IPv6"):
        told |= {"type": "ip", "convert": "ip"}
    elif known.kind == "FT_ETHER":
        told["convert"] = "mac"
    elif known.kind in ("FT_BYTES", "FT_UINT_BYTES"):
        told["convert"] = "hex"
    elif known.kind.startswith(_NUMBERS):
        told |= {"type": "long", "convert": "number"}
    elif known.kind in ("FT_FLOAT", "FT_DOUBLE"):
        told |= {"type": "double", "convert": "decimal"}
    shown = CONVERTERS[str(told.get("convert", "text"))](example)
    return told | {
        "description": f"{known.title.rstrip('.')}.",
        "example": choice(known.names)(example) if known.names else shown,
    }


def _flow(value: dict[str, Any]) -> str:
    return yaml.safe_dump(
        value, default_flow_style=True, width=1 << 20, sort_keys=False, allow_unicode=True
    ).strip()


def _known(fields: set[str]) -> dict[str, Known]:
    """What tshark knows of these fields; nothing of those that are only titles in its tree."""
    rows = [line.split("\t") for line in _said("fields").splitlines()]
    kinds = {row[2]: (row[1], row[3]) for row in rows if row[0] == "F" and row[2] in fields}
    names: dict[str, dict[int, str]] = {}
    for line in _said("values").splitlines():
        match line.split("\t"):  # ranges (R) and titles of several lines are passed over
            case ["V", field, value, said] if field in kinds:
                names.setdefault(field, {})[int(value, 0)] = said
    return {
        field: Known(title, kind, names[field] if 0 < len(names.get(field, ())) <= MAX_NAMES else {})
        for field, (title, kind) in kinds.items()
        if kind not in ("FT_NONE", "FT_PROTOCOL") and not field.startswith("_ws.")
    }


def _said(what: str) -> str:
    """What `tshark -G` tells of itself."""
    return subprocess.run(
        [tshark_path(), "-G", what], capture_output=True, check=True, text=True, errors="replace"
    ).stdout
