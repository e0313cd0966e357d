"""HTTP, SSH, ARP and ICMP of the unusual kinds: data in the SYN, upgrades, old versions, odd heads, banners alone."""

import shutil
from collections import Counter
from pathlib import Path
from struct import pack

import pytest

from schemas.events import Event, get
from tests.captures import captures, faults
from tests.decoding import SAMPLES, check, decode
from tests.packets import address, ethernet, ip, pcap
from tests.talks import CLIENT, SERVER, Said, Talks

pytestmark = [
    pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed"),
    pytest.mark.timeout(300),
]
OK = b"HTTP/1.1 200 OK\r\n"
HI = OK + b"Content-Length: 2\r\n\r\nhi"
Row = tuple[object, ...]


def get_of(path: str, *, end: bytes = b"\r\n") -> bytes:
    return end.join((b"GET " + path.encode() + b" HTTP/1.1", b"Host: h.example", b"", b""))


def events_of(path: Path) -> list[Event]:
    decoded = decode([path])
    check(decoded)
    assert decoded.outcome.telemetry.labels("undecoded") == {}
    return decoded.events


def of(name: str, events: list[Event]) -> list[Event]:
    return [event for event in events if event["event"]["dataset"] == f"network_traffic.{name}"]


def exchanges(events: list[Event]) -> list[Row]:
    """Port, method, target, status, outcome, in the order of the requests."""
    found = sorted(of("http", events), key=lambda each: each["netflight"]["frame"]["first"])
    names = ("http.request.method", "url.original", "http.response.status_code", "event.outcome")
    return [(each["destination"]["port"], *(get(each, name) for name in names)) for each in found]


def bodies(events: list[Event], side: str) -> list[object]:
    found = sorted(of("http", events), key=lambda each: each["netflight"]["frame"]["first"])
    return [get(each, f"http.{side}.body.content") for each in found]


@pytest.mark.parametrize("port", [80, 8123])
@pytest.mark.parametrize("refused", [False, True])
def test_data_in_the_syn_is_part_of_the_stream(tmp_path: Path, port: int, refused: bool) -> None:  # noqa: FBT001  # a case
    talks = Talks()
    talks.add(port, [("s", HI), ("c", get_of("/more")), ("s", HI)], syn=get_of("/first"), refused=refused)
    events = events_of(talks.write(tmp_path / "tfo.pcap"))
    assert exchanges(events) == [
        (port, "GET", "/first", 200, "success"),
        (port, "GET", "/more", 200, "success"),
    ]
    (flow,) = of("flow", events)
    assert flow["netflight"]["flow"]["missed_bytes"] == 0
    assert flow["network"]["protocol"] == "http"


def test_a_syn_with_data_that_was_lost_gives_one_request(tmp_path: Path) -> None:
    talks = Talks()
    talks.add(80, [("s", HI)], syn=get_of("/first"))
    talks.packets.insert(1, talks.packets[0])  # sent again as it was
    found = exchanges(events_of(talks.write(tmp_path / "again.pcap")))
    assert found == [(80, "GET", "/first", 200, "success")]


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """A frame of HTTP/2 (RFC 9113, section 4.1)."""
    return pack(">I", len(payload))[1:] + bytes([kind, flags]) + pack(">I", stream) + payload


def fields(**named: str) -> bytes:
    """Literal header fields without indexing (RFC 7541, section 6.2.2); `_` in a name is `-`, at its start a colon."""
    out = b""
    for name, value in named.items():
        key = (":" + name[1:] if name[0] == "_" else name).replace("_", "-").encode()
        out += b"\0" + bytes([len(key)]) + key + bytes([len(value)]) + value.encode()
    return out


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0)
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
ASK = (
    b"GET /up HTTP/1.1\r\nHost: h.example\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
    b"HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"
)


@pytest.mark.parametrize("port", [80, 8123, 5985])
@pytest.mark.parametrize("together", [True, False])
def test_http2_by_upgrade(tmp_path: Path, port: int, together: bool) -> None:  # noqa: FBT001  # a case
    answer = frame(4, 0, 0) + frame(1, 4, 1, fields(_status="200")) + frame(0, 1, 1, b"hello")
    second = frame(1, 5, 3, fields(_method="GET", _scheme="http", _path="/second", _authority="h.example"))
    said: list[Said] = [("c", ASK)]
    said += [("s", SWITCH + answer)] if together else [("s", SWITCH), ("s", answer)]
    said += [("c", PREFACE), ("c", second), ("s", frame(1, 5, 3, fields(_status="404")))]
    talks = Talks()
    talks.add(port, said)
    events = events_of(talks.write(tmp_path / "h2c.pcap"))
    assert exchanges(events) == [
        (port, "GET", "/up", 200, "success"),
        (port, "GET", "/second", 404, "failure"),
    ]
    first, other = sorted(of("http", events), key=lambda each: each["netflight"]["http"]["stream"])
    assert (first["http"]["version"], first["netflight"]["http"]["upgrade"]) == ("2", "h2c")
    assert (other["http"]["version"], other["netflight"]["http"]["stream"]) == ("2", 3)


def test_an_upgrade_that_is_not_taken_stays_http1(tmp_path: Path) -> None:
    talks = Talks()
    talks.add(80, [("c", ASK), ("s", HI), ("c", get_of("/next")), ("s", HI)])
    events = events_of(talks.write(tmp_path / "kept.pcap"))
    assert exchanges(events) == [(80, "GET", "/up", 200, "success"), (80, "GET", "/next", 200, "success")]
    assert {each["http"]["version"] for each in of("http", events)} == {"1.1"}


def dns_message(answer: bytes = b"") -> bytes:
    """A question for the A record of a.example, or its answer."""
    head = pack(">HHHHHH", 7, 0x8180 if answer else 0x100, 1, 1 if answer else 0, 0, 0)
    record = b"\xc0\x0c" + pack(">HHIH", 1, 1, 60, 4) + answer if answer else b""
    return head + b"\1a\7example\0" + pack(">HH", 1, 1) + record


@pytest.mark.parametrize("port", [80, 8053])
def test_dns_over_http2_in_clear_is_dns_between_the_flow_s_hosts(tmp_path: Path, port: int) -> None:
    media = "application/dns-message"
    ask = fields(
        _method="POST", _scheme="http", _path="/dns-query", _authority="h.example", content_type=media
    )
    talks = Talks()
    said = [
        ("c", PREFACE + frame(1, 4, 1, ask) + frame(0, 1, 1, dns_message())),
        (
            "s",
            frame(1, 4, 1, fields(_status="200", content_type=media))
            + frame(0, 1, 1, dns_message(b"\xc0\0\2\7")),
        ),
    ]
    own = talks.add(port, said)
    events = events_of(talks.write(tmp_path / "doh.pcap"))
    assert exchanges(events) == [(port, "POST", "/dns-query", 200, "success")]
    (dns,) = of("dns", events)
    assert (dns["dns"]["question"]["name"], dns["dns"]["resolved_ip"]) == ("a.example", ["192.0.2.7"])
    ends = [(dns[end]["ip"], dns[end]["port"]) for end in ("source", "destination")]
    assert ends == [(CLIENT, own), (SERVER, port)]


@pytest.mark.parametrize("port", [80, 8123])
@pytest.mark.parametrize("end", [b"\r\n", b"\n"])
def test_a_request_of_http09(tmp_path: Path, port: int, end: bytes) -> None:
    talks = Talks()
    talks.add(port, [("c", b"GET /old" + end), ("s", b"<html>hi</html>")])
    assert exchanges(events_of(talks.write(tmp_path / "old.pcap"))) == [
        (port, "GET", "/old", None, "unknown")
    ]


def test_heads_of_bare_line_feeds(tmp_path: Path) -> None:
    talks = Talks()
    talks.add(
        80, [("c", get_of("/lf", end=b"\n")), ("s", HI.replace(b"\r", b"")), ("c", get_of("/b")), ("s", HI)]
    )
    events = events_of(talks.write(tmp_path / "lf.pcap"))
    assert exchanges(events) == [(80, "GET", "/lf", 200, "success"), (80, "GET", "/b", 200, "success")]
    assert bodies(events, "response") == ["hi", "hi"]


@pytest.mark.parametrize("port", [80, 8123])
def test_methods_that_nobody_knows(tmp_path: Path, port: int) -> None:
    talks = Talks()
    first = get_of("/a").replace(b"GET", b"FOO")
    second = (
        get_of("/b").replace(b"GET", b"BAR-BAZ").replace(b"\r\n\r\n", b"\r\nContent-Length: 4\r\n\r\nbody")
    )
    talks.add(
        port,
        [
            ("c", first),
            ("s", HI),
            ("c", second[:30]),
            ("c", second[30:]),
            ("s", HI),
            ("c", get_of("/c")),
            ("s", HI),
        ],
    )
    events = events_of(talks.write(tmp_path / "methods.pcap"))
    assert exchanges(events) == [
        (port, "FOO", "/a", 200, "success"),
        (port, "BAR-BAZ", "/b", 200, "success"),
        (port, "GET", "/c", 200, "success"),
    ]
    assert bodies(events, "request") == [None, "body", None]


def test_absolute_targets_and_tunnels(tmp_path: Path) -> None:
    talks = Talks()
    connect = b"CONNECT y.example:443 HTTP/1.1\r\nHost: y.example:443\r\n\r\n"
    said = [
        *(("c", get_of("http://x.example/a").replace(b"h.example", b"x.example")), ("s", HI)),
        *(("c", connect), ("s", b"HTTP/1.1 200 Connection established\r\n\r\n")),
        *(("c", get_of("/inside")), ("s", HI)),
    ]
    talks.add(3128, said)
    events = events_of(talks.write(tmp_path / "proxy.pcap"))
    assert [row[1:4] for row in exchanges(events)] == [
        ("GET", "http://x.example/a", 200),
        ("CONNECT", "y.example:443", 200),
        ("GET", "/inside", 200),
    ]
    assert [each["url"]["domain"] for each in of("http", events)][:2] == ["x.example", "y.example"]


def test_bodies_without_a_byte(tmp_path: Path) -> None:
    """RFC 9112, section 6.3: what answers HEAD, and 1xx, 204 and 304 have none, whatever their heads say."""
    said: list[Said] = [
        ("c", get_of("/h").replace(b"GET", b"HEAD")),
        ("s", OK + b"Content-Length: 500\r\n\r\n"),
    ]
    for status in (b"204 No Content", b"304 Not Modified"):
        said += [("c", get_of("/n")), ("s", b"HTTP/1.1 " + status + b"\r\nContent-Length: 77\r\n\r\n")]
    said += [("c", get_of("/last")), ("s", b"HTTP/1.1 100 Continue\r\n\r\n"), ("s", HI)]
    talks = Talks()
    talks.add(80, said)
    events = events_of(talks.write(tmp_path / "none.pcap"))
    assert [row[3] for row in exchanges(events)] == [200, 204, 304, 200]
    found = sorted(of("http", events), key=lambda each: each["netflight"]["frame"]["first"])
    assert [each["http"]["response"]["body"]["bytes"] for each in found] == [0, 0, 0, 2]
    assert bodies(events, "response") == [None, None, None, "hi"]


def test_chunks_trailers_and_pipelining(tmp_path: Path) -> None:
    talks = Talks()
    chunked = OK + b"Transfer-Encoding: chunked\r\nTrailer: X\r\n\r\n"
    said = [
        *(
            ("c", get_of("/c")),
            ("s", chunked + b"4\r\nwiki\r\n"),
            ("s", b"5;a=b\r\npedia\r\n0\r\nX: 1\r\n\r\n"),
        ),
        *(("c", get_of("/1") + get_of("/2") + get_of("/3")), ("s", HI + HI.replace(b"hi", b"ho")), ("s", HI)),
    ]
    talks.add(80, said)
    events = events_of(talks.write(tmp_path / "chunks.pcap"))
    assert [row[2:4] for row in exchanges(events)] == [("/c", 200), ("/1", 200), ("/2", 200), ("/3", 200)]
    assert sorted(map(str, bodies(events, "response"))) == ["hi", "hi", "ho", "wikipedia"]


def test_bodies_in_segments_of_their_own(tmp_path: Path) -> None:
    form = b"uname=al&password=s3cr3t"
    post = b"POST /login HTTP/1.1\r\nHost: h\r\nContent-Type: application/x-www-form-urlencoded\r\n"
    post += b"Content-Length: 24\r\n\r\n"
    long = b"".join(b"%08d" % number for number in range(500))
    talks = Talks()
    talks.add(
        8123,
        [
            *(("c", post), ("c", form[:10]), ("c", form[10:])),
            *(
                ("s", OK + b"Content-Length: 4000\r\n\r\n"),
                *(("s", long[at : at + 400]) for at in range(0, 4000, 400)),
            ),
            *(("c", get_of("/utf8")), ("s", OK + b"Content-Length: 3\r\n\r\n"), ("s", "né".encode())),
        ],
    )
    events = events_of(talks.write(tmp_path / "bodies.pcap"))
    assert bodies(events, "request") == ["uname=al&password=[redacted]", None]
    assert bodies(events, "response") == [long[:1024].decode(), "né"]
    first = next(each for each in of("http", events) if each["http"]["request"]["method"] == "POST")
    assert first["netflight"]["http"]["response"]["body"]["truncated"] is True
    (shown,) = of("credentials", events)
    assert (shown["user"]["name"], shown["netflight"]["credentials"]["mechanism"]) == ("al", "Form")


@pytest.mark.parametrize("port", [22, 2222])
def test_ssh_of_banners_alone(tmp_path: Path, port: int) -> None:
    server, client = ("s", b"SSH-2.0-OpenSSH_9.6\r\n"), ("c", b"SSH-2.0-Go\r\n")
    lines = ("s", b"Authorized users only.\r\nSSH-1.99-Cisco-1.25\r\n")
    talks = Talks()
    for said in ([server], [client], [server, client], [lines, client], [("s", b"SSH-1.5-old\n")]):
        talks.add(port, said)
    found = [
        each["netflight"]["ssh"] for each in of("ssh", events_of(talks.write(tmp_path / "banners.pcap")))
    ]
    told = [(get(ssh, "server.software"), get(ssh, "client.software"), ssh["version"]) for ssh in found]
    assert told == [
        ("SSH-2.0-OpenSSH_9.6", None, "2.0"),
        (None, "SSH-2.0-Go", "2.0"),
        ("SSH-2.0-OpenSSH_9.6", "SSH-2.0-Go", "2.0"),
        ("SSH-1.99-Cisco-1.25", "SSH-2.0-Go", "1.99"),
        ("SSH-1.5-old", None, "1.5"),
    ]


def test_logins_of_ssh_are_what_sshd_logged() -> None:
    """samples/ssh_bruteforce/case.yaml: 40 passwords failed and 1 was accepted."""
    decoded = decode([SAMPLES / name / "capture.pcap" for name in ("ssh_bruteforce", "ssh")])
    found = of("ssh", decoded.events)
    assert Counter(each["event"]["outcome"] for each in found) == {"failure": 40, "success": 3}
    assert {each["netflight"]["ssh"]["auth"]["attempts"] for each in found} == {1}
    assert of("anomaly", decoded.events) == []


def arp(operation: int, sender: str, target: str) -> bytes:
    macs = bytes.fromhex("020000000001"), bytes.fromhex("020000000002" if operation == 2 else "000000000000")
    return ethernet(
        pack(">HHBBH", 1, 0x0800, 6, 4, operation) + macs[0] + address(sender) + macs[1] + address(target),
        0x0806,
    )


@pytest.mark.parametrize(
    ("operation", "sender", "target", "action", "gratuitous"),
    [
        (2, "192.0.2.9", "192.0.2.5", "arp_unsolicited_reply", False),
        (2, "192.0.2.9", "192.0.2.9", "arp_unsolicited_reply", True),
        (1, "192.0.2.9", "192.0.2.9", "arp_announcement", True),
        (1, "0.0.0.0", "192.0.2.9", "arp_probe", False),  # noqa: S104  # an address in a packet
        (1, "192.0.2.9", "192.0.2.5", "arp_request", False),
    ],
)
def test_arp_that_nobody_asked_for(  # noqa: PLR0917  # a case
    tmp_path: Path,
    operation: int,
    sender: str,
    target: str,
    action: str,
    gratuitous: bool,  # noqa: FBT001  # a case
) -> None:
    path = tmp_path / "arp.pcap"
    data = arp(operation, sender, target)
    path.write_bytes(pcap([(10**18, data, len(data))]))
    (event,) = of("arp", events_of(path))
    said = event["netflight"]["arp"]
    assert (event["source"]["ip"], event["destination"]["ip"]) == (sender, target)
    assert event["source"]["mac"] == "02-00-00-00-00-01"
    assert (event["event"]["action"], event["event"]["outcome"]) == (action, "unknown")
    assert (said["answered"], said["gratuitous"], said["unsolicited"]) == (False, gratuitous, operation == 2)
    assert said.get("probe", False) == (sender == "0.0.0.0")  # noqa: S104  # compared, not bound


def test_a_reply_is_the_answer_of_its_request(tmp_path: Path) -> None:
    path = tmp_path / "asked.pcap"
    asked, answer = arp(1, "192.0.2.5", "192.0.2.9"), arp(2, "192.0.2.9", "192.0.2.5")
    asked = asked.replace(bytes.fromhex("020000000001"), bytes.fromhex("020000000002"))
    path.write_bytes(pcap([(10**18, asked, len(asked)), (10**18 + 10**6, answer, len(answer))]))
    (event,) = of("arp", events_of(path))
    assert (event["source"]["ip"], event["destination"]["ip"]) == ("192.0.2.5", "192.0.2.9")
    said = event["netflight"]["arp"]
    assert (said["answered"], said["unsolicited"], event["event"]["outcome"]) == (True, False, "success")


@pytest.mark.parametrize("size", [0, 7, 48, 788])
def test_the_payload_of_an_echo(tmp_path: Path, size: int) -> None:
    data = (b"OK\0" + bytes(range(65, 91)) * 40)[:size]
    packets = [
        ethernet(ip(CLIENT, SERVER, 1, pack(">BBHHH", 8, 0, 0, 1, 2) + data)),
        ethernet(ip(SERVER, CLIENT, 1, pack(">BBHHH", 0, 0, 0, 1, 2) + data[::-1]), swapped=1),
    ]
    path = tmp_path / "echo.pcap"
    path.write_bytes(pcap([(10**18 + at, packet, len(packet)) for at, packet in enumerate(packets)]))
    (event,) = of("icmp", events_of(path))
    said = event["netflight"]["icmp"]
    assert (said["payload_bytes"], said["response"]["payload_bytes"]) == (size, size)
    if size:
        assert said["payload"].startswith(r"OK\x00ABCD"[: 2 * size])
        assert said["response"]["payload"] != said["payload"]


def test_small_captures_of_faults() -> None:
    names = ("http09", "ssh_weird", "http_head304")
    decoded = decode([faults() / f"{name}.pcap" for name in names])
    check(decoded)
    by_file = {name: [e for e in decoded.events if name in e["log"]["file"]["path"]] for name in names}
    assert exchanges(by_file["http09"]) == [(80, "GET", "/old", None, "unknown")]
    banners = {get(each, "netflight.ssh.server.software") for each in of("ssh", by_file["ssh_weird"])}
    assert banners == {"SSH-2.0-weird server with  spaces", "SSH-1.99-Cisco-1.25"}
    sizes = {
        get(e, "url.path"): e["http"]["response"]["body"]["bytes"]
        for e in of("http", by_file["http_head304"])
    }
    assert sizes == {"/h": 0, "/c": 0, "/d": 5, "/e": 0}


ATTACKS = {
    "log4j-attack.pcap": ("http.request.body.content", "uname=${jndi:ldap://"),
    "log4j-user_agent.pcap": ("user_agent.original", "${jndi:ldap://"),
    "log4j-webapp.pcap": ("http.request.body.content", "uname=%24%7Bjndi%3Aldap"),
    "apache_exploit_success.pcap": ("http.request.body.content", "echo Content-Type: text/plain; echo; id"),
    "Pingback_ICMP.pcap": ("netflight.icmp.payload", "shell"),
}


def test_attacks_show_in_fields() -> None:
    decoded = decode([captures() / "attacks" / name for name in ATTACKS])
    for name, (field, begin) in ATTACKS.items():
        values = [get(e, field) for e in decoded.events if e["log"]["file"]["path"].endswith(name)]
        assert any(isinstance(value, str) and value.startswith(begin) for value in values), name


def test_ordinary_traffic_has_no_anomaly_of_a_protocol() -> None:
    """What real servers and clients of today say to each other (samples/README.md) is malformed to nobody."""
    names = ("kafka", "cassandra", "mailbox", "web", "http2", "files")
    decoded = decode([SAMPLES / name / "capture.pcap" for name in names])
    found = [each["netflight"]["anomaly"] for each in of("anomaly", decoded.events)]
    assert [each for each in found if each["kind"] in ("malformed", "protocol")] == []


def test_bodies_of_http2(tmp_path: Path) -> None:
    ask = fields(_method="POST", _scheme="http", _path="/form", _authority="h", content_type="text/plain")
    long = b"0123456789" * 200
    said = [
        ("c", PREFACE + frame(1, 4, 1, ask) + frame(0, 0, 1, b"first ") + frame(0, 1, 1, b"second")),
        ("s", frame(1, 4, 1, fields(_status="200", content_type="text/plain"))),
        ("s", frame(0, 0, 1, b"answer")),
        ("s", frame(1, 5, 1, fields(sum="5"))),
        ("c", frame(1, 5, 3, fields(_method="GET", _scheme="http", _path="/long", _authority="h"))),
        ("s", frame(1, 4, 3, fields(_status="200", content_type="text/plain")) + frame(0, 0, 3, long[:1000])),
        ("s", frame(0, 1, 3, long[1000:])),
        ("c", frame(1, 5, 5, fields(_method="GET", _scheme="http", _path="/none", _authority="h"))),
        ("s", frame(1, 5, 5, fields(_status="204"))),
    ]
    talks = Talks()
    talks.add(8123, said)
    events = events_of(talks.write(tmp_path / "bodies2.pcap"))
    assert [row[2:4] for row in exchanges(events)] == [("/form", 200), ("/long", 200), ("/none", 204)]
    assert bodies(events, "request") == ["first second", None, None]
    assert bodies(events, "response") == ["answer", long[:1024].decode(), None]
