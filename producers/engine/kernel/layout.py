"""The rows that the kernel's stages share: what is known of a packet (FACTS), and the numbers' meanings.

A stage writes its own fields and reads those of the stages before it.
"""

from enum import IntEnum

import numpy as np


class Kind(IntEnum):
    """Which counter of the accounting a packet is in."""

    NOT_IP = 0
    MALFORMED = 1
    FLOW = 2
    IGNORED = 3  # a drop rule of the policy took it out before the flow table


class Fragment(IntEnum):
    """Whether the innermost IP packet is a piece of a datagram."""

    NONE = 0
    FIRST = 1
    LATER = 2


class Signature(IntEnum):
    """A protocol recognised by its first payload bytes, on any port; NONE while or where it is not."""

    NONE = 0
    HTTP = 1
    TLS = 2
    SSH = 3
    QUIC = 4
    DTLS = 5
    HTTP2 = 6
    STUN = 7
    WIREGUARD = 8
    BITTORRENT = 9
    SMB = 10
    RDP = 11
    SIP = 12
    RTP = 13
    DNS = 14
    # In these, something else may begin: in SOCKS anything, in those after it TLS.
    SOCKS = 15
    SMTP = 16
    FTP = 17
    POP3 = 18
    IMAP = 19
    IRC = 20
    LDAP = 21
    ADB = 22
    PGSQL = 23
    MYSQL = 24
    # Told by numbers of their own.
    AEROSPIKE = 25
    AMQP = 26
    BITCOIN = 27
    DCERPC = 28
    DNP3 = 29
    MONGODB = 30
    MQTT = 31
    OPCUA = 32
    REDIS = 33
    S7COMM_PLUS = 34
    SNMP = 35
    SYNCHROPHASOR = 36
    TNS = 37
    KAFKA = 38
    MEMCACHED = 39
    S7COMM = 40

    @property
    def label(self) -> str:
        """What a flow with it is called, as in `network.protocol`."""
        return self.name.lower().replace("_", "-")


NAMING = frozenset({Signature.BITTORRENT, *(member for member in Signature if member >= Signature.SOCKS)})
"""Signatures that are proof enough to call a flow by, whatever the port made tshark take it for."""


class Part(IntEnum):
    """What part of its protocol a packet's payload is."""

    NONE = 0  # no payload
    UNKNOWN = 1  # no signature known, or the protocol has no parts
    HEAD = 2  # handshake, banner, HTTP head: what decoding tells something of
    BODY = 3  # an HTTP body, without any byte of a head
    ENCRYPTED = 4  # application data after a handshake


TUNNELS = (
    *("", "ipip", "gre", "etherip", "mpls", "gtp", "teredo", "vxlan", "ayiya", "geneve"),
    *("l2tp", "lisp", "capwap", "tzsp", "pim", "ethernet"),
)
"""What `FACTS["tunnel"]` counts through."""

DECODE, RECORD, RECORD_HEADERS = 1, 2, 4
"""Bits of `FACTS["verdict"]`; 0 counts the packet in its flow and nothing else."""

FACTS = np.dtype(
    [
        # parse: IPv4 addresses stand in the low half; offsets count from the frame's first byte, -1: not there
        ("kind", "u1"),
        ("protocol", "u1"),  # of the innermost IP packet, after its extension headers
        ("version", "u1"),  # 4 or 6
        ("ported", "u1"),  # 1: TCP, UDP, SCTP ports were read; 2: ICMP type and answer; 3: ICMP type and code
        ("source_high", "u8"),
        ("source_low", "u8"),
        ("destination_high", "u8"),
        ("destination_low", "u8"),
        ("source_port", "u2"),
        ("destination_port", "u2"),
        ("tcp_flags", "u1"),
        ("ttl", "u1"),  # hop limit for IPv6
        ("window", "u2"),
        ("sequence", "u4"),
        ("acknowledgement", "u4"),
        ("fragment", "u1"),
        ("tunnel", "u1"),  # index in TUNNELS of the outermost encapsulation, 0: none
        ("vlans", "u1"),  # how many of `vlan` are set
        ("outer_version", "u1"),
        (
            "depth",
            "u1",
        ),  # how many IP packets stand in each other, the innermost included; 0: not IP, or malformed
        ("vlan", "u2", (4,)),
        (
            "outer_source_high",
            "u8",
        ),  # the outermost IP packet's addresses; the innermost's where no tunnel is
        ("outer_source_low", "u8"),
        ("outer_destination_high", "u8"),
        ("outer_destination_low", "u8"),
        ("source_mac", "i4"),
        ("destination_mac", "i4"),
        ("transport", "i4"),  # where the innermost transport header begins
        ("payload", "i4"),  # where its payload begins; may lie beyond what was captured
        ("length", "i4"),  # the payload's length on the wire
        ("shard", "u4"),  # a hash of the outermost address pair, the same both ways; 0 for what is not IP
        # track
        ("slot", "i4"),  # the flow's row in the table while this block is worked on, -1: none
        ("forward", "u1"),  # 1: the initiator sent it
        ("signature", "u1"),
        ("part", "u1"),
        ("content", "i4"),  # 1 + where in the payload an HTTP body's first bytes stand, 0: none of them
        ("answered", "u1"),  # 1: both sides of the flow have sent by now
        ("uid", "i8"),  # the flow's number in this run, never used again
        ("number", "i8"),  # packets of the flow before this one, both ways
        ("sent_before", "i8"),  # payload bytes of this direction before this packet
        ("sent_packets", "i8"),  # packets with payload of this direction before this one
        ("flow_bytes", "i8"),  # bytes on the wire of the flow before this packet, both ways
        (
            "sequence_shift",
            "u4",
        ),  # to be taken from the sequence number, so that skipped payload leaves no hole
        ("acknowledgement_shift", "u4"),  # likewise from the acknowledgement
        (
            "missing",
            "i4",
        ),  # of a decoded segment: bytes before it that did not come; -n: it begins n before the furthest one's end
        ("unseen", "i4"),  # bytes that it acknowledges and that did not come
        ("pushed", "u1"),  # bit 0: the segment before it had PSH; bit 1: the other side's last one
        # policy
        ("verdict", "u1"),
        ("rule", "u1"),  # index of the rule that decided
    ],
    align=True,
)
