"""Real database servers for the laboratory's hosts, each with its data in the host's own folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from samples.record.lab import LabError, wait_for

if TYPE_CHECKING:
    from samples.record.lab import Host

PASSWORD = "correct-horse-7"  # noqa: S105  # of servers that live for a minute
POSTGRES = Path("/usr/lib/postgresql/15/bin")

MYSQL_SETUP = f"""\
CREATE DATABASE shop;
CREATE TABLE shop.items (id INT PRIMARY KEY AUTO_INCREMENT, name VARCHAR(200), price DECIMAL(8,2));
CREATE USER app IDENTIFIED BY '{PASSWORD}';
GRANT ALL ON *.* TO app WITH GRANT OPTION;
"""


def mysql(host: Host) -> None:
    """MariaDB on port 3306 with the database `shop` and the user `app`."""
    data = host.folder / "mysql"
    setup = host.write("setup.sql", MYSQL_SETUP)
    host.folder.chmod(0o755)
    host.run("install", "-d", "-o", "mysql", str(data))
    host.run(
        *("mariadb-install-db", "--user=mysql", f"--datadir={data}", "--skip-test-db"),
        *("--auth-root-authentication-method=normal",),
    )
    host.start(
        *("mariadbd", "--no-defaults", "--user=mysql", f"--datadir={data}", "--bind-address=0.0.0.0"),
        *(f"--socket={data}/s", f"--pid-file={data}/pid", f"--init-file={setup}", "--skip-name-resolve"),
    )
    wait_for(lambda: host.listening(3306), "mariadbd", 60)


PGSQL_SETUP = f"""\
CREATE USER app PASSWORD '{PASSWORD}';
CREATE DATABASE shop OWNER app;
"""
PG_HBA = """\
local all all trust
host all app 192.0.2.101/32 scram-sha-256
host all app 192.0.2.102/32 password
"""


def pgsql(host: Host) -> None:
    """PostgreSQL on port 5432: SCRAM for one client, a password in clear for the other."""
    data = host.folder / "pgsql"
    host.run("install", "-d", "-o", "postgres", "-m", "0700", str(data))

    def as_postgres(*argv: str) -> list[str]:
        return ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", *argv]

    host.run(*as_postgres(str(POSTGRES / "initdb"), "-D", str(data), "--auth=trust", "-E", "UTF8"))
    (data / "pg_hba.conf").write_text(PG_HBA)
    options = ("-c", "listen_addresses=*", "-c", f"unix_socket_directories={data}", "-c", "fsync=off")
    host.start(*as_postgres(str(POSTGRES / "postgres"), "-D", str(data), *options))
    wait_for(lambda: host.listening(5432), "postgres", 60)
    setup = host.write("setup.sql", PGSQL_SETUP)
    host.run("psql", "-q", "-h", str(data), "-U", "postgres", "-f", str(setup))


def redis(host: Host) -> None:
    """Redis on port 6379 with a password for the default user and a user `app`."""
    text = f'bind 0.0.0.0\nsave ""\nrequirepass {PASSWORD}\nuser app on >{PASSWORD} ~* &* +@all\n'
    host.start("redis-server", str(host.write("redis.conf", text)))
    wait_for(lambda: host.listening(6379), "redis-server")


def memcached(host: Host) -> None:
    """Run memcached on port 11211, TCP and UDP."""
    host.start("memcached", "-u", "nobody", "-U", "11211", "-l", "0.0.0.0")  # noqa: S104  # of a host of its own
    wait_for(lambda: host.listening(11211) and host.listening(11211, "udp"), "memcached")


MONGODB_MAIN = """\
import de.bwaldvogel.mongo.MongoServer;
import de.bwaldvogel.mongo.backend.memory.MemoryBackend;
public class Main {
  public static void main(String[] arguments) {
    new MongoServer(new MemoryBackend()).bind("0.0.0.0", 27017);
  }
}
"""


def mongodb(host: Host) -> None:
    """mongo-java-server on port 27017, from the jars in the folder that NETFLIGHT_MONGODB names."""
    main = host.write("Main.java", MONGODB_MAIN)
    host.start("java", "-cp", f"{_jars('NETFLIGHT_MONGODB')}/*", str(main))
    wait_for(lambda: host.listening(27017), "mongo-java-server", 60)


CASSANDRA_YAML = """\
cluster_name: Example
partitioner: org.apache.cassandra.dht.Murmur3Partitioner
commitlog_sync: periodic
commitlog_sync_period: 10000ms
listen_address: {address}
rpc_address: {address}
endpoint_snitch: SimpleSnitch
authenticator: PasswordAuthenticator
authorizer: AllowAllAuthorizer
num_tokens: 1
data_file_directories: [{folder}/data]
commitlog_directory: {folder}/commitlog
saved_caches_directory: {folder}/caches
hints_directory: {folder}/hints
cdc_raw_directory: {folder}/cdc
seed_provider:
  - class_name: org.apache.cassandra.locator.SimpleSeedProvider
    parameters: [{{seeds: "{address}"}}]
"""


# What Cassandra 4.1 looks into of a Java that it does not know yet.
OPENED = (
    *(f"java.{name}" for name in ("io", "lang", "lang.invoke", "lang.module", "lang.ref", "lang.reflect")),
    *(
        f"java.{name}"
        for name in ("math", "net", "nio", "nio.charset", "nio.file", "security", "text", "time")
    ),
    *(f"java.util{name}" for name in ("", ".concurrent", ".concurrent.atomic", ".concurrent.locks")),
    *(f"java.util.{name}" for name in ("function", "regex")),
    *(f"jdk.internal.{name}" for name in ("loader", "math", "misc", "module", "ref")),
    "sun.nio.ch",
)
EXPORTED = (
    *("java.base/jdk.internal.misc", "java.base/jdk.internal.ref", "java.base/sun.nio.ch"),
    *("java.rmi/sun.rmi.registry", "java.rmi/sun.rmi.server", "java.rmi/sun.rmi.transport.tcp"),
    *("java.sql/java.sql", "java.management.rmi/com.sun.jmx.remote.internal.rmi"),
)


def cassandra(host: Host, address: str) -> None:
    """Apache Cassandra on port 9042, from the jars in the folder that NETFLIGHT_CASSANDRA names."""
    conf = host.write("cassandra.yaml", CASSANDRA_YAML.format(address=address, folder=host.folder))
    opens = [f"--add-opens=java.base/{name}=ALL-UNNAMED" for name in OPENED]
    opens += [f"--add-exports={name}=ALL-UNNAMED" for name in EXPORTED]
    jars = _jars("NETFLIGHT_CASSANDRA")
    agent = f"-javaagent:{jars}/jamm-0.3.2.jar"
    switches = ("cassandra.skip_wait_for_gossip_to_settle=0", "cassandra.ring_delay_ms=100")
    host.start(
        *("java", "-Xmx1g", "-XX:+UseSerialGC", agent, *opens, "-Djdk.attach.allowAttachSelf=true"),
        *(f"-Dcassandra.config=file://{conf}", f"-Dcassandra.storagedir={host.folder}"),
        *(*(f"-D{name}" for name in switches), "-Dcassandra-foreground=yes", "-cp", f"{jars}/*"),
        "org.apache.cassandra.service.CassandraDaemon",
    )
    wait_for(lambda: host.listening(9042), "cassandra", 180)
    log = host.folder / "java.log"
    created = "Created default superuser role"
    wait_for(lambda: created in log.read_text(errors="replace"), "cassandra's first user", 60)


def _jars(variable: str) -> str:
    """The folder of jars, from Maven Central, that an environment variable names."""
    folder = os.environ.get(variable)
    if not folder:
        raise LabError(f"{variable} names no folder with the server's jars and their dependencies")
    return folder
