"""Scenes of brokers, calls and remote procedures: Kafka, MQTT, AMQP, SIP with RTP, NFS, RADIUS, Thrift."""

from __future__ import annotations

import secrets
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from samples.record import scenes_sip
from samples.record import servers_rpc as servers
from samples.record.case import COUNTS, Case, Count
from samples.record.lab import Lab, Tap, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CLIENT, SERVER = "192.0.2.101", "192.0.2.50"


def _from_pypi(lab: Lab, package: str) -> Path:
    """A package of PyPI in a folder of the laboratory's own."""
    target = lab.folder / package
    pip = (sys.executable, "-m", "pip", "install", "-q", "--target", str(target), package)
    subprocess.run(pip, check=True, capture_output=True)
    return target


def mqtt(lab: Lab, out: Path) -> Case:
    """All versions and qualities of service, wrong passwords, a will, pings, many messages in one segment."""
    server, client = lab.host("broker1", f"{SERVER}/24"), lab.host("sensor1", f"{CLIENT}/24")
    password = servers.mosquitto(server, "meter")
    login = ("-h", SERVER, "-u", "meter", "-P", password)
    lines = client.write("lines", "".join(f"reading {number}\n" for number in range(8)))
    with Tap(lab, out):
        listener = client.start(
            *("mosquitto_sub", "-V", "mqttv5", *login, "-i", "watcher", "-q", "2", "-k", "5"),
            *("-t", "site/+/temperature", "-t", "site/alarm/#", "-U", "site/old"),
            *("--will-topic", "site/watcher", "--will-payload", "gone", "--will-retain"),
        )
        time.sleep(1)
        publish = ("mosquitto_pub", *login, "-t", "site/hall/temperature")
        client.run(*publish, "-V", "mqttv5", "-i", "five", "-q", "0", "-m", "20.5")
        client.run(*publish, "-V", "mqttv311", "-i", "four", "-q", "1", "-m", "20.7", "-r")
        client.run(*publish, "-V", "mqttv31", "-i", "three", "-q", "2", "-m", "20.9")
        client.run("sh", "-c", f"mosquitto_pub {' '.join(login)} -i many -t site/log -q 1 -l < {lines}")
        for version, code in (("mqttv5", 135), ("mqttv311", 5)):
            wrong = ("-h", SERVER, "-u", "meter", "-P", "guess", "-V", version, "-i", "stranger")
            client.run("mosquitto_pub", *wrong, "-t", "site/alarm", "-m", "x", ok=(code, 5, 1))
        time.sleep(6)  # a ping
        lab.stop(listener)
    return Case(
        title="MQTT 3.1, 3.1.1 and 5: all qualities of service, a will, wrong passwords, several packets in a segment",
        recorded="mosquitto_sub and mosquitto_pub with a Mosquitto broker that asks for a password.",
        packages=("mosquitto", "mosquitto-clients"),
        counted=("mqtt", "flow"),
        contains=[
            {
                "event.dataset": "network_traffic.mqtt",
                "netflight.mqtt.client_id": "watcher",
                "user.name": "meter",
            }
        ],
    )


AMQP_CLIENT = """\
import sys, time, pika
host, password = sys.argv[1:]
def connect(secret):
    login = pika.PlainCredentials("courier", secret)
    return pika.BlockingConnection(pika.ConnectionParameters(host, credentials=login, connection_attempts=1))
connection = connect(password)
channel = connection.channel()
channel.exchange_declare("orders", exchange_type="topic", durable=True)
channel.queue_declare("north", durable=True)
channel.queue_bind("north", "orders", routing_key="north.#")
channel.confirm_delivery()
about = pika.BasicProperties(content_type="application/json", delivery_mode=2, message_id="m-1", correlation_id="c-1")
channel.basic_publish("orders", "north.new", b'{"order": 1}', about)
channel.basic_publish("orders", "north.big", b"x" * 5000)
try:
    channel.basic_publish("orders", "south.new", b"nobody", mandatory=True)
except pika.exceptions.UnroutableError:
    pass
print(channel.basic_get("north"))
got = []
def take(channel, method, properties, body):
    got.append(body)
    channel.basic_ack(method.delivery_tag)
    channel.stop_consuming()
channel.basic_qos(prefetch_count=1)
channel.basic_consume("north", take, consumer_tag="desk-1")
channel.start_consuming()
channel.queue_purge("north")
channel.queue_delete("north", if_unused=True)
try:
    channel.queue_declare("missing", passive=True)
except pika.exceptions.ChannelClosedByBroker:
    pass
connection.close()
try:
    connect("guess")
except pika.exceptions.AMQPConnectionError:
    pass
"""


def amqp(lab: Lab, out: Path) -> Case:
    """An exchange, a queue, messages there and back, refusals."""
    server, client = lab.host("broker1", f"{SERVER}/24"), lab.host("client1", f"{CLIENT}/24")
    password = servers.rabbitmq(server, "courier")
    script = client.write("client.py", AMQP_CLIENT)
    with Tap(lab, out):
        client.run("/usr/bin/python3", str(script), SERVER, password)
    return Case(
        title="AMQP 0-9-1: declarations, messages published, returned and consumed, a missing queue, a refused login",
        recorded="pika asked a RabbitMQ broker; the second login has a wrong password.",
        packages=("rabbitmq-server", "python3-pika"),
        counted=("amqp", "flow"),
        contains=[
            {"event.dataset": "network_traffic.amqp", "amqp.queue": "north", "amqp.exchange": "orders"}
        ],
    )


STATIONS = """NAS-Identifier = "nas1.example.com", NAS-Port = 7,
Calling-Station-Id = "02-00-5E-00-53-99", Called-Station-Id = "02-00-5E-00-53-01:office\""""
RADIUS_ACCOUNTING = """\
Acct-Status-Type = {status}
Acct-Session-Id = "5f2a"
User-Name = "alice"
NAS-IP-Address = 192.0.2.101
NAS-Port = 7
Framed-IP-Address = 198.51.100.77
Acct-Session-Time = {seconds}
Acct-Input-Octets = {octets}
Acct-Output-Octets = {octets}
Called-Station-Id = "02-00-5E-00-53-01:office"
Calling-Station-Id = "02-00-5E-00-53-99"
"""


def radius(lab: Lab, out: Path) -> Case:
    """Accepted and rejected, PAP and CHAP, accounting, a server that is not there."""
    server, client = lab.host("radius1", f"{SERVER}/24"), lab.host("nas1", f"{CLIENT}/24")
    password, secret = servers.radius(server)
    logins = (
        f'User-Name = "alice", User-Password = "{password}", {STATIONS}',
        f'User-Name = "alice", CHAP-Password = "{password}", NAS-IP-Address = 192.0.2.101, Service-Type = Framed-User',
        'User-Name = "mallory", User-Password = "guess", NAS-IP-Address = 192.0.2.101',
    )
    with Tap(lab, out):
        for number, text in enumerate(logins):
            asked = client.write(f"login{number}", text)
            client.run("radclient", "-f", str(asked), f"{SERVER}:1812", "auth", secret, ok=(0, 1))
        for status, seconds, octets in (("Start", 0, 0), ("Interim-Update", 60, 4000), ("Stop", 90, 9000)):
            text = RADIUS_ACCOUNTING.format(status=status, seconds=seconds, octets=octets)
            asked = client.write(status, text)
            client.run("radclient", "-f", str(asked), f"{SERVER}:1813", "acct", secret)
        silent = client.write("silent", 'User-Name = "alice", User-Password = "x"')
        client.run(
            "radclient", "-r", "2", "-t", "1", "-f", str(silent), f"{SERVER}:1645", "auth", secret, ok=(1,)
        )
    return Case(
        title="RADIUS: logins accepted and rejected, accounting from start to stop, a request nobody answers",
        recorded="radclient asked FreeRADIUS; the last request went to a port where nobody listens.",
        packages=("freeradius", "freeradius-utils"),
        counted=("radius", "flow"),
        contains=[{"event.dataset": "network_traffic.radius", "user.name": "mallory"}],
    )


def voip(lab: Lab, out: Path) -> Case:
    """A registration, a call with sound, a call to nobody."""
    server, client = lab.host("pbx1", f"{SERVER}/24"), lab.host("phone1", f"{CLIENT}/24")
    password = secrets.token_urlsafe(9)
    with Tap(lab, out):
        for name in ("register", "call", "nobody"):
            asked, answered = (
                host.write(f"{name}.xml", scenes_sip.scenario(f"{side}_{name}", password))
                for host, side in ((client, "caller"), (server, "called"))
            )
            common = ("-m", "1", "-p", "5060", "-mp", "6000", "-nostdin", "-timeout", "20")
            called = server.start("sipp", "-sf", str(answered), "-i", SERVER, "-rtp_echo", *common)
            wait_for(lambda: server.listening(5060, "udp"), "sipp")
            client.run("sipp", "-sf", str(asked), "-i", CLIENT, *common, f"{SERVER}:5060")
            lab.stop(called)
    return Case(
        title="SIP and RTP: a registration with a digest, a call with sound, a call to nobody",
        recorded="sipp with sipp, with scenarios of our own; the sound is sipp's g711a.pcap, echoed.",
        packages=("sip-tester",),
        counted=("sip", "rtp"),
        contains=[{"event.dataset": "network_traffic.sip", "sip.method": "INVITE", "sip.code": 404}],
    )


def nfs(lab: Lab, out: Path) -> Case:
    """Version 3 by mount and version 4 by compounds: listing, reading, writing, removing, what is not there."""
    server, client = lab.host("files1", f"{SERVER}/24"), lab.host("client1", f"{CLIENT}/24")
    servers.nfs(server)
    note = client.write("log.txt", "position fixed\n" * 20)
    url = f"nfs://{SERVER}/export"
    with Tap(lab, out):
        for version in ("3", "4"):
            ask = f"?version={version}&uid=1000&gid=1000"
            client.run("nfs-ls", f"{url}{ask}")
            client.run("nfs-cat", f"{url}/plan.txt{ask}")
            client.run("nfs-cp", str(note), f"{url}/log{version}.txt{ask}")
            client.run("nfs-cat", f"{url}/missing.txt{ask}", ok=None)
    return Case(
        title="NFS 3 and 4.0: port mapper, mount, directories, a file read and one written, one that is missing",
        recorded="nfs-ls, nfs-cat and nfs-cp of libnfs with NFS-Ganesha and rpcbind.",
        packages=("nfs-ganesha", "nfs-ganesha-vfs", "libnfs-utils", "rpcbind"),
        counted=("nfs", "flow"),
        contains=[{"event.dataset": "network_traffic.nfs", "nfs.version": 4}],
    )


THRIFT_CLIENT = """\
import sys
import thriftpy2
from thriftpy2.rpc import make_client
from thriftpy2.transport import TBufferedTransportFactory, TFramedTransportFactory
idl = thriftpy2.load("recorder.thrift", module_name="recorder_thrift")
transport = TFramedTransportFactory() if sys.argv[3] == "framed" else TBufferedTransportFactory()
client = make_client(idl.Recorder, sys.argv[1], int(sys.argv[2]), trans_factory=transport)
client.get("morning")
try:
    client.get("lost")
except idl.NoSuchTrack:
    pass
client.count({"north": 2, "south": 3})
client.note("landed")
client.close()
"""


def thrift(lab: Lab, out: Path) -> Case:
    """Calls, an exception and a oneway call, framed and unframed."""
    server, client = lab.host("app1", f"{SERVER}/24"), lab.host("client1", f"{CLIENT}/24")
    programs = _from_pypi(lab, f"thriftpy2=={THRIFTPY2}")
    servers.thrift(server, programs)
    client.write("recorder.thrift", servers.THRIFT_IDL)
    script = client.write("client.py", THRIFT_CLIENT)
    with Tap(lab, out):
        for port, transport in servers.THRIFT_PORTS:
            argv = ("python3", str(script), SERVER, str(port), transport)
            client.run("env", f"PYTHONPATH={programs}", *argv)
    return Case(
        title="Thrift: calls, an exception, a oneway call; framed and unframed",
        recorded=f"A client and servers of thriftpy2 {THRIFTPY2} (PyPI).",
        packages=("tshark",),
        counted=("thrift", "flow"),
        contains=[{"event.dataset": "network_traffic.thrift", "thrift.method": "get"}],
    )


THRIFTPY2 = "0.5.2"

KAFKA_CLIENT = """\
import sys
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
topic = sys.argv[2]
where = {"bootstrap.servers": sys.argv[1], "client.id": "meter-7", "log_level": 0}
admin = AdminClient(where)
for future in admin.create_topics([NewTopic(topic, 2, 1), NewTopic("bad name!", 1, 1)]).values():
    try:
        future.result(10)
    except KafkaException:
        pass
producer = Producer({**where, "linger.ms": 5, "acks": "all"})
for number in range(10):
    producer.produce(topic, value=f"reading {number}".encode(), key=b"hall", partition=number % 2)
producer.flush(10)
consumer = Consumer({**where, "group.id": "display", "auto.offset.reset": "earliest", "fetch.wait.max.ms": 200})
consumer.subscribe([topic])
seen = 0
while seen < 10:
    message = consumer.poll(5)
    seen += message is not None and message.error() is None
consumer.commit(asynchronous=False)
consumer.close()
print(admin.list_topics("missing", 5).topics)
print(admin.list_consumer_groups().result(5).valid)
for future in admin.delete_topics([topic]).values():
    future.result(10)
"""


OLD_CLIENT = "2.0.2"  # the newest tshark of Debian 12 knows none of the versions that later ones speak


def kafka(lab: Lab, out: Path) -> Case:
    """Topics made and deleted, messages produced and consumed by a group."""
    server, client = lab.host("kafka1", f"{SERVER}/24"), lab.host("client1", f"{CLIENT}/24")
    servers.kafka(server, SERVER)
    old = _from_pypi(lab, f"confluent-kafka=={OLD_CLIENT}")
    script = client.write("client.py", KAFKA_CLIENT)
    with Tap(lab, out):
        client.run("env", f"PYTHONPATH={old}", sys.executable, str(script), f"{SERVER}:9092", "readings")
        client.run(sys.executable, str(script), f"{SERVER}:9092", "tracks")
    return Case(
        title="Kafka: topics made and deleted, ten messages produced and consumed by a group, names that are refused",
        recorded=f"Clients of confluent-kafka {OLD_CLIENT} and 2.16.1 (PyPI), one after the other, with the Kafka "
        "4.2.0 of cockpit/stack (Maven).",
        packages=("tshark",),
        counted=("kafka", "flow"),
        contains=[{"event.dataset": "network_traffic.kafka", "netflight.kafka.group": "display"}],
    )


SCENES: dict[str, Callable[[Lab, Path], Case]] = {
    "mqtt": mqtt,
    "amqp": amqp,
    "radius": radius,
    "voip": voip,
    "nfs": nfs,
    "thrift": thrift,
    "kafka": kafka,
}
COUNTS.update(
    {
        "kafka": (Count("kafka", each=("kafka.request_key",)),),
        "mqtt": (Count("mqtt", each=("mqtt.msgtype",), values=("1", "3", "8", "10", "12", "14", "15")),),
        "amqp": (
            Count("amqp", each=("amqp.method.method",), values=tuple(str(n) for n in range(10, 130, 10))),
        ),
        "sip": (Count("sip.Method && sip.resend == 0"),),
        "rtp": (Count("rtp", ("ip.src", "udp.srcport", "udp.dstport", "rtp.ssrc")),),
        "nfs": (Count("rpc", each=("rpc.msgtyp",), values=("0",)),),
        "radius": (
            Count("radius.req && !radius.dup", ("ip.src", "udp.srcport", "udp.dstport", "radius.id")),
        ),
        "thrift": (Count("thrift", each=("thrift.mtype",), values=("0x01", "0x04")),),
    }
)
