"""TLS hellos, alerts and certificates of every shape, written by hand."""

import random
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import orjson
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from producers.decoders.datasets.certificates import (
    MAX_ALTERNATIVE_NAMES,
    MAX_CHAIN,
    certificate_fields,
    chain_fields,
)
from producers.decoders.datasets.certificates import hashes as digests
from producers.decoders.datasets.der import elements
from producers.decoders.tree import Tree
from producers.decoders.unit import Unit
from tests.trees import decoder, event, flow, place, units

ON = flow(port=443)
RETRY = "cf:21:ad:74:e5:9a:61:11:be:1d:8c:02:1e:65:b8:91:c2:a2:11:16:7a:bb:8c:5e:07:9e:09:e2:c8:a8:33:9c"


def handshake(kind: int, **fields: Any) -> Tree:
    return {
        "tls.handshake.type": str(kind),
        **{f"tls.handshake.{name}": value for name, value in fields.items()},
    }


def record(content: int, **more: Any) -> Tree:
    return {"tls.record.content_type": str(content), **more}


def hello(name: str = "a.example", **more: Any) -> Tree:
    extensions = {
        "Extension: signature_algorithms": {
            "tls.handshake.extension.type": "13",
            "algorithms": {"tls.handshake.sig_hash_alg": ["0x0403", "0x0804"]},
        },
        "Extension: signature_algorithms_cert": {
            "tls.handshake.extension.type": "50",
            "algorithms": {"tls.handshake.sig_hash_alg": "0x0201"},
        },
        "Extension: server_name": {
            "tls.handshake.extension.type": "0",
            "tls.handshake.extensions_server_name": name,
        },
    }
    suites = {"tls.handshake.ciphersuite": ["0x1301", "0x0a0a", "0xfffe"]}
    return handshake(1, version="0x0303", ciphersuites=suites, extensions=extensions, **more)


def read(layer: Tree, *, forward: bool = True, frame: int = 1, protocol: str = "tls") -> tuple[Unit, ...]:
    return tuple(units("tls", layer, place(ON, frame, forward=forward), protocol))


def shaken(*layers: tuple[Tree, bool]) -> tuple[Unit, ...]:
    return tuple(
        part
        for frame, (layer, forward) in enumerate(layers, start=1)
        for part in read(layer, forward=forward, frame=frame)
    )


def handshakes(*messages: Tree) -> Tree:
    return {"tls.record": [record(22, **{"tls.handshake": message}) for message in messages]}


CIPHERED: Tree = {"tls.record": [record(20), record(23)]}
SERVER_HELLO = handshake(2, version="0x0303", ciphersuite="0x1301", random="00")


def test_a_client_hello() -> None:
    tls = event("tls", parts=read(handshakes(hello(ja3="00" * 16))))["tls"]
    assert tls["client"]["server_name"] == "a.example"
    assert tls["client"]["supported_ciphers"] == ["TLS_AES_128_GCM_SHA256", "0xFFFE"]
    assert (tls["client"]["ja3"], tls["established"]) == ("00" * 16, False)


def test_ja4_takes_the_signature_algorithms_of_their_own_extension() -> None:
    told = event("tls", parts=read(handshakes(hello())))["netflight"]["tls"]["client"]["ja4"]
    without = hello()
    del without["tls.handshake.extensions"]["Extension: signature_algorithms_cert"]["algorithms"]
    assert told == event("tls", parts=read(handshakes(without)))["netflight"]["tls"]["client"]["ja4"]


def test_messages_of_one_record_and_of_many_are_found() -> None:
    one = {"tls.record": record(22, **{"tls.handshake": [hello(), handshake(16)]})}
    assert [unit.extra.kind for unit in read(one)] == ["client_hello"]
    assert [unit.extra.kind for unit in read(handshakes(SERVER_HELLO, handshake(14)))] == ["server_hello"]


def test_the_first_of_several_hellos_is_told_and_all_are_related() -> None:
    parts = shaken(
        (handshakes(hello("first.example", ja3="11" * 16)), True),
        (handshakes(hello("second.example", ja3="22" * 16)), True),
    )
    built = event("tls", parts=parts)
    assert (built["tls"]["client"]["server_name"], built["tls"]["client"]["ja3"]) == (
        "first.example",
        "11" * 16,
    )
    assert {"11" * 16, "22" * 16} <= set(built["related"]["hash"])
    assert built["related"]["hosts"] == ["first.example", "second.example"]


def test_both_sides_in_cipher_are_established() -> None:
    parts = shaken((handshakes(hello()), True), (handshakes(SERVER_HELLO), False), (CIPHERED, False))
    assert not decoder("tls").told_all(list(parts))
    parts += shaken((CIPHERED, True))
    assert decoder("tls").told_all(list(parts))
    built = event("tls", parts=parts)
    assert (built["tls"]["established"], built["network_traffic"]["status"]) == (True, "OK")


def test_a_request_for_another_hello_is_no_server_hello() -> None:
    retry = handshake(2, version="0x0303", ciphersuite="0x1301", random=RETRY)
    tls = event("tls", parts=shaken((handshakes(hello()), True), (handshakes(retry), False)))["tls"]
    assert "version" not in tls
    assert "cipher" not in tls


def test_a_server_that_opened_the_connection_is_still_the_server() -> None:
    built = event("tls", parts=shaken((handshakes(hello()), False), (handshakes(SERVER_HELLO), True)))
    assert (built["source"]["ip"], built["server"]["ip"]) == ("192.0.2.2", "192.0.2.1")


@pytest.mark.parametrize(("level", "status"), [("1", None), ("2", "Error")])
def test_alerts(level: str, status: str | None) -> None:
    alert = {
        "tls.record": record(21, alert={"tls.alert_message.level": level, "tls.alert_message.desc": "40"})
    }
    built = event("tls", parts=shaken((handshakes(hello()), True), (alert, False)))
    assert built["netflight"]["tls"]["alerts"] == ["handshake_failure"]
    assert built.get("network_traffic", {}).get("status") == status


@pytest.mark.parametrize(
    "layer",
    [
        {"tls.handshake": handshake(11, certificates={"tls.handshake.certificate": ["zz", "00"]})},
        {"tls.handshake": handshake(11)},
        {"tls.handshake": "text"},
        {"tls.handshake": {"tls.handshake.type": ["1", "2"]}},
        {"tls.record": record(21, alert={"tls.alert_message.level": "2"})},
        {"tls.record": {"tls.record.content_type": "99"}},
    ],
)
def test_what_says_nothing_is_no_part(layer: Tree) -> None:
    assert read(layer) == ()


def test_hellos_of_nonsense_make_valid_events() -> None:
    odd = handshake(
        1, version="x", ciphersuites={"tls.handshake.ciphersuite": ["", "0x", "99999999999999999999"]}
    )
    odd["tls.handshake.extensions_alpn_str"] = "\ufffd\U0001f600"
    event("tls", parts=read(handshakes(odd, handshake(2, version="0xffff", ciphersuite="0xffff"))))


@cache
def certificate(serial: int = 0xABCDEF, names: int = 2) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bücher, Inc.")])
    start = datetime(2020, 1, 1, tzinfo=UTC)
    alternatives: list[x509.GeneralName] = [x509.DNSName(f"n{number}.example") for number in range(names)]
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=365 * 7000))
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.DER)
    )


def certified(der: bytes) -> Tree:
    return handshakes(handshake(11, certificates={"tls.handshake.certificate": [der.hex(":"), der.hex(":")]}))


def test_the_server_s_certificate_and_the_client_s() -> None:
    parts = shaken(
        (handshakes(hello()), True),
        (handshakes(SERVER_HELLO), False),
        (certified(certificate()), False),
        (certified(certificate(serial=7)), True),
    )
    built = event("tls", parts=parts)
    server = built["tls"]["server"]
    assert server["x509"]["serial_number"] == "ABCDEF"
    assert server["x509"]["subject"]["common_name"] == ["bücher, Inc."]
    assert server["subject"] == "CN=bücher\\, Inc."
    assert server["not_after"].startswith("90")
    assert server["x509"]["alternative_names"] == ["n0.example", "n1.example"]
    assert built["tls"]["client"]["x509"]["serial_number"] == "7"
    assert built["netflight"]["tls"]["server"]["certificates"] == 2


def test_a_huge_list_of_names_is_cut() -> None:
    fields = certificate_fields(certificate(names=5000), "server")
    assert len(fields["tls.server.x509.alternative_names"]) == MAX_ALTERNATIVE_NAMES


def test_a_negative_serial_number_and_a_version_of_the_future(recwarn: pytest.WarningsRecorder) -> None:
    der = certificate()
    serial = der.index(bytes.fromhex("020400abcdef"))
    negative = der[:serial] + bytes.fromhex("02048fabcdef") + der[serial + 6 :]
    assert certificate_fields(negative, "server")["tls.server.x509.serial_number"] == "-70543211"
    version = der.index(bytes.fromhex("a003020102"))
    future = der[: version + 4] + b"\x22" + der[version + 5 :]
    assert set(certificate_fields(future, "server")) == {
        f"tls.server.hash.{kind}" for kind in ("md5", "sha1", "sha256")
    }
    assert len(recwarn) == 0


@given(st.integers(0, 2**32))
def test_any_damage_to_a_certificate_leaves_its_hashes(seed: int) -> None:
    chance, der = random.Random(seed), bytearray(certificate())
    for _ in range(chance.choice([1, 1, 2, 8])):
        der[chance.randrange(len(der))] = chance.randrange(256)
    fields = certificate_fields(bytes(der), "server")
    assert {f"tls.server.hash.{kind}" for kind in ("md5", "sha1", "sha256")} <= set(fields)
    orjson.dumps(fields)


def test_a_further_hello_that_differs_is_told_too() -> None:
    retry = handshake(2, version="0x0303", random=RETRY)
    parts = shaken(
        (handshakes(hello(ja3="00" * 16)), True),
        (handshakes(retry), False),
        (handshakes(hello(ja3="00" * 16)), True),
        (handshakes(hello(ja3="11" * 16)), True),
        (handshakes(SERVER_HELLO), False),
        (CIPHERED, True),
        (CIPHERED, False),
    )
    first, second = decoder("tls").tellings(list(parts))
    assert first == list(parts)
    told = [event("tls", parts=tuple(each))["tls"] for each in (first, second)]
    assert [each["client"]["ja3"] for each in told] == ["00" * 16, "11" * 16]
    assert [each["established"] for each in told] == [True, True]


def test_messages_without_records_on_udp_are_quic_s() -> None:
    on = flow("udp", 443)
    (bare,) = units("tls", {"tls.handshake": hello()}, place(on), "tls")
    assert (bare.protocol, bare.fields["netflight.tls.client.ja4"][0]) == ("quic", "q")
    assert "established" not in event("tls", parts=(bare,))["tls"]
    (inside,) = units("tls", handshakes(hello()), place(on), "tls")  # as OpenVPN carries it
    assert (inside.protocol, inside.fields["netflight.tls.client.ja4"][0]) == ("tls", "q")


def test_the_curve_is_the_server_s() -> None:
    shared = handshake(2, version="0x0303", extensions={"tls.handshake.extensions_key_share_group": "29"})
    assert event("tls", parts=read(handshakes(shared), forward=False))["tls"]["curve"] == "x25519"
    older = handshake(12, server_named_curve="0x0017")
    parts = read(handshakes(SERVER_HELLO, older), forward=False)
    assert event("tls", parts=parts)["tls"]["curve"] == "secp256r1"


def test_a_chain_has_an_entry_for_each_certificate() -> None:
    first, second = certificate(serial=1), certificate(serial=2)
    fields = chain_fields((first, second, b"none"), "server")
    entries = fields["netflight.tls.server.chain"]
    assert [entry.get("serial_number") for entry in entries] == ["1", "2", None]
    assert [entry["hash"]["sha1"] for entry in entries] == [
        digests(der).sha1 for der in (first, second, b"none")
    ]
    assert entries[0]["subject"] == fields["tls.server.subject"]
    assert entries[0]["alternative_names"] == ["n0.example", "n1.example"]
    assert set(entries[2]) == {"hash"}
    assert fields["netflight.tls.server.certificates"] == 3
    assert "netflight.tls.server.explicit_curve" not in fields
    assert len(chain_fields((first,) * 100, "server")["netflight.tls.server.chain"]) == MAX_CHAIN


@given(st.binary(max_size=200))
def test_elements_of_der_are_pieces_of_what_they_are_read_from(data: bytes) -> None:
    found = elements(data)
    assert sum(2 + len(element.content) for element in found) <= len(data)
    assert all(element.content in data for element in found)


def test_a_version_that_nobody_knows_is_left_out() -> None:
    for version, told in (("0x002c", "1.2"), ("0x7f12", "1.3"), ("0x0304", "1.3")):
        said = handshake(2, version="0x0303", random="00", **{"extensions.supported_version": version})
        assert event("tls", parts=read(handshakes(said), forward=False))["tls"]["version"] == told
    nobody_s = handshake(2, version="0x0505", random="00", ciphersuite="0x1301")
    tls = event("tls", parts=read(handshakes(nobody_s), forward=False))["tls"]
    assert not {"version", "version_protocol"} & set(tls)


def test_a_fragment_of_a_hello_is_none() -> None:
    piece = {"dtls.handshake": {"dtls.handshake.type": "1", "dtls.handshake.fragment_offset": "40"}}
    assert read({"dtls.record": piece}, protocol="dtls") == ()


def test_tickets_name_their_key() -> None:
    ticket = bytes(range(100)).hex(":")
    name = bytes(range(16)).hex()
    issued = read(handshakes(handshake(4, session_ticket=ticket)), forward=False)
    assert [unit.fields for unit in issued] == [{"netflight.tls.server.ticket_key_name": name}]
    offered = hello()
    offered["ticket"] = {"tls.handshake.extension.type": "35", "tls.handshake.extension.data": ticket}
    (unit,) = read(handshakes(offered))
    assert unit.fields["netflight.tls.client.ticket_key_name"] == name
