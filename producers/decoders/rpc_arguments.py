"""Names and paths in clear among the arguments of DCE/RPC calls, as far as tshark or a layout shows them."""

import re
from collections.abc import Iterator
from functools import cache
from importlib import resources
from struct import error as StructError  # noqa: N812  # an exception's name
from struct import unpack_from
from typing import Any

import yaml

from producers.decoders.tables import LOADER
from producers.decoders.tree import Tree, first

MAX_ARGUMENTS, MAX_TEXT = 64, 1024
"""How many texts of a call an event has, and how many characters of each."""

_MAX_DEFINITION = 8191
_ARGUMENT = "netflight.dcerpc.argument."
_LISTS = frozenset({"account", "path"})
_UNTOLD = frozenset({"filler", "ip", "timestamp", "uuid"})
_PLAIN = re.compile(r"0x[0-9a-f]+|-?[0-9]+(?:\.[0-9]+)?", re.IGNORECASE)
_BYTES = re.compile(r"[0-9a-f]{2}(?::[0-9a-f]{2})+", re.IGNORECASE)
_SHOWN_BYTES = frozenset({"clientchallenge", "clientcred"})
_BREAKS = str.maketrans("", "", "\t\r\n")
_SECRET = re.compile("passw|secret", re.IGNORECASE)
_SKIPPED = ("dcerpc.", "_ws.", "smb.", "nt.")
_DRIVER_STRINGS = ("driver", "environment", "driver_path", "data_file", "config_file")
# Bytes of DRIVER_INFO structures by level ([MS-RPRN] section 2.2.1.5); from level 6 on they have 64-bit versions.
_DRIVER_SIZES = {2: 24, 3: 44, 4: 52, 6: 88, 8: 136}
_WITHOUT_VERSION = 4


@cache
def _known() -> dict[str, Any]:
    text = resources.files("producers.decoders").joinpath("rpc_arguments.yaml").read_text(encoding="utf-8")
    known: dict[str, Any] = yaml.load(text, Loader=LOADER)  # noqa: S506  # it is a safe loader
    known["names"] = {name: said for said, names in known["names"].items() for name in names}
    return known


def arguments(layer: Tree, interface: str, opnum: int, *, returned: bool) -> dict[str, Any]:
    """The fields of the event that tell what a call's arguments are, or, with `returned`, the names in its results.

    `layer` is the tree of the interface, or the call's own where tshark has none for it; sealed arguments give nothing.
    """
    named = list(_dissected(layer))
    if returned:
        texts = [text for _, _, text in named][:MAX_ARGUMENTS]
        return {"netflight.dcerpc.returned": texts} if texts else {}
    stub = first(layer, "dcerpc.stub_data")
    if stub:
        layout = _known()["layouts"].get(interface, {}).get(opnum)
        found = list(_laid_out(_octets(stub), layout) if layout else _strings(_octets(stub)))
        named += [(said, said or "string", text) for said, text in found]
    fields: dict[str, Any] = {}
    for said, _, text in named:
        if said in _LISTS:
            fields.setdefault(_ARGUMENT + said, []).append(text)
        elif said and said != "environment":
            fields.setdefault(_ARGUMENT + said, text)
    shown = [f"{name}={text[:MAX_TEXT]}" for _, name, text in named if name != "task_definition"]
    if shown:
        fields["netflight.dcerpc.arguments"] = shown[:MAX_ARGUMENTS]
    return fields


def _dissected(tree: Tree) -> Iterator[tuple[str, str, str]]:
    """The texts in a dissected call: which argument each is, empty where it has no field; its name; the text."""
    for key, value in tree.items():
        for item in value if isinstance(value, list) else (value,):
            if isinstance(item, dict):
                yield from _dissected(item)
            elif isinstance(item, str) and "." in key and not key.startswith(_SKIPPED):
                last = key.rpartition(".")[2]
                plain = last.replace("_", "").lower()
                known = _known()
                said = known["exceptions"].get(key) or known["names"].get(plain, "")
                if plain in _SHOWN_BYTES:
                    yield said, last, item.replace(":", "")
                elif plain not in _UNTOLD and _is_text(item) and not _SECRET.search(last):
                    yield said, last, item[:MAX_TEXT]


def _is_text(value: str) -> bool:
    """Whether a value is a text that can be read, no number and no bytes."""
    if not value or _PLAIN.fullmatch(value) or _BYTES.fullmatch(value):
        return False
    return "\ufffd" not in value and value.translate(_BREAKS).isprintable()


def _octets(text: str) -> bytes:
    try:
        return bytes.fromhex(text.replace(":", ""))
    except ValueError:
        return b""


def _laid_out(stub: bytes, layout: list[str]) -> Iterator[tuple[str, str]]:
    """The named texts of a call by its layout, as far as the bytes go on to fit."""
    at = 0
    try:
        for item in layout:
            if item == "handle":
                at += 20
            elif item == "u32":
                at = _aligned(at) + 4
            elif item == "driver":
                yield from _driver(stub, _aligned(at))
                return
            else:
                at = _aligned(at)
                name = item.rstrip("?")
                if name != item:
                    at += 4
                    if unpack_from("<I", stub, at - 4) == (0,):
                        continue
                text, at = _string(stub, at)
                yield name, text[: _MAX_DEFINITION if name == "task_definition" else MAX_TEXT]
    except (StructError, ValueError):
        return


def _driver(stub: bytes, at: int) -> Iterator[tuple[str, str]]:
    """The strings of a DRIVER_CONTAINER: its level, a union's tag, a pointer, the structure and what that points to."""
    level, _, pointer = unpack_from("<III", stub, at)
    if level not in _DRIVER_SIZES or not pointer:
        return
    at += 12
    at += -at % 8 if level > _WITHOUT_VERSION else 0
    pointers = unpack_from(f"<{len(_DRIVER_STRINGS)}I", stub, at + 4)
    at += _DRIVER_SIZES[level]
    for name, each in zip(_DRIVER_STRINGS, pointers, strict=True):
        if each:
            text, at = _string(stub, _aligned(at))
            yield name, text[:MAX_TEXT]


def _string(stub: bytes, at: int) -> tuple[str, int]:
    """A conformant and varying string of 16-bit characters ([C706] section 14.3.4.2), and where it ends.

    Raises ValueError where there is none.
    """
    size, offset, length = unpack_from("<III", stub, at)
    end = at + 12 + 2 * length
    if offset or length > size or end > len(stub):
        raise ValueError(at)
    return stub[at + 12 : end].decode("utf-16-le", "replace").rstrip("\0"), end


def _strings(stub: bytes) -> Iterator[tuple[str, str]]:
    """The strings in a call whose layout is not known: what looks like one and is printable."""
    at = 0
    while at + 16 <= len(stub):
        try:
            text, end = _string(stub, at)
        except (StructError, ValueError):
            at += 4
            continue
        if len(text) > 1 and text.isprintable():
            yield "", text[:MAX_TEXT]
            at = _aligned(end)
        else:
            at += 4


def _aligned(at: int) -> int:
    return at + -at % 4
