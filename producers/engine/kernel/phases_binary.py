"""Protocols of numbers, recognised on any port by magic, structure and checksums at the beginning of a payload.

Each rule fixes at least four bytes, or a checksum, or both a marker and the payload's own length; so that of random
payloads less than one in a thousand million is taken for something.
"""

from producers.compiled import bare_inner
from producers.engine.kernel.layout import Signature
from producers.engine.kernel.octets import Buffer, little, little_word, number, octet, short, word

_NONE = int(Signature.NONE)
_ADB, _AEROSPIKE, _AMQP = int(Signature.ADB), int(Signature.AEROSPIKE), int(Signature.AMQP)
_BITCOIN, _BITTORRENT = int(Signature.BITCOIN), int(Signature.BITTORRENT)
_DCERPC, _DNP3, _LDAP = int(Signature.DCERPC), int(Signature.DNP3), int(Signature.LDAP)
_KAFKA, _S7COMM = int(Signature.KAFKA), int(Signature.S7COMM)
_MONGODB, _MQTT, _MYSQL = int(Signature.MONGODB), int(Signature.MQTT), int(Signature.MYSQL)
_OPCUA, _PGSQL, _REDIS = int(Signature.OPCUA), int(Signature.PGSQL), int(Signature.REDIS)
_S7COMM_PLUS, _SNMP = int(Signature.S7COMM_PLUS), int(Signature.SNMP)
_SYNCHROPHASOR, _TNS = int(Signature.SYNCHROPHASOR), int(Signature.TNS)

_CARRIAGE_RETURN, _LINE_FEED = 13, 10


@bare_inner
def recognise_binary_stream(buffer: Buffer, start: int, available: int, length: int) -> int:  # noqa: PLR0911, C901, PLR0912 - a list of protocols
    """The Signature of a segment's payload at `start`, `length` bytes on the wire; NONE if it has none."""
    if available < 8:
        return _NONE
    first = octet(buffer, start)
    if first == 0x00:
        if _begins_pgsql(buffer, start, available, length):
            return _PGSQL
        if _begins_kafka(buffer, start, available, length):
            return _KAFKA
        return _TNS if _begins_tns(buffer, start, available, length) else _NONE
    if first == 0x02 and _begins_aerospike(buffer, start, length):
        return _AEROSPIKE
    if first == 0x03 and _begins_data_in_tpkt(buffer, start, available, length):
        return _recognise_s7comm(buffer, start, available, length)
    if first == 0x05:
        if _begins_dnp3(buffer, start, available, length):
            return _DNP3
        return _DCERPC if _begins_dcerpc(buffer, start, available, length) else _NONE
    if first == 0x10 and _begins_mqtt(buffer, start, available):
        return _MQTT
    if first == 0x2A and _begins_redis(buffer, start, available):
        return _REDIS
    if first == 0x30 and _begins_ldap(buffer, start, available):
        return _LDAP
    if first == 0xAA and _begins_synchrophasor(buffer, start, available, length):
        return _SYNCHROPHASOR
    if 65 <= first <= 90 and _recognise_letters(buffer, start, available, length) != _NONE:
        return _recognise_letters(buffer, start, available, length)
    if _begins_adb_host(buffer, start, available, length):
        return _ADB
    if _begins_mysql(buffer, start, available, length):
        return _MYSQL
    if _begins_mongodb(buffer, start, available, length):
        return _MONGODB
    return _BITCOIN if _begins_bitcoin(buffer, start, available) else _NONE


@bare_inner
def recognise_binary_datagram(buffer: Buffer, start: int, available: int, length: int) -> int:
    """The Signature of a datagram's payload at `start`, `length` bytes on the wire; NONE if it has none."""
    first = octet(buffer, start)
    if first == 0x05 and _begins_dnp3(buffer, start, available, length):
        return _DNP3
    if first == 0x30 and _begins_snmp(buffer, start, available):
        return _SNMP
    if first == 0x64 and _is_dht_message(buffer, start, available, length):
        return _BITTORRENT
    if first == 0xAA and _begins_synchrophasor(buffer, start, available, length):
        return _SYNCHROPHASOR
    return _NONE


@bare_inner
def _recognise_letters(buffer: Buffer, start: int, available: int, length: int) -> int:
    """The Signature of a binary protocol that begins with capital letters."""
    head = word(buffer, start)
    if head == 0x414D5150 and _begins_amqp(buffer, start):
        return _AMQP
    if head == 0x4253594E and short(buffer, start + 4) == 0x4300:  # BSYNC, NUL
        return _BITTORRENT  # BitTorrent Sync between peers
    if _begins_opcua(buffer, start, length):
        return _OPCUA
    return _ADB if _begins_adb(buffer, start, available) else _NONE


@bare_inner
def _begins_adb(buffer: Buffer, start: int, available: int) -> bool:
    """Whether a message of the Android Debug Bridge begins at `start` (AOSP, packages/modules/adb/protocol.txt).

    Six little-endian words: command, two arguments, the data's length and checksum, and the command's complement.
    """
    if available < 24 or word(buffer, start) ^ 0xFFFFFFFF != word(buffer, start + 20):
        return False
    return word(buffer, start) in (
        *(0x434E584E, 0x41555448, 0x53544C53, 0x4F50454E),  # CNXN AUTH STLS OPEN
        *(0x4F4B4159, 0x434C5345, 0x57525445, 0x53594E43),  # OKAY CLSE WRTE SYNC
    )


@bare_inner
def _begins_adb_host(buffer: Buffer, start: int, available: int, length: int) -> bool:
    """Whether a request to the local ADB server stands at `start` (AOSP, packages/modules/adb/docs/dev/services.md).

    Four hexadecimal digits with the length of what follows, `host`, and a colon or hyphen.
    """
    if available < 9 or word(buffer, start + 4) != 0x686F7374 or octet(buffer, start + 8) not in (58, 45):
        return False
    size = number(0)
    for at in range(start, start + 4):
        digit = octet(buffer, at)
        if 48 <= digit <= 57:
            size = size * 16 + digit - 48
        elif 65 <= digit <= 70 or 97 <= digit <= 102:
            size = size * 16 + (digit | 0x20) - 87
        else:
            return False
    return size + 4 == length


@bare_inner
def _begins_aerospike(buffer: Buffer, start: int, length: int) -> bool:
    """Whether the payload is one message of Aerospike (aerospike-client-c, as_proto.h).

    Version 2; info, message, or compressed; a 48-bit length.
    """
    return (
        octet(buffer, start + 1) in (1, 3, 4)
        and short(buffer, start + 2) == 0
        and word(buffer, start + 4) == length - 8
    )


@bare_inner
def _begins_amqp(buffer: Buffer, start: int) -> bool:
    """Whether AMQP's protocol header stands at `start`: protocol id and version (AMQP 0-9-1, 2.2.4; 1.0, 2.2)."""
    version = word(buffer, start + 4)
    return version in (0x00000901, 0x01010008, 0x01010009, 0x0101000A, 0x00010000, 0x02010000, 0x03010000)


@bare_inner
def _begins_bitcoin(buffer: Buffer, start: int, available: int) -> bool:
    """Whether a message of Bitcoin or a currency like it begins at `start`.

    The network's magic, and a command of small letters and digits padded with NUL (Bitcoin Developer Reference, P2P
    Network, Message Headers).
    """
    if available < 24 or word(buffer, start) not in (
        *(
            0xF9BEB4D9,
            0x0B110907,
            0xFABFB5DA,
            0x0A03CF40,
            0x1C163F28,
        ),  # main, testnet 3, regtest, signet, testnet 4
        *(0xFBC0B6DB, 0xC0C0C0C0, 0xF9BEB4FE),  # Litecoin, Dogecoin, Namecoin
    ):
        return False
    letters = number(0)
    while letters < 12 and (
        97 <= octet(buffer, start + 4 + letters) <= 122 or 48 <= octet(buffer, start + 4 + letters) <= 57
    ):
        letters += 1
    for at in range(start + 4 + letters, start + 16):
        if octet(buffer, at) != 0:
            return False
    return letters >= 2


@bare_inner
def _begins_dcerpc(buffer: Buffer, start: int, available: int, length: int) -> bool:
    """Whether the payload is a DCE/RPC bind or its acknowledgement (C706, 12.6.4.3 and .4).

    Version 5.0 or 5.1, first and last fragment, ASCII and IEEE data, a fragment of the payload's length.
    """
    if available < 28 or octet(buffer, start + 1) > 1 or octet(buffer, start + 2) not in (11, 12, 13):
        return False
    if octet(buffer, start + 3) & 3 != 3 or short(buffer, start + 5) != 0 or octet(buffer, start + 7) != 0:
        return False
    order = octet(buffer, start + 4)
    if order not in (0x00, 0x10):
        return False
    size = little(buffer, start + 8) if order == 0x10 else short(buffer, start + 8)
    return size == length and size >= 24


@bare_inner
def _begins_dnp3(buffer: Buffer, start: int, available: int, length: int) -> bool:
    """Whether a DNP3 data link header with its right checksum begins at `start` (IEEE 1815-2012, 9.2)."""
    if available < 10 or octet(buffer, start + 1) != 0x64 or octet(buffer, start + 2) < 5 or length < 10:
        return False
    remainder = number(0)
    for at in range(start, start + 8):
        remainder ^= octet(buffer, at)
        for _ in range(8):
            remainder = remainder >> 1 ^ (0xA6BC if remainder & 1 else 0)
    return remainder ^ 0xFFFF == little(buffer, start + 8)


@bare_inner
def _after_length(buffer: Buffer, start: int, available: int) -> int:
    """Where the contents of a BER element whose length is at `start` begin (X.690, 8.1.3), from `start`; 0: nowhere."""
    if available < 1:
        return number(0)
    size = octet(buffer, start)
    if size < 0x80:
        return number(1)
    more = size & 0x7F
    return 1 + more if 1 <= more <= 4 and available > 1 + more else number(0)


@bare_inner
def _begins_ldap(buffer: Buffer, start: int, available: int) -> bool:  # noqa: PLR0911 - a step each
    """Whether an LDAP bind, search or extended request begins at `start` (RFC 4511, 4.1.1, 4.2, 4.5 and 4.12)."""
    at = start + 1
    skip = _after_length(buffer, at, start + available - at)
    at += skip
    if (
        skip == 0
        or at + 8 > start + available
        or octet(buffer, at) != 2
        or not 1 <= octet(buffer, at + 1) <= 4
    ):
        return False
    at += 2 + octet(buffer, at + 1)
    if at + 2 > start + available:
        return False
    operation = octet(buffer, at)
    skip = _after_length(buffer, at + 1, start + available - at - 1)
    at += 1 + skip
    if skip == 0 or at + 6 > start + available:
        return False
    if operation == 0x60:  # version 2 or 3, a name, a choice of credentials
        return short(buffer, at) == 0x0201 and 2 <= octet(buffer, at + 2) <= 3 and octet(buffer, at + 3) == 4
    if operation == 0x77:  # the name of the request, as text: 1.
        return octet(buffer, at) == 0x80 and short(buffer, at + 2) == 0x312E
    if operation != 0x63 or octet(buffer, at) != 4 or octet(buffer, at + 1) >= 0x80:
        return False
    at += 2 + octet(buffer, at + 1)  # after the base: the scope, and how to follow aliases
    return (
        at + 6 <= start + available
        and short(buffer, at) == 0x0A01
        and octet(buffer, at + 2) <= 3
        and short(buffer, at + 3) == 0x0A01
        and octet(buffer, at + 5) <= 3
    )


@bare_inner
def _begins_mongodb(buffer: Buffer, start: int, available: int, length: int) -> bool:
    """Whether the payload is one request of MongoDB (MongoDB Wire Protocol, Standard Message Header).

    Length, request id, an answer to nothing, OP_MSG or OP_QUERY; then a body section, or a database's `$cmd`.
    """
    if available < 26 or little_word(buffer, start) != length or little_word(buffer, start + 8) != 0:
        return False
    operation = little_word(buffer, start + 12)
    if operation == 2013:
        return octet(buffer, start + 20) == 0 and little_word(buffer, start + 21) <= length - 21
    return operation == 2004 and little_word(buffer, start + 16) < 256


@bare_inner
def _begins_mqtt(buffer: Buffer, start: int, available: int) -> bool:
    """Whether an MQTT CONNECT packet begins at `start` (MQTT 5.0, 3.1; 3.1 has MQIsdp)."""
    at = start + 1
    while at < start + 4 and octet(buffer, at) & 0x80:
        at += 1
    at += 1
    if at + 7 > start + available:
        return False
    if short(buffer, at) == 4:
        return word(buffer, at + 2) == 0x4D515454 and 3 <= octet(buffer, at + 6) <= 5
    return short(buffer, at) == 6 and word(buffer, at + 2) == 0x4D514973


@bare_inner
def _begins_mysql(buffer: Buffer, start: int, available: int, length: int) -> bool:
    """Whether the payload is MySQL's greeting (MySQL Internals, Protocol::HandshakeV10).

    Its length, number 0, protocol 10, a version that begins with digits and a dot.
    """
    if available < 20 or octet(buffer, start + 3) != 0 or octet(buffer, start + 4) != 10:
        return False
    if little(buffer, start) | octet(buffer, start + 2) << 16 != length - 4:
        return False
    at = start + 5
    while at < start + 8 and 48 <= octet(buffer, at) <= 57:
        at += 1
    return at > start + 5 and octet(buffer, at) == 46


@bare_inner
def _begins_opcua(buffer: Buffer, start: int, length: int) -> bool:
    """Whether the payload is one message of OPC UA's connection protocol (OPC 10000-6, 7.1.2): type, F, its size."""
    kind = word(buffer, start)
    if kind not in (0x48454C46, 0x41434B46, 0x52484546, 0x4F504E46, 0x4552524F):  # HELF ACKF RHEF OPNF ERRF
        return False
    return little_word(buffer, start + 4) == length


@bare_inner
def _begins_pgsql(buffer: Buffer, start: int, available: int, length: int) -> bool:
    """Whether the payload is PostgreSQL's start-up message, or asks for encryption (PostgreSQL, Message Formats)."""
    if word(buffer, start) != length:
        return False
    code = word(buffer, start + 4)
    if length == 8:
        return code in (80877103, 80877104)  # SSLRequest, GSSENCRequest
    if code == 80877102:  # CancelRequest
        return length == 16
    return code in (0x00030000, 0x00030002) and available >= 13 and 97 <= octet(buffer, start + 8) <= 122


@bare_inner
def _begins_redis(buffer: Buffer, start: int, available: int) -> bool:
    """Whether a command to Redis begins at `start`: an array of bulk strings (Redis serialization protocol)."""
    if available < 14:
        return False
    at = start
    for mark in (42, 36):  # * and $
        if octet(buffer, at) != mark:
            return False
        at += 1
        digits = number(0)
        while digits < 3 and 48 <= octet(buffer, at) <= 57:
            at += 1
            digits += 1
        if digits == 0 or octet(buffer, at) != _CARRIAGE_RETURN or octet(buffer, at + 1) != _LINE_FEED:
            return False
        at += 2
    return True


@bare_inner
def _begins_kafka(buffer: Buffer, start: int, available: int, length: int) -> bool:
    """Whether the payload is how a client of Kafka begins (Apache Kafka, Protocol guide, Request Header v1).

    Its length, ApiVersions (18) or Metadata (3), a low version, a number, and the client's name.
    """
    if available < 16 or word(buffer, start) != length - 4 or short(buffer, start + 4) not in (3, 18):
        return False
    named = short(buffer, start + 12)
    return (
        short(buffer, start + 6) <= 15
        and 0 < named <= length - 14
        and 33 <= octet(buffer, start + 14) <= 126
        and 33 <= octet(buffer, start + 15) <= 126
    )


@bare_inner
def _begins_data_in_tpkt(buffer: Buffer, start: int, available: int, length: int) -> bool:
    """Whether the payload is a TPKT with a whole data TPDU of COTP (RFC 1006, 6; RFC 905, 13.7)."""
    return (
        available >= 11
        and short(buffer, start) == 0x0300
        and short(buffer, start + 2) == length
        and short(buffer, start + 4) == 0x02F0
        and octet(buffer, start + 6) == 0x80
    )


@bare_inner
def _recognise_s7comm(buffer: Buffer, start: int, available: int, length: int) -> int:
    """The Signature of a data TPDU: S7comm's or S7comm-plus's (Wireshark's packet-s7comm.c and S7comm-plus plugin).

    S7comm has 32h, a kind of message, nothing, and the lengths of parameters and data. S7comm-plus has 72h, a version
    and the data's length; a trailer like its header follows the last piece.
    """
    magic, kind = octet(buffer, start + 7), octet(buffer, start + 8)
    if magic == 0x72 and kind in (1, 2, 3, 0xFE):
        return _S7COMM_PLUS if length - 11 - short(buffer, start + 9) in (0, 4) else _NONE
    if magic != 0x32 or kind not in (1, 2, 3, 7) or available < 17 or short(buffer, start + 9) != 0:
        return _NONE
    header = 19 if kind in (2, 3) else 17
    told = short(buffer, start + 13) + short(buffer, start + 15)
    return _S7COMM if length == header + told else _NONE


@bare_inner
def _begins_snmp(buffer: Buffer, start: int, available: int) -> bool:
    """Whether an SNMP message begins at `start`.

    It is of version 1 or 2c with a community and a PDU (RFC 1157, 4; RFC 3416, 3), or of version 3 with its global
    data (RFC 3412, 6).
    """
    end = start + available
    skip = _after_length(buffer, start + 1, available - 1)
    at = start + 1 + skip
    if skip == 0 or at + 8 > end or short(buffer, at) != 0x0201:
        return False
    version, kind, size = octet(buffer, at + 2), octet(buffer, at + 3), octet(buffer, at + 4)
    if version == 3:
        return kind == 0x30 and size < 0x80 and octet(buffer, at + 5) == 2 and 1 <= octet(buffer, at + 6) <= 5
    if version > 1 or kind != 4 or size >= 0x80 or at + 5 + size >= end:
        return False
    return 0xA0 <= octet(buffer, at + 5 + size) <= 0xA8


@bare_inner
def _begins_synchrophasor(buffer: Buffer, start: int, available: int, length: int) -> bool:
    """Whether a frame of a phasor measurement unit with its right checksum stands at `start` (IEEE C37.118.2, 6.2)."""
    kind, size = octet(buffer, start + 1), short(buffer, start + 2)
    if kind & 0x80 or kind >> 4 > 5 or not 1 <= kind & 0x0F <= 3 or not 16 <= size <= min(available, length):
        return False
    remainder = number(0xFFFF)
    for at in range(start, start + size - 2):  # CRC-CCITT
        remainder ^= octet(buffer, at) << 8
        for _ in range(8):
            remainder = (remainder << 1 ^ (0x1021 if remainder & 0x8000 else 0)) & 0xFFFF
    return remainder == short(buffer, start + size - 2)


@bare_inner
def _begins_tns(buffer: Buffer, start: int, available: int, length: int) -> bool:
    """Whether the payload is a connect packet of Oracle's TNS, as Wireshark's packet-tns.c has it.

    Length, no checksums, type 1; the version, one it is compatible with, and where the connect data are.
    """
    if available < 34 or short(buffer, start) != length or short(buffer, start + 2) != 0:
        return False
    if octet(buffer, start + 4) != 1 or short(buffer, start + 6) != 0:
        return False
    version, compatible = short(buffer, start + 8), short(buffer, start + 10)
    return 200 <= compatible <= version <= 400 and 34 <= short(buffer, start + 26) <= length


@bare_inner
def _is_dht_message(buffer: Buffer, start: int, available: int, length: int) -> bool:
    """Whether the payload is a message of BitTorrent's hash table (BEP 5).

    A dictionary whose last key, as they are sorted, is `y`: query, response or error.
    """
    if available < length or length < 12 or octet(buffer, start + 2) != 58:  # d1: or d2:ip
        return False
    end = start + length
    return (
        49 <= octet(buffer, start + 1) <= 50
        and word(buffer, end - 7) == 0x313A7931  # 1:y1
        and octet(buffer, end - 3) == 58
        and octet(buffer, end - 2) in (113, 114, 101)  # q, r, e
        and octet(buffer, end - 1) == 101
    )
