"""Every mistake in a policy is told with its line, its column and what to write instead."""

from pathlib import Path

import pytest

from producers.engine.policy.file import COUNT, Action, Limit, Unit, never_reached, read_policy, shipped
from producers.engine.policy.policy import builtin_lists
from producers.engine.policy.source import PolicyError
from producers.engine.policy.words import in_words
from runtime.errors import UsageError
from runtime.settings import LOCAL_NETWORKS

BUILTIN = builtin_lists(LOCAL_NETWORKS)


def written(folder: Path, when: str, then: str = "count") -> Path:
    path = folder / "my.yaml"
    path.write_text(
        f"lists:\n  lab: [10.9.0.0/16, '2001:db8::/32']\nrules:\n- name: one\n  when: {when}\n  then: {then}\n"
    )
    return path


def mistake(path: Path) -> str:
    with pytest.raises(PolicyError) as raised:
        read_policy(path, BUILTIN)
    return str(raised.value)


@pytest.mark.parametrize(
    ("when", "column", "said"),
    [
        ("prot == tcp", 9, "there is no field prot (did you mean "),
        ("proto == tpc", 18, "proto: there is no value tpc (did you mean xtp or tcp"),
        ("signature == tsl", 22, "signature: there is no value tsl (did you mean tns or tls?"),
        ("port == 70000", 17, "port is never 70,000 (it is from 0 to 65,535)"),
        ("proto == 256", 18, "proto is never 256"),
        ("port == 80 and", 23, "it ends where a field's name should stand"),
        ("port = 80", 14, "'=' has no meaning here (write == to compare)"),
        ("port == tcp", 17, "port: there is no value tcp"),
        ("port in labs", 17, "port: there is no value or list labs (did you mean lab"),
        ("port in lab", 17, "port is a number, and this is the network 10.9.0.0/16"),
        ("port == [80]", 18, "port: a list after == (write in)"),
        ("src.ip == lab", 19, "lab is a list (write src.ip in lab)"),
        ("src.ip == 10.0.0.0/8", 19, "10.0.0.0/8 is a network (write src.ip in 10.0.0.0/8)"),
        ("src.ip in 10.0.0.1/8", 19, "10.0.0.1/8 has bits set beyond its length (the network is 10.0.0.0/8)"),
        ("src.ip == 10.0.0.256", 19, "10.0.0.256 is no address or network"),
        ("src.ip < 10.0.0.1", 16, "src.ip: < does not fit an address"),
        ("src.ip == dst.ip", 19, "dst.ip is a field (a test compares a field with a value"),
        ("tcp.syn == 1", 17, "tcp.syn: == does not fit yes or no"),
        ("tcp", 9, "there is no field tcp"),
        ("port", 9, "port: nothing does not fit a number"),
        ("payload starts with 22", 29, "payload is bytes, and this is a number"),
        ("payload starts with hex'160'", 29, "hex'160' is no hexadecimal text"),
        ("payload starts with 'a\\q'", 29, "\\q is no escape"),
        ("payload starts with ''", 29, "0 bytes"),
        ("payload at 99999 is 'a'", 17, "offset 99,999 is beyond any packet"),
        ("port in 90..80", 17, "90..80 holds nothing"),
        ("port == 80..90", 17, "port: a range after == (write in)"),
        ("frame.length > 80..90", 24, "frame.length: a range after >"),
        ("(port == 80", 20, "it ends where ')' should stand"),
        ("port == 80 port == 81", 20, "'port' where and, or, or the end should stand"),
        ("payload starts with 'abc", 29, "has no meaning here (a text ends with the quote it began with"),
    ],
)
def test_a_wrong_expression_is_told_with_its_place(tmp_path: Path, when: str, column: int, said: str) -> None:
    text = mistake(written(tmp_path, when))
    assert text.startswith(f"my.yaml:5:{column}: "), text
    assert said in text


@pytest.mark.parametrize(
    ("then", "said"),
    [
        ("dropp", "my.yaml:6:9: there is no action 'dropp'"),
        ("record fully", "my.yaml:6:9: there is no 'fully' here (did you mean full"),
        ("{decode: first 0 packets}", "my.yaml:6:18: first 0 packets (from 1 to"),
        (
            "{decode: firs 9 packets}",
            "my.yaml:6:18: there is no 'firs 9 packets' here (did you mean first 16 packets",
        ),
        ("{decoded: all}", "my.yaml:6:10: there is no key decoded (did you mean decode"),
        ("{sample: 5}", "my.yaml:6:9: it says neither decode nor record"),
        ("{decode: all, sample: 0}", "my.yaml:6:31: sample: '0' is no number of flows"),
        ("{decode: all, decode: none}", "my.yaml:6:23: decode stands here twice"),
        ("{decode: [all]}", "my.yaml:6:18: there is a list where a word should stand"),
    ],
)
def test_a_wrong_action_is_told_with_its_place(tmp_path: Path, then: str, said: str) -> None:
    assert mistake(written(tmp_path, "port == 80", then)).startswith(said)


def test_drop_asks_for_nothing_that_the_flow_table_knows(tmp_path: Path) -> None:
    text = mistake(written(tmp_path, "proto == udp and not answered", "drop"))
    assert text.startswith("my.yaml:5:30: answered is not known yet where packets are dropped")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "my.yaml:1:1: the file is empty"),
        ("rules: [\n", "my.yaml:2:1: not YAML"),
        ("- rules\n", "my.yaml:1:1: there is a list where names and values should stand"),
        ("rule: []\n", "my.yaml:1:1: there is no key rule (did you mean rules?)"),
        ("rules:\n- name: a\n", "my.yaml:2:3: a rule without then"),
        (
            "rules:\n- {name: a, then: count}\n- {name: a, then: count}\n",
            "my.yaml:3:10: there is a rule a already",
        ),
        ("rules:\n- {name: A b, then: count}\n", "my.yaml:2:10: 'A b' cannot name a rule"),
        ("rules:\n- {name: a, then: drop}\n", "my.yaml:2:3: a rule that drops every packet"),
        (
            "include: defaults\n",
            "my.yaml:1:10: defaults: no such policy (name a file, or did you mean default?)",
        ),
        ("include: my.yaml\n", "my.yaml:1:10: my.yaml is included already"),
        (
            "lists: {lab: [10.0.0.0/8, what ever]}\n",
            "my.yaml:1:32: 'ever' where the end of the value should stand",
        ),
    ],
)
def test_a_wrong_file_is_told_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "my.yaml"
    path.write_text(text)
    assert mistake(path).startswith(said)


def test_all_mistakes_are_found_at_once(tmp_path: Path) -> None:
    path = tmp_path / "my.yaml"
    rules = "".join(f"- {{name: r{n}, when: port == 7000{n}, then: count}}\n" for n in range(3))
    path.write_text(f"rules:\n{rules}")
    with pytest.raises(PolicyError) as raised:
        read_policy(path, BUILTIN)
    assert [problem.where for problem in raised.value.problems] == [
        f"my.yaml:{line}:28" for line in (2, 3, 4)
    ]
    assert "and 2 more mistakes" in str(raised.value)


def test_places_are_right_in_blocks_and_quotes(tmp_path: Path) -> None:
    path = tmp_path / "my.yaml"
    path.write_text(
        "rules:\n"
        "- name: a\n  when: |\n    src.ip in fe80::/10\n    or dst.ip in fe80:: /10\n  then: count\n"
        "- name: b\n  when: >\n    port == 80\n     and  prt == 81\n  then: count\n"
        "- name: c\n  when: \"prt == 80 or payload starts with 'a'\"\n  then: count\n"
        "- name: d\n  when: port == 80\n    or prt == 81\n  then: count\n"
        "- name: e\n  when: 'payload starts with ''a'''\n  then: count\n"
    )
    with pytest.raises(PolicyError) as raised:
        read_policy(path, BUILTIN)
    assert [problem.where for problem in raised.value.problems] == [
        "my.yaml:5:25",
        "my.yaml:10:11",
        "my.yaml:13:10",
        "my.yaml:17:8",
        "my.yaml:20:10",
    ]


def test_what_a_rule_can_do(tmp_path: Path) -> None:
    path = tmp_path / "my.yaml"
    path.write_text(
        "rules:\n"
        "- {name: a, when: ip, then: {decode: first 16 packets, record: headers, sample: 1/10}}\n"
        "- {name: b, then: {record: first 1_000 bytes}}\n"
        "- {name: c, when: malformed, then: drop}\n"
        "- {name: d, then: count}\n"
        "include: all\n"
    )
    rules, files, _about = read_policy(path, BUILTIN)
    assert [rule.name for rule in rules] == ["a", "b", "c", "d", "everything"]
    assert rules[0].then == Action(Limit(16, Unit.PACKETS), Limit(0), headers=True, sample=10)
    assert rules[1].then == Action(None, Limit(1000, Unit.BYTES), headers=True)
    assert rules[2].then == Action(drop=True)
    assert rules[3].then == COUNT
    assert [file.name for file in files] == ["my.yaml", "all.yaml"]
    assert [rule.name for rule in never_reached(rules)] == ["everything"]


@pytest.mark.parametrize(
    ("word", "same"),
    [
        ("decode", "{decode: all}"),
        ("decode first 16 packets", "{decode: first 16 packets}"),
        ("record", "{record: full}"),
        ("record headers", "{record: headers}"),
        ("record none", "{record: none}"),
        ("count only", "count"),
    ],
)
def test_an_action_in_words_is_the_same_as_a_mapping(tmp_path: Path, word: str, same: str) -> None:
    said, meant = (
        read_policy(written(tmp_path, "port == 80", then), BUILTIN)[0][0].then for then in (word, same)
    )
    assert said == meant


def test_what_no_rule_takes_is_counted(tmp_path: Path) -> None:
    rules, _files, _about = read_policy(written(tmp_path, "port == 80"), BUILTIN)
    assert [(rule.name, rule.then) for rule in rules[1:]] == [("otherwise", COUNT)]
    assert not never_reached(rules)


def test_a_policy_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="defualt: no such policy"):
        read_policy("defualt", BUILTIN)
    (tmp_path / "bad.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="not UTF-8"):
        read_policy(tmp_path / "bad.yaml", BUILTIN)


@pytest.mark.parametrize("name", shipped())
def test_shipped_policies_are_right_and_can_be_told(name: str) -> None:
    rules, _files, _about = read_policy(name, BUILTIN)
    for rule in rules:
        assert in_words(rule)


def test_rules_in_words(tmp_path: Path) -> None:
    when = (
        "proto == tcp and (port in [80, 8000..8010] or src.ip in lab) and not payload starts with hex'160301'"
    )
    rules, _files, _about = read_policy(
        written(tmp_path, when, "{decode: first 16 packets, record: headers, sample: 10}"), BUILTIN
    )
    assert in_words(rules[0]) == (
        "where proto is tcp and (port is 80 or 8000 to 8010 or src.ip is in lab) and not payload starts with"
        " hex'160301': decode the first 16 packets with payload of each direction, record headers;"
        " one flow in 10, the others are only counted"
    )
