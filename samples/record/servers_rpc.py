"""Real servers of brokers, calls and remote procedures for the laboratory's hosts."""

from __future__ import annotations

import base64
import secrets
import shutil
import time
import uuid
from functools import partial
from typing import TYPE_CHECKING

from cockpit.stack.fetch import distribution
from cockpit.stack.machine import find_java
from samples.record.lab import wait_for

if TYPE_CHECKING:
    from pathlib import Path

    from samples.record.lab import Host

MOSQUITTO_CONF = """\
listener 1883
allow_anonymous false
password_file {folder}/passwords
user root
"""


def mosquitto(host: Host, user: str) -> str:
    """An MQTT broker on 1883 with one user; returns the user's password."""
    password = secrets.token_urlsafe(9)
    conf = host.write("mosquitto.conf", MOSQUITTO_CONF.format(folder=host.folder))
    host.run("mosquitto_passwd", "-b", "-c", str(host.folder / "passwords"), user, password)
    host.start("mosquitto", "-c", str(conf))
    wait_for(lambda: host.listening(1883), "mosquitto")
    return password


RABBITMQ = """\
export HOME={folder} RABBITMQ_NODENAME=rabbit@localhost RABBITMQ_MNESIA_BASE={folder} RABBITMQ_LOG_BASE={folder}
export RABBITMQ_CONFIG_FILE={folder}/rabbitmq RABBITMQ_ENABLED_PLUGINS_FILE={folder}/plugins RABBITMQ_LOGS=-
exec /usr/lib/rabbitmq/bin/rabbitmq-server
"""


def rabbitmq(host: Host, user: str) -> str:
    """RabbitMQ on 5672 with one user; returns the user's password."""
    password = secrets.token_urlsafe(9)
    settings = f"default_user = {user}\ndefault_pass = {password}\nloopback_users = none\n"
    host.write("rabbitmq.conf", settings)
    host.write("plugins", "[].")
    script = host.write("rabbitmq.sh", RABBITMQ.format(folder=host.folder), 0o755)
    host.start("sh", str(script))
    wait_for(lambda: host.listening(5672), "rabbitmq-server", 90)
    return password


RADIUSD_CONF = """\
name = radiusd
prefix = /usr
libdir = /usr/lib/freeradius
raddbdir = {folder}
logdir = {folder}
run_dir = {folder}
max_requests = 1024
client lan {{
  ipaddr = 192.0.2.0/24
  secret = {secret}
}}
modules {{
  pap {{ }}
  chap {{ }}
  files {{ usersfile = {folder}/users }}
  always ok {{ rcode = ok }}
}}
server default {{
  listen {{
    type = auth
    ipaddr = *
    port = 1812
  }}
  listen {{
    type = acct
    ipaddr = *
    port = 1813
  }}
  authorize {{
    chap
    files
    pap
  }}
  authenticate {{
    Auth-Type PAP {{
      pap
    }}
    Auth-Type CHAP {{
      chap
    }}
  }}
  accounting {{
    ok
  }}
}}
"""
RADIUS_USERS = """\
alice Cleartext-Password := "{password}"
      Service-Type = Framed-User, Framed-Protocol = PPP, Framed-IP-Address = 198.51.100.77,
      Session-Timeout = 3600, Class = 0x73746166, Reply-Message = "Hello alice"
DEFAULT Auth-Type := Reject
      Reply-Message = "Nobody of that name"
"""


def radius(host: Host) -> tuple[str, str]:
    """FreeRADIUS on 1812 and 1813 that knows alice; returns her password and the shared secret."""
    password, secret = secrets.token_urlsafe(9), secrets.token_urlsafe(9)
    host.write("radiusd.conf", RADIUSD_CONF.format(folder=host.folder, secret=secret))
    host.write("users", RADIUS_USERS.format(password=password))
    shutil.copytree("/usr/share/freeradius", host.folder / "dictionaries", dirs_exist_ok=True)
    host.write("dictionary", f"$INCLUDE {host.folder}/dictionaries/dictionary\n")
    host.start("freeradius", "-f", "-l", "stdout", "-d", str(host.folder))
    wait_for(lambda: host.listening(1812, "udp"), "freeradius")
    return password, secret


GANESHA_CONF = """\
NFS_CORE_PARAM {{
  Protocols = 3, 4;
  Enable_NLM = false;
  Enable_RQUOTA = false;
  Bind_addr = 0.0.0.0;
  mount_path_pseudo = true;
  allow_set_io_flusher_fail = true;
}}
NFSv4 {{ RecoveryBackend = fs_ng; RecoveryRoot = "{folder}/recovery"; Graceless = true; }}
EXPORT {{
  Export_Id = 1;
  Path = /srv/export;
  Pseudo = /export;
  Access_Type = RW;
  Squash = no_root_squash;
  SecType = sys;
  FSAL {{ name = VFS; }}
}}
"""


NFS_SERVER = """\
set -e
mount -t tmpfs -o size=1m tmpfs /srv  # seen by this program alone, and its handles say nothing of this machine's disks
mkdir /srv/export
echo "all quiet" > /srv/export/notes.txt
yes "steer west" | head -n 40 > /srv/export/plan.txt
chmod 777 /srv/export
exec ganesha.nfsd -F -f {folder}/ganesha.conf -L {folder}/ganesha.txt -p {folder}/ganesha.pid
"""


def nfs(host: Host) -> None:
    """Run rpcbind and NFS-Ganesha, which exports /srv/export with two files."""
    (host.folder / "recovery").mkdir()
    host.write("ganesha.conf", GANESHA_CONF.format(folder=host.folder))
    host.start("rpcbind", "-f", "-w")
    wait_for(lambda: host.listening(111), "rpcbind")
    script = host.write("nfs.sh", NFS_SERVER.format(folder=host.folder), 0o755)
    host.start("sh", str(script))
    wait_for(lambda: host.listening(2049), "nfs-ganesha", 60)


THRIFT_IDL = """\
exception NoSuchTrack { 1: string name, 2: i32 code }
struct Track { 1: string name, 2: i32 points, 3: list<i32> altitudes, 4: optional bool closed }
service Recorder {
  Track get(1: string name) throws (1: NoSuchTrack missing),
  i32 count(1: map<string, i32> by),
  oneway void note(1: string text),
}
"""
THRIFT_SERVER = """\
import sys
import thriftpy2
from thriftpy2.rpc import make_server
from thriftpy2.transport import TBufferedTransportFactory, TFramedTransportFactory
idl = thriftpy2.load("recorder.thrift", module_name="recorder_thrift")
class Handler:
    def get(self, name):
        if name == "lost":
            raise idl.NoSuchTrack(name=name, code=404)
        return idl.Track(name=name, points=3, altitudes=[100, 250, 90], closed=True)
    def count(self, by):
        return sum(by.values())
    def note(self, text):
        pass
framed = sys.argv[2] == "framed"
transport = TFramedTransportFactory() if framed else TBufferedTransportFactory()
make_server(idl.Recorder, Handler(), "0.0.0.0", int(sys.argv[1]), trans_factory=transport, client_timeout=None).serve()
"""


def thrift(host: Host, programs: Path) -> None:
    """The service of THRIFT_IDL, by thriftpy2 in the folder `programs`: framed and unframed."""
    host.write("recorder.thrift", THRIFT_IDL)
    script = host.write("server.py", THRIFT_SERVER)
    for port, transport in THRIFT_PORTS:
        argv = ("python3", str(script), str(port), transport)
        host.start("env", f"PYTHONPATH={programs}", *argv)
        wait_for(partial(host.listening, port), "the Thrift server")


THRIFT_PORTS = ((9090, "framed"), (9091, "buffered"))

KAFKA_OF_A_HOST = """\
process.roles=broker,controller
node.id=1
listeners=BROKER://0.0.0.0:9092,CONTROLLER://127.0.0.1:9093
advertised.listeners=BROKER://{address}:9092
listener.security.protocol.map=BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=BROKER
controller.listener.names=CONTROLLER
controller.quorum.bootstrap.servers=127.0.0.1:9093
log.dirs={folder}/data
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
group.initial.rebalance.delay.ms=0
"""


def kafka(host: Host, address: str) -> None:
    """One node of the Kafka that `./netflight up` fetches, on port 9092 of the host's address."""
    programs = distribution(lambda _: None).kafka
    conf = host.write("server.properties", KAFKA_OF_A_HOST.format(address=address, folder=host.folder))
    java = (str(find_java() / "bin" / "java"), "-Xmx512m", "-XX:TieredStopAtLevel=1", "-cp", f"{programs}/*")
    cluster = base64.urlsafe_b64encode(uuid.UUID(int=0x6E65_7466).bytes).decode().rstrip("=")
    tool = ("kafka.tools.StorageTool", "format", "--standalone", "--cluster-id", cluster)
    host.run(*java, *tool, "--config", str(conf))
    host.start(*java, "kafka.Kafka", str(conf))
    wait_for(lambda: host.listening(9092), "Kafka", 60)
    time.sleep(5)  # it listens before it is ready
