"""The compiled code of a policy decides as its interpreter does, on any rules and any packets."""

import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from ipaddress import ip_network
from pathlib import Path
from types import FunctionType
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from producers.engine.kernel.layout import FACTS, TUNNELS, Kind, Part, Signature
from producers.engine.policy import native
from producers.engine.policy.fields import FIELDS, Field, Type
from producers.engine.policy.generate import COUNTERS
from producers.engine.policy.interpret import Decision, Interpreter, Packet
from producers.engine.policy.policy import Policy, load_policy
from producers.sources.packet import Block, RawPacket, block_of
from runtime.settings import LOCAL_NETWORKS

ADDRESSES = ["10.9.0.1", "10.9.255.255", "10.10.0.0", "192.0.2.1", "0.0.0.1", "255.255.255.255"]
NETWORKS = [
    "10.9.0.0/16",
    "192.0.2.1",
    "10.0.0.0/8",
    "2001:db8::/32",
    "::1",
    "fe80::/10",
    "0.0.0.0/0",
    "::/0",
]
ADDRESSES_6 = [
    "2001:db8::1",
    "2001:db9::",
    "::1",
    "fe80::1",
    "::a09:1",
    "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
]
PORTS = [0, 22, 53, 80, 443, 5353, 8080, 65535]
STARTS = [b"GET / HTTP/1.1\r\n", b"\x16\x03\x01\x02\x00", b"SSH-2.0-x", b"GE", b"", b"\0" * 20]
PREFIXES = ["'GET '", "hex'1603'", "'SSH-2.0-'", "hex'00'", r"'\x16'", "'HTTP/1.1'"]
SMALL = [0, 1, 2, 3, 4, 5, 15, 16, 17, 64, 255]


def rows(seed: int, count: int) -> tuple[np.ndarray, Block]:
    """Rows of facts that hold together as the parser's do, and their block; what matters takes few values."""
    chance = random.Random(seed)
    facts = np.zeros(count, FACTS)
    packets = []
    for row in facts:
        payload = chance.choice(STARTS)
        data = bytes([chance.choice([1, 0x45])] * 54) + payload
        data = data[: chance.choice([len(data), len(data), 40, 60, 0])]
        packets.append(RawPacket(1, 0, 1, data, len(data) + chance.choice([0, 100]), "eth0"))
        fill(row, chance, len(payload))
    return facts, block_of([packet._replace(frame=at + 1) for at, packet in enumerate(packets)])


def fill(row: np.void, chance: random.Random, payload: int) -> None:
    row["kind"] = chance.choice([Kind.NOT_IP, Kind.MALFORMED, *[Kind.FLOW] * 6])
    for name, high in {"forward": 1, "answered": 1, "signature": max(Signature), "part": max(Part)}.items():
        row[name] = chance.randint(0, high)
    for name in ("number", "sent_before", "sent_packets", "flow_bytes"):
        row[name] = chance.choice([*SMALL, 1 << 40])
    row["payload"], row["length"] = -1, 0
    if row["kind"] != Kind.FLOW:
        return
    row["version"] = chance.choice([4, 6])
    row["outer_version"] = chance.choice([4, 6])
    for prefix, version in (("", row["version"]), ("outer_", row["outer_version"])):
        for end in ("source", "destination"):
            text = chance.choice(ADDRESSES if version == 4 else ADDRESSES_6)
            number = int(ip_network(text).network_address)
            row[f"{prefix}{end}_high"], row[f"{prefix}{end}_low"] = number >> 64, number & (1 << 64) - 1
    row["protocol"] = chance.choice([1, 6, 6, 6, 17, 17, 58, 132, 255])
    row["ported"] = {1: 2, 58: 3, 255: 0}.get(int(row["protocol"]), 1)
    row["source_port"], row["destination_port"] = chance.choice(PORTS), chance.choice(PORTS)
    row["tcp_flags"], row["ttl"] = chance.randint(0, 255), chance.choice(SMALL)
    row["window"], row["fragment"] = chance.choice([0, 1, 65535]), chance.choice([0, 0, 1, 2])
    row["tunnel"], row["vlans"] = chance.choice([0, chance.randrange(len(TUNNELS))]), chance.randint(0, 4)
    row["vlan"][: row["vlans"]] = [chance.choice(SMALL) for _ in range(row["vlans"])]
    row["transport"], row["payload"] = chance.choice([34, 34, -1]), chance.choice([54, 54, 54, -1, 90])
    row["length"] = payload


def same(policy: Policy, facts: np.ndarray, block: Block) -> None:
    """Assert that the compiled policy decides as the interpreter does, and that its counts are right."""
    oracle = Interpreter(policy.rules, [ip_network(text) for text in LOCAL_NETWORKS])
    expected = [
        oracle.decide(Packet(row, packet.data, packet.wire_length))
        for row, packet in zip(facts.copy(), block, strict=True)
    ]
    before = facts["kind"].copy()
    policy.counts[:] = 0
    policy.admit(facts, block)
    policy.decide(facts, block)
    found = [
        Decision(bool(row["kind"] == Kind.IGNORED), int(row["verdict"]), int(row["rule"])) for row in facts
    ]
    assert found == expected
    kept = ~np.array([decision.dropped for decision in expected])
    assert (facts["kind"][kept] == before[kept]).all()
    totals = dict(zip(COUNTERS, policy.counts.sum(axis=0).tolist(), strict=True))
    decoded = facts["verdict"] & 1 > 0
    assert totals["packets"] >= len(facts)
    assert totals["decoded_packets"] == decoded.sum()
    assert totals["decoded_bytes"] == block.captured[decoded].sum()
    assert totals["recorded_packets"] == (facts["verdict"] & 6 > 0).sum()


def values(field: Field) -> st.SearchStrategy[str]:
    if field.type is Type.ADDRESS:
        return st.sampled_from(NETWORKS)
    if field.type is Type.NAME:
        return st.sampled_from(sorted(field.values))
    numbers = [n for n in (*SMALL, *PORTS) if field.low <= n <= field.high]
    return st.sampled_from([str(n) for n in numbers] + [f"{field.low}..{numbers[len(numbers) // 2]}"])


@st.composite
def questions(draw: st.DrawFn, fields: list[Field]) -> str:
    """One test of one field, written in one of the ways that fit its type."""
    field = draw(st.sampled_from(fields))
    if field.type is Type.FLAG:
        return field.name
    if field.type is Type.BYTES:
        prefixes = ", ".join(draw(st.lists(st.sampled_from(PREFIXES), min_size=1, max_size=3)))
        where = draw(st.sampled_from(["starts with", "at 0 is", "at 1 is", "at 60 is"]))
        return f"{field.name} {where} [{prefixes}]"
    if field.type is Type.ADDRESS and draw(st.booleans()):
        return f"{field.name} {draw(st.sampled_from(['in', 'not in']))} {draw(st.sampled_from(['lab', 'local']))}"
    if field.type is Type.NUMBER and draw(st.booleans()):
        operator = draw(st.sampled_from(["==", "!=", "<", "<=", ">", ">="]))
        return f"{field.name} {operator} {draw(values(field).filter(str.isdigit))}"
    chosen = draw(st.lists(values(field), min_size=1, max_size=7))
    return f"{field.name} {draw(st.sampled_from(['in', 'not in']))} [{', '.join(chosen)}]"


def expressions(fields: list[Field]) -> st.SearchStrategy[str]:
    return st.recursive(
        questions(fields),
        lambda inner: st.one_of(
            st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
            inner.map(lambda text: f"not {text}"),
        ),
        max_leaves=4,
    )


@st.composite
def policies(draw: st.DrawFn) -> str:
    early = [field for field in FIELDS.values() if field.stage == 0]
    limits = ["first 1 packet", "first 16 packets", "first 16 bytes"]
    lines = ["lists: {lab: [10.9.0.0/16, '2001:db8::/32', 10.10.0.0/16, 192.0.2.1]}", "rules:"]
    for number in range(draw(st.integers(1, 5))):
        kind = draw(st.sampled_from(["drop", "count", "other", "other", "other"]))
        then = kind
        if kind == "other":
            says = draw(st.sampled_from([("decode",), ("record",), ("decode", "record")]))
            words = {"decode": ["all", "none", *limits], "record": ["full", "headers", "none", *limits]}
            parts = [f"{key}: {draw(st.sampled_from(words[key]))}" for key in says]
            parts += [f"sample: {draw(st.sampled_from([1, 2, 3]))}"] if draw(st.booleans()) else []
            then = "{" + ", ".join(parts) + "}"
        when = draw(expressions(early if kind == "drop" else list(FIELDS.values())))
        lines.append(f"- name: r{number}\n  when: |\n    {when}\n  then: {then}")
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Compiled policies of these tests in a folder of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NETFLIGHT_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def uncompiled(policy: Policy) -> Policy:
    """The policy with its generated code run by Python as it is: slow to run, but there at once."""
    space: dict[str, Any] = {**vars(native), "entry": lambda function: function}
    for name in ("begins", "in_bits", "in_ranges", "mixed", "sampled"):
        space[name] = FunctionType(space[name].py_func.__code__, space)
    exec(policy.source.split("sampled\n", 1)[1], space)  # noqa: S102  # it is what numba would compile

    def run(name: str) -> Callable[..., None]:
        def function(facts: np.ndarray, *rest: object) -> None:
            with np.errstate(over="ignore"):  # a hash's words wrap around
                space[name](facts.view(np.recarray), *rest)

        return function

    policy._admit = run("admit") if "admit" in space else None  # noqa: SLF001  # as above
    policy._decide = run("decide")  # noqa: SLF001  # as above
    return policy


@example(text="rules:\n- {name: a, when: 'icmp.type in [0, 3, 5, 8, 11]', then: drop}\n", seed=0)
@given(text=policies(), seed=st.integers(0, 1 << 32))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_generated_code_decides_as_interpreted(tmp_path: Path, text: str, seed: int) -> None:
    path = tmp_path / "random.yaml"
    path.write_text(text)
    same(uncompiled(load_policy(path)), *rows(seed, 60))


@given(text=policies(), seed=st.integers(0, 1 << 32))
@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_compiled_decides_as_interpreted(tmp_path: Path, text: str, seed: int) -> None:
    path = tmp_path / "random.yaml"
    path.write_text(text)
    same(load_policy(path), *rows(seed, 300))


def test_every_field_decides_as_interpreted(tmp_path: Path) -> None:
    chosen = {
        Type.FLAG: "{0}",
        Type.NUMBER: "{0} in [{1}, {2}..{3}]",
        Type.NAME: "{0} in [{4}]",
        Type.ADDRESS: "{0} in [10.9.0.0/16, 2001:db8::/32]",
        Type.BYTES: "{0} at 1 is ['ET /', hex'0301', hex'4545']",
    }
    path = tmp_path / "fields.yaml"
    rules = []
    for number, field in enumerate(FIELDS.values()):
        high = min(field.high, 16)
        when = chosen[field.type].format(
            field.name, field.low, field.low + 1, high, ", ".join(list(field.values)[-4:])
        )
        rules.append(
            f"- name: r{number}\n  when: {when} and frame.length in [{number + 54}..{number + 74}]\n  then: count\n"
        )
    path.write_text("rules:\n" + "".join(rules))
    same(load_policy(path), *rows(7, 3000))


@pytest.mark.parametrize("name", ["default", "all"])
def test_shipped_policies_decide_as_interpreted(name: str) -> None:
    same(load_policy(name), *rows(1, 3000))


def test_a_piece_of_a_block_is_decided_like_the_whole() -> None:
    facts, block = rows(3, 100)
    policy = load_policy("default")
    whole = facts.copy()
    policy.decide(whole, block)
    for start in range(0, 100, 30):
        part = slice(start, start + 30)
        piece = Block(
            start + 1,
            block.buffer,
            *(
                column[part]
                for column in (block.time_ns, block.offset, block.captured, block.wire, block.interface)
            ),
            block.interfaces,
        )
        policy.decide(facts[part], piece)
    assert (facts["verdict"] == whole["verdict"]).all()


def test_samples_keep_whole_flows_and_their_share(tmp_path: Path) -> None:
    path = tmp_path / "sample.yaml"
    path.write_text("rules: [{name: some, then: {decode: all, record: full, sample: 10}}]\n")
    facts = np.zeros(20_000, FACTS)
    facts["kind"], facts["version"], facts["protocol"], facts["ported"] = Kind.FLOW, 4, 6, 1
    chance = np.random.default_rng(5)
    facts["source_low"], facts["destination_low"] = 0x0A000001, chance.integers(1, 1 << 32, 20_000)
    facts["source_port"], facts["destination_port"] = chance.integers(1024, 65_535, 20_000), 443
    back = facts.copy()
    for name, other in (("source", "destination"), ("destination", "source")):
        back[f"{name}_low"], back[f"{name}_port"] = facts[f"{other}_low"], facts[f"{other}_port"]
    block = block_of([RawPacket(at + 1, 0, 1, b"", 0, "") for at in range(20_000)])
    policy = load_policy(path)
    policy.decide(facts, block)
    policy.decide(back, block)
    assert (facts["verdict"] == back["verdict"]).all()
    assert 1_800 < (facts["verdict"] > 0).sum() < 2_200


def test_a_list_that_changes_needs_no_new_code(tmp_path: Path) -> None:
    sources = []
    for networks in ("10.0.0.0/8", "192.0.2.0/24, 2001:db8::/32, 198.51.100.0/24"):
        path = tmp_path / "lists.yaml"
        path.write_text(
            f"lists: {{lab: [{networks}]}}\nrules: [{{name: a, when: host in lab, then: count}}]\n"
        )
        sources.append(load_policy(path).source.replace(" 4", " 10"))
    assert sources[0].count("in_ranges") == sources[1].count("in_ranges") == 3


def test_numba_checks_no_access_beyond_an_array() -> None:
    """The shipped policies again, with every index checked: an access beyond the end would be an IndexError."""
    script = (
        "import sys; sys.path[:0] = ['.', 'tests/unit']\n"
        "from test_policy_compiled import load_policy, rows, same\n"
        "same(load_policy('default'), *rows(11, 2000))\n"
    )
    environment = {
        **os.environ,
        "NUMBA_BOUNDSCHECK": "1",
        "NETFLIGHT_CACHE": os.environ["NETFLIGHT_CACHE"] + "-checked",
    }
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
