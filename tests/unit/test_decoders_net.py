"""Trees of network services with what is missing, strange or hostile in them."""

from typing import Any

import pytest

from producers.decoders.secrets import Secret
from tests.trees import event, flow, place, units

ON = flow("udp", 161)
LAYERS = {
    "snmp": "snmp",
    "ntp": "ntp",
    "stun": "stun",
    "ike": "isakmp",
    "bittorrent": "bt-dht",
    "dhcpv6": "dhcpv6",
    "igmp": "igmp",
    "nbns": "nbns",
    "mdns": "mdns",
    "wireguard": "wg",
    "openvpn": "openvpn",
    "ssdp": "ssdp",
    "bgp": "bgp",
    "ospf": "ospf",
    "syslog": "syslog",
    "socks": "socks",
}
STRANGE: list[dict[str, Any]] = [
    {},
    {"snmp.data": "2", "snmp.name": ["1.3", {"x": "y"}], "snmp.community": {"x": "y"}},
    {"ntp.flags.mode": "4", "ntp.refid": "zz:zz", "ntp.rootdelay": "x", "ntp.stratum": "1"},
    {"stun.type": "0xffff", "stun.id": ["01:02"], "stun.att.type": "x", "stun.att.ipv4": "x"},
    {
        "isakmp.version": "0x10",
        "isakmp.prop.number": ["1"],
        "isakmp.typepayload_tree": ["x", {"isakmp.tf.id.encr": {}}],
    },
    {
        "bt-dht.bencoded.dict_entry": [
            {"bt-dht.bencoded.string": ["y", "r"]},
            "x",
            {"bt-dht.bencoded.string": "r"},
        ]
    },
    {
        "dhcpv6.msgtype": "12",
        "dhcpv6.option.type_str_tree": [{"dhcpv6.option.type": "9", "dhcpv6": ["x"]}, "x"],
    },
    {"igmp.type": "0x22", "r": {"igmp.record_type": "x", "igmp.maddr": ["x"]}},
    {"nbns.flags.response": "1", "Answers": {"a": {"nbns.type": "x", "nbns.name": {}}}},
    {"dns.flags.response": "1", "Answers": {"a": {"dns.resp.type": "65", "dns.svcb.svcpriority": "1"}}},
    {"http.request.method": "M-SEARCH", "http.request.line": ["LOCATION: http://[", "ST", ":"]},
    {"bgp.type": "2", "bgp.nlri_prefix": ["x", "192.0.2.0"], "bgp.prefix_length": "24"},
    {"openvpn.opcode": "7", "openvpn.sessionid": "x" * 5000},
    {"socks.version": "5", "socks.password": "x", "socks.results": "999999999999999999999"},
]


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("layer", STRANGE)
def test_strange_trees_raise_nothing_and_make_valid_events(name: str, layer: dict[str, Any]) -> None:
    for unit in units(name, layer, place(ON), LAYERS[name]):
        if name in ("openvpn", "socks"):
            event(name, parts=(unit,))
        else:
            event(name, request=unit)


def test_a_community_is_a_secret_everywhere() -> None:
    (unit,) = units("snmp", {"snmp.data": "0", "snmp.community": "s3cret", "snmp.request_id": "1"}, place(ON))
    assert isinstance(unit.fields["netflight.snmp.community"], Secret)
    assert unit.credentials[0].secret == "s3cret"  # noqa: S105
    assert "s3cret" not in str(event("snmp", request=unit))
