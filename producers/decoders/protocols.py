"""Which application protocols a packet carries, from the order of tshark's layers."""

from producers.decoders.tree import Tree

_TRANSPORTS = frozenset({"tcp", "udp", "udplite", "sctp", "dccp"})
_NETWORKS = frozenset({"ip", "ipv6"})
_TUNNELS = frozenset(
    {
        *("vxlan", "geneve", "gtp", "gre", "teredo", "ayiya", "l2tp", "erspan", "ppp", "mpls", "pppoes"),
        *("pppoed", "eth", "ethertype", "vlan", "ip", "ipv6", "ah", "esp"),
    }
)
# Layers that frame or fill a protocol rather than being one.
_NOT_PROTOCOLS = frozenset(
    {
        *("data", "data-text-lines", "media", "json", "xml", "png", "image-gif", "image-jfif", "urlencoded-form"),
        *("mime_multipart", "multipart_form", "nbss", "tpkt", "cotp", "frame", "pkcs-1", "pkix1explicit"),
        *("pkix1implicit", "x509af", "x509ce", "x509if", "x509sat"),
    }
)
# Protocols whose errors quote the packet that they are about; its layers follow theirs.
QUOTING = frozenset({"icmp", "icmpv6"})
# tshark's names where the field says otherwise.
PROTOCOL_NAMES = {"dhcp": "dhcpv4", "icmpv6": "icmp", "ssl": "tls", "kerberos": "krb5", "gquic": "quic"}


def application_protocols(layers: Tree, *, tunnelled: bool) -> list[str]:
    """The application protocols of a packet, outermost first, in the names of `network.protocol`."""
    names = list(layers)
    after = 0
    for index, name in enumerate(names):
        if name in _TRANSPORTS:
            after = index + 1
    if not after:
        for index, name in enumerate(names):
            if name in _NETWORKS:
                after = index + 1
        if not after:
            return []
    found = []
    for name in names[after:]:
        if name in _NOT_PROTOCOLS or "." in name or name.startswith("_"):
            continue
        if tunnelled and name in _TUNNELS:
            continue
        found.append(PROTOCOL_NAMES.get(name, name))
        if name in QUOTING:
            break
    return found
