"""Which decoder turns a dataset's layers into units: `fields` needs no code, the others have a module each."""

from producers.decoders.base import Decoder
from producers.decoders.datasets.amqp import AmqpDecoder
from producers.decoders.datasets.anomaly import AnomalyDecoder
from producers.decoders.datasets.arp import ArpDecoder
from producers.decoders.datasets.bacnet import BacnetDecoder
from producers.decoders.datasets.bittorrent import BittorrentDecoder
from producers.decoders.datasets.cassandra import CassandraDecoder
from producers.decoders.datasets.dcerpc import DcerpcDecoder
from producers.decoders.datasets.dhcpv6 import Dhcpv6Decoder
from producers.decoders.datasets.dnp3 import Dnp3Decoder
from producers.decoders.datasets.dns import DnsDecoder, LlmnrDecoder, MdnsDecoder
from producers.decoders.datasets.enip import EnipDecoder
from producers.decoders.datasets.ftp import FtpDecoder
from producers.decoders.datasets.http import HttpDecoder
from producers.decoders.datasets.icmp import IcmpDecoder
from producers.decoders.datasets.iec104 import Iec104Decoder
from producers.decoders.datasets.igmp import IgmpDecoder
from producers.decoders.datasets.ike import IkeDecoder
from producers.decoders.datasets.imap import ImapDecoder
from producers.decoders.datasets.irc import IrcDecoder
from producers.decoders.datasets.kafka import KafkaDecoder
from producers.decoders.datasets.krb5 import Krb5Decoder
from producers.decoders.datasets.ldap import LdapDecoder
from producers.decoders.datasets.memcached import MemcachedDecoder
from producers.decoders.datasets.modbus import ModbusDecoder
from producers.decoders.datasets.mongodb import MongodbDecoder
from producers.decoders.datasets.mqtt import MqttDecoder
from producers.decoders.datasets.mysql import MysqlDecoder
from producers.decoders.datasets.nbns import NbnsDecoder
from producers.decoders.datasets.nfs import NfsDecoder
from producers.decoders.datasets.ntlm import NtlmDecoder
from producers.decoders.datasets.ntp import NtpDecoder
from producers.decoders.datasets.opcua import OpcuaDecoder
from producers.decoders.datasets.pgsql import PgsqlDecoder
from producers.decoders.datasets.pop3 import Pop3Decoder
from producers.decoders.datasets.profinet import ProfinetDecoder
from producers.decoders.datasets.quic import QuicDecoder
from producers.decoders.datasets.radius import RadiusDecoder
from producers.decoders.datasets.rdp import RdpDecoder
from producers.decoders.datasets.redis import RedisDecoder
from producers.decoders.datasets.rfb import RfbDecoder
from producers.decoders.datasets.routing import BgpDecoder, OspfDecoder
from producers.decoders.datasets.rtp import RtpDecoder
from producers.decoders.datasets.s7comm import S7commDecoder
from producers.decoders.datasets.sip import SipDecoder
from producers.decoders.datasets.smb import SmbDecoder
from producers.decoders.datasets.smtp import SmtpDecoder
from producers.decoders.datasets.snmp import SnmpDecoder
from producers.decoders.datasets.socks import SocksDecoder
from producers.decoders.datasets.ssdp import SsdpDecoder
from producers.decoders.datasets.ssh import SshDecoder
from producers.decoders.datasets.stun import StunDecoder
from producers.decoders.datasets.syslog import SyslogDecoder
from producers.decoders.datasets.tds import TdsDecoder
from producers.decoders.datasets.telnet import TelnetDecoder
from producers.decoders.datasets.tftp import TftpDecoder
from producers.decoders.datasets.thrift import ThriftDecoder
from producers.decoders.datasets.tls import TlsDecoder
from producers.decoders.datasets.vpn import OpenvpnDecoder, WireguardDecoder
from schemas.errors import SchemaError
from schemas.model import Dataset

DECODERS: dict[str, type[Decoder]] = {
    "fields": Decoder,
    "amqp": AmqpDecoder,
    "anomaly": AnomalyDecoder,
    "arp": ArpDecoder,
    "bacnet": BacnetDecoder,
    "bgp": BgpDecoder,
    "bittorrent": BittorrentDecoder,
    "cassandra": CassandraDecoder,
    "dcerpc": DcerpcDecoder,
    "dhcpv6": Dhcpv6Decoder,
    "dnp3": Dnp3Decoder,
    "dns": DnsDecoder,
    "enip": EnipDecoder,
    "ftp": FtpDecoder,
    "http": HttpDecoder,
    "icmp": IcmpDecoder,
    "iec104": Iec104Decoder,
    "igmp": IgmpDecoder,
    "ike": IkeDecoder,
    "imap": ImapDecoder,
    "irc": IrcDecoder,
    "kafka": KafkaDecoder,
    "krb5": Krb5Decoder,
    "ldap": LdapDecoder,
    "llmnr": LlmnrDecoder,
    "mdns": MdnsDecoder,
    "memcached": MemcachedDecoder,
    "modbus": ModbusDecoder,
    "mongodb": MongodbDecoder,
    "mqtt": MqttDecoder,
    "mysql": MysqlDecoder,
    "nbns": NbnsDecoder,
    "nfs": NfsDecoder,
    "ntlm": NtlmDecoder,
    "ntp": NtpDecoder,
    "opcua": OpcuaDecoder,
    "openvpn": OpenvpnDecoder,
    "ospf": OspfDecoder,
    "pgsql": PgsqlDecoder,
    "pop3": Pop3Decoder,
    "profinet": ProfinetDecoder,
    "quic": QuicDecoder,
    "radius": RadiusDecoder,
    "rdp": RdpDecoder,
    "redis": RedisDecoder,
    "rfb": RfbDecoder,
    "rtp": RtpDecoder,
    "s7comm": S7commDecoder,
    "sip": SipDecoder,
    "smb": SmbDecoder,
    "smtp": SmtpDecoder,
    "snmp": SnmpDecoder,
    "socks": SocksDecoder,
    "ssdp": SsdpDecoder,
    "ssh": SshDecoder,
    "stun": StunDecoder,
    "syslog": SyslogDecoder,
    "tds": TdsDecoder,
    "telnet": TelnetDecoder,
    "tftp": TftpDecoder,
    "thrift": ThriftDecoder,
    "tls": TlsDecoder,
    "wireguard": WireguardDecoder,
}


def decoder_for(dataset: Dataset) -> Decoder:
    """The decoder of a dataset; raises SchemaError where the name in its YAML is unknown."""
    if dataset.decoder not in DECODERS:
        known = ", ".join(sorted(DECODERS))
        raise SchemaError(f"{dataset.name}.yaml: decoder: {dataset.decoder!r} is none of {known}")
    return DECODERS[dataset.decoder](dataset)
