"""Which application protocols a packet carries, from the order of tshark's layers."""

from collections.abc import Sequence

TRANSPORTS = frozenset({"tcp", "udp", "udplite", "sctp", "dccp"})
NETWORKS = frozenset({"ip", "ipv6"})
_TUNNELS = frozenset(
    {
        *("vxlan", "geneve", "gtp", "gre", "teredo", "ayiya", "l2tp", "erspan", "ppp", "mpls", "pppoes"),
        *("pppoed", "eth", "ethertype", "vlan", "ip", "ipv6", "ah", "esp"),
    }
)
# Layers that frame or fill a protocol rather than being one.
_NOT_PROTOCOLS = frozenset(
    {
        *(
            "data",
            "data-text-lines",
            "media",
            "json",
            "xml",
            "png",
            "image-gif",
            "image-jfif",
            "urlencoded-form",
        ),
        *("mime_multipart", "multipart_form", "nbss", "tpkt", "cotp", "frame", "pkcs-1", "pkix1explicit"),
        *("pkix1implicit", "x509af", "x509ce", "x509if", "x509sat", "f5ethtrailer", "e100"),
    }
)
# Protocols that quote packets: the one that an error is about, samples of traffic. Their layers follow.
QUOTING = frozenset({"icmp", "icmpv6", "sflow"})
# Layers in whose tree tshark puts the IP headers of what they hold, while the layers above those follow.
HOLDING = frozenset({"wlan_aggregate"})
# Layers of streams.lua, which are called by the dataset.
STREAMS = "netflight_stream_"
# tshark's names where the field says otherwise.
PROTOCOL_NAMES = {
    "bt-dht": "bittorrent",
    "bt-utp": "bittorrent",
    "bvlc": "bacnet",
    "cflow": "netflow",
    "cldap": "ldap",
    "classicstun": "stun",
    "cql": "cassandra",
    "dhcp": "dhcpv4",
    "fb_zero": "fbzero",
    "gquic": "quic",
    "icmpv6": "icmp",
    "isakmp": "ike",
    "kerberos": "krb5",
    "mbtcp": "modbus",
    "memcache": "memcached",
    "mongo": "mongodb",
    "nbdgm": "netbios",
    "ntlmssp": "ntlm",
    "pn_rt": "profinet",
    "pop": "pop3",
    "resp": "redis",
    "smb2": "smb",
    "ssl": "tls",
    "synphasor": "synchrophasor",
    "vnc": "rfb",
    "wg": "wireguard",
}


def application_protocols(names: Sequence[str], *, tunnelled: bool) -> list[str]:
    """The application protocols of a packet by the names of its layers, outermost first, as in `network.protocol`."""
    found = []
    for name in names[_above_transport(names) :]:
        framing = name in _NOT_PROTOCOLS or "." in name or name.startswith("_")
        if framing or (tunnelled and name in _TUNNELS):
            continue
        said = PROTOCOL_NAMES.get(name, name).removeprefix(STREAMS)
        if said not in found:
            found.append(said)
        if name in QUOTING:
            break
    return found


def _above_transport(names: Sequence[str]) -> int:
    """Where the layers above the last transport begin, or above IP where there is none; else past the end."""
    for below in (TRANSPORTS, NETWORKS):
        places = [index for index, name in enumerate(names) if name in below]
        if places:
            return places[-1] + 1
    return len(names)
