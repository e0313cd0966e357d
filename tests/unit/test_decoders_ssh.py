"""SSH banners and offers, whole, empty and repeated."""

from hashlib import md5

from producers.decoders.tree import Tree
from producers.decoders.unit import Unit
from tests.trees import decoder, event, flow, place, units

ON = flow(port=22)
LISTS = ("encryption", "mac", "compression")


def offer(kex: str, client: str = "c", server: str = "s", host_key: str = "ssh-ed25519") -> Tree:
    lists = {f"ssh.{name}_algorithms_client_to_server": f"{client}-{name}" for name in LISTS}
    lists |= {f"ssh.{name}_algorithms_server_to_client": f"{server}-{name}" for name in LISTS}
    told = {"ssh.kex_algorithms": kex, "ssh.server_host_key_algorithms": host_key, **lists}
    return {"SSH Version 2": {"Key Exchange": {"ssh.message_code": "20", "Algorithms": told}}}


def parts(*told: tuple[Tree, bool]) -> tuple[Unit, ...]:
    found = []
    for frame, (layer, forward) in enumerate(told, start=1):
        found += units("ssh", layer, place(ON, frame, forward=forward))
    return tuple(found)


NEWKEYS: Tree = {"SSH Version 2": {"ssh.message_code": ["31", "21"]}}


def test_each_side_is_fingerprinted_by_its_own_direction() -> None:
    both = parts((offer("k1,k2"), True), (offer("k2,k1"), False))
    ssh = event("ssh", parts=both)["netflight"]["ssh"]
    assert (
        ssh["client"]["hassh"]
        == md5(b"k1,k2;c-encryption;c-mac;c-compression", usedforsecurity=False).hexdigest()
    )
    assert (
        ssh["server"]["hassh"]
        == md5(b"k2,k1;s-encryption;s-mac;s-compression", usedforsecurity=False).hexdigest()
    )
    assert (ssh["kex_algorithm"], ssh["host_key_algorithm"], ssh["encrypted"]) == ("k1", "ssh-ed25519", False)


def test_an_empty_offer_has_a_fingerprint_and_agrees_on_nothing() -> None:
    ssh = event("ssh", parts=parts((offer("", "", "", ""), True), (offer("", "", "", ""), False)))[
        "netflight"
    ]["ssh"]
    assert len(ssh["client"]["hassh"]) == 32
    assert "kex_algorithm" not in ssh


def test_new_keys_of_both_sides_encrypt_and_say_nothing_of_the_login() -> None:
    told = parts(
        ({"ssh.protocol": "SSH-2.0-a"}, True), ({"ssh.protocol": "nonsense"}, False), (NEWKEYS, True)
    )
    told += parts((NEWKEYS, False))
    assert not decoder("ssh").told_all(list(told))
    built = event("ssh", parts=told)
    ssh = built["netflight"]["ssh"]
    assert (ssh["client"]["software"], ssh["server"]["software"], ssh["version"]) == (
        "SSH-2.0-a",
        "nonsense",
        "2.0",
    )
    assert (ssh["encrypted"], built["event"]["outcome"], "auth" in ssh) == (True, "unknown", False)


def test_the_first_banner_and_offer_of_a_side_stay() -> None:
    told = parts(
        ({"ssh.protocol": "SSH-2.0-a"}, True),
        ({"ssh.protocol": "SSH-1.5-b"}, True),
        (offer("k1"), True),
        (offer("k2"), True),
    )
    built = event("ssh", parts=told)
    assert built["netflight"]["ssh"]["client"]["software"] == "SSH-2.0-a"
    assert built["netflight"]["ssh"]["version"] == "2.0"
    assert len(built["related"]["hash"]) == 2


def test_encrypted_packets_are_no_parts() -> None:
    assert units("ssh", {"SSH Version 2": {"ssh.encrypted_packet": "00:01"}}, place(ON)) == []
