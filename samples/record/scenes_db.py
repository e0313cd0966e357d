"""Scenes with databases: clients ask, are refused, make mistakes, and send several commands at once."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from samples.record import servers_db
from samples.record.case import Case, Count
from samples.record.lab import Tap
from samples.record.servers_db import PASSWORD, POSTGRES

# ruff: noqa: S608  # programs of the clients
if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from samples.record.lab import Host, Lab

SERVER, CLIENT, OTHER = "192.0.2.30", "192.0.2.101", "192.0.2.102"


def _hosts(lab: Lab) -> tuple[Host, Host]:
    return lab.host("db1", f"{SERVER}/24"), lab.host("client1", f"{CLIENT}/24")


MYSQL_CLIENT = f"""\
import pymysql
from pymysql.constants import CLIENT
def login(password, **more):
    return pymysql.connect(host="{SERVER}", user="app", password=password, database="shop", **more)
try:
    login("wrong")
except pymysql.err.OperationalError:
    pass
db = login("{PASSWORD}", client_flag=CLIENT.MULTI_STATEMENTS)
cursor = db.cursor()
cursor.execute("INSERT INTO items (name, price) VALUES ('lamp', 12.50), ('chair', 40), ('desk', 99.90)")
cursor.execute("SELECT id, name, price FROM items ORDER BY id")
cursor.execute("SELECT seq, REPEAT('x', 60) FROM seq_1_to_200")  # over many packets
cursor.execute("SELECT name FROM items WHERE id = 99")
try:
    cursor.execute("SELECT nothing FROM nowhere")
except pymysql.err.Error:
    pass
cursor.execute("SELECT 1; SELECT 2, 3; UPDATE items SET price = 1 WHERE id < 3")
while cursor.nextset():
    pass
cursor.execute("CREATE USER clerk IDENTIFIED BY 'hunter2'")
cursor.execute("SET PASSWORD FOR clerk = PASSWORD('hunter3')")
db.select_db("mysql")
db.ping()
db.close()
"""
MYSQL_PREPARED = f"""\
import mysql.connector
db = mysql.connector.connect(host="{SERVER}", user="app", password="{PASSWORD}", database="shop", ssl_disabled=True,
    use_pure=True)
cursor = db.cursor(prepared=True)
for number in (1, 3):
    cursor.execute("SELECT name, price FROM items WHERE id = %s", (number,))
    cursor.fetchall()
cursor.close()
db.close()
"""


def mysql(lab: Lab, out: Path) -> Case:
    """Logins, statements, a large result, errors, several statements at once, prepared statements."""
    server, client = _hosts(lab)
    servers_db.mysql(server)
    python = os.environ.get("NETFLIGHT_PYTHON", "python3")
    with Tap(lab, out):
        client.run("python3", "-c", MYSQL_CLIENT)
        client.run(python, "-c", MYSQL_PREPARED)
        login = ("-h", SERVER, "-u", "app", f"-p{PASSWORD}", "--skip-ssl")
        client.run("mariadb", *login, "-t", "-e", "SELECT * FROM items; SELECT 1", "shop")
        client.run("mariadb-admin", *login, "ping", "status")
    return Case(
        title="MySQL: logins, result sets over many packets, errors, several statements at once, prepared ones",
        recorded="PyMySQL, mariadb, mariadb-admin, and mysql-connector-python (PyPI, 9.1.0) for the prepared "
        "statements, against MariaDB.",
        packages=("mariadb-server", "mariadb-client", "python3-pymysql"),
        counted=("mysql", "flow"),
        counts={"mysql": (Count("mysql.command || mysql.login_request || mysql.server_greeting"),)},
        contains=[
            {"event.dataset": "network_traffic.mysql", "user.name": "app", "network_traffic.status": "Error"}
        ],
    )


PSQL_SCRIPT = """\
CREATE TABLE items (id serial PRIMARY KEY, name text, price numeric);
INSERT INTO items (name, price) VALUES ('lamp', 12.50), ('chair', 40), ('desk', 99.90);
SELECT * FROM items;
SELECT n, repeat('x', 60) FROM generate_series(1, 200) AS n;
SELECT nothing FROM nowhere;
SELECT 1 AS one\\; SELECT 2 AS two, 3 AS three\\; UPDATE items SET price = 1 WHERE id < 3;
COPY items TO STDOUT;
\\copy items (name, price) FROM 'items.csv' CSV
CREATE USER clerk PASSWORD 'hunter2';
DO $$ BEGIN RAISE NOTICE 'all quiet'; END $$;
"""
PGBENCH_SCRIPT = """\
SELECT name FROM items WHERE id = 1;
\\startpipeline
SELECT 10;
SELECT 20 FROM generate_series(1, 2);
\\endpipeline
"""


PGSQL_REQUESTS = ("Startup message", "SSL request", "Simple query", "Execute", "Termination")


def pgsql(lab: Lab, out: Path) -> Case:
    """SCRAM and a password in clear, statements, COPY both ways, errors, prepared and pipelined statements."""
    server, client = _hosts(lab)
    other = lab.host("client2", f"{OTHER}/24")
    servers_db.pgsql(server)
    client.write("items.csv", "shelf,70\nsofa,350\n")
    script = client.write("script.sql", PSQL_SCRIPT)
    bench = client.write("bench.sql", PGBENCH_SCRIPT)
    good, bad = (f"host={SERVER} user=app dbname=shop password={p}" for p in (PASSWORD, "wrong"))
    plain = " sslmode=disable gssencmode=disable"
    with Tap(lab, out):
        client.run("psql", "-X", "-q", "-f", str(script), good + plain)
        client.run("psql", "-X", "-c", "SELECT 1", bad + plain, ok=(2,))
        client.run("psql", "-X", "-c", "SELECT 1", good, ok=(0,))  # asks for TLS, which is not to be had
        other.run("psql", "-X", "-c", "SELECT 2", good + plain)
        for mode in ("extended", "prepared"):
            options = ("-n", "-M", mode, "-t", "2", "-f", str(bench))
            client.run(str(POSTGRES / "pgbench"), *options, good + plain)
    return Case(
        title="PostgreSQL: logins, simple, prepared and pipelined statements, errors, COPY",
        recorded="psql and pgbench against PostgreSQL; one client must send its password in clear.",
        packages=("postgresql-15",),
        counted=("pgsql", "flow"),
        counts={
            "pgsql": (
                Count("pgsql", each=("pgsql.type",), values=PGSQL_REQUESTS),
                # Prepared in one packet, and executed in another.
                Count('pgsql.type == "Parse" && !(pgsql.type == "Execute")'),
            )
        },
        contains=[
            {"event.dataset": "network_traffic.pgsql", "user.name": "app", "network_traffic.status": "Error"}
        ],
    )


REDIS_CLIENT = f"""\
import redis, socket
db = redis.Redis("{SERVER}", username="app", password="{PASSWORD}")
db.set("greeting", "hello world", ex=60)
db.get("greeting")
db.get("nothing")
pipe = db.pipeline(transaction=True)
for number in range(3):
    pipe.incr("counter")
pipe.lpush("list", "a", "b c", b"\\xff\\x00")
pipe.execute()
db.lrange("list", 0, -1)
try:
    db.incr("greeting")
except redis.ResponseError:
    pass
db.set("large", "x" * 20000)
db.get("large")
db.eval("return {{1, {{2, 'three'}}, false}}", 0)
db.acl_setuser("clerk", enabled=True, passwords=["+hunter2"], commands=["+get"])
db.config_set("requirepass", "hunter3")
listener = db.pubsub()
listener.subscribe("news", "weather")
for _ in range(2):
    listener.get_message(timeout=2)
db.publish("news", "all quiet")
listener.get_message(timeout=2)
listener.close()
db.close()
raw = socket.create_connection(("{SERVER}", 6379))
for line in (b"PING\\r\\n", b"AUTH hunter3\\r\\nGET greeting\\r\\nNOSUCH thing\\r\\n"):  # inline commands
    raw.sendall(line)
    raw.recv(4096)
raw.sendall(b"QUIT\\r\\n")
raw.recv(4096)
"""


def redis(lab: Lab, out: Path) -> Case:
    """Logins, values, pipelines, a transaction, errors, nested replies, messages, inline commands."""
    server, client = _hosts(lab)
    servers_db.redis(server)
    with Tap(lab, out):
        client.run("python3", "-c", REDIS_CLIENT)
        for argv in (("-a", "wrong", "PING"), ("PING",), ("-a", "hunter3", "--no-auth-warning", "DBSIZE")):
            client.run("redis-cli", "-h", SERVER, *argv)
    return Case(
        title="Redis: logins, pipelines, a transaction, errors, nested replies, messages, inline commands",
        recorded="redis-py, redis-cli and inline commands from a socket against redis-server.",
        packages=("redis-server", "redis-tools", "python3-redis"),
        counted=("redis", "flow"),
        counts={
            "redis": (
                Count("tcp.dstport == 6379 && !resp.reassembled_in_next_frame", each=("resp.array.length",)),
                Count("tcp.dstport == 6379 && resp.fragment", each=("resp.fragment",)),
                Count('tcp.srcport == 6379 && resp.bulk_string.value == "message"'),
            )
        },
        contains=[
            {"event.dataset": "network_traffic.redis", "method": "GET", "network_traffic.status": "OK"}
        ],
    )


MEMCACHED_CLIENT = f"""\
import socket, struct
from pymemcache.client.base import Client
cache = Client(("{SERVER}", 11211), default_noreply=False)
cache.set("greeting", "hello world", expire=60)
cache.get("greeting")
cache.get("nothing")
cache.set_many({{"one": "1", "two": "22"}})
cache.get_many(["one", "two", "three"])
cache.gets("one")
cache.incr("one", 5)
cache.incr("nothing", 1)
cache.add("greeting", "again")
cache.delete("two", noreply=True)
cache.set("large", "x" * 5000, noreply=True)
cache.get("large")
cache.touch("one", 30)
cache.stats()
cache.version()
cache.close()
datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
datagrams.settimeout(2)
for number, text in enumerate((b"get greeting\\r\\n", b"stats\\r\\n", b"nonsense\\r\\n"), 7):
    datagrams.sendto(struct.pack(">HHHH", number, 0, 1, 0) + text, ("{SERVER}", 11211))
    datagrams.recv(4096)
raw = socket.create_connection(("{SERVER}", 11211))
raw.sendall(b"set a 0 0 1\\r\\n1\\r\\nset b 0 0 1 noreply\\r\\n2\\r\\nget a b\\r\\ndelete c\\r\\n")  # four at once
raw.recv(4096)
raw.close()
"""


def memcached(lab: Lab, out: Path) -> Case:
    """Text and binary protocol over TCP, text over UDP, several commands in one packet."""
    server, client = _hosts(lab)
    servers_db.memcached(server)
    file = client.write("photo", "all quiet on the wire\n")
    with Tap(lab, out):
        client.run("python3", "-c", MEMCACHED_CLIENT)
        client.run("memccp", "--binary", f"--servers={SERVER}", str(file))
        client.run("memccat", "--binary", f"--servers={SERVER}", "photo")
        client.run("memccat", "--binary", f"--servers={SERVER}", "nothing", ok=None)
        client.run("memcrm", "--binary", f"--servers={SERVER}", "photo")
    return Case(
        title="memcached: text and binary protocol, over TCP and UDP, several commands at once",
        recorded="pymemcache, libmemcached's tools and plain sockets against memcached.",
        packages=("memcached", "python3-pymemcache", "libmemcached-tools"),
        counted=("memcached", "flow"),
        counts={
            "memcached": (
                Count("memcache && (tcp.dstport == 11211 || udp.dstport == 11211)"),
                Count(
                    'memcache.response == "NOT_FOUND" && !(memcache.response == "STORED") && tcp.stream == 1'
                ),
            )
        },
        contains=[
            {
                "event.dataset": "network_traffic.memcached",
                "method": "get",
                "memcache.response.keys": ["one", "two"],
            },
        ],
    )


MONGODB_CLIENT = f"""\
import pymongo
client = pymongo.MongoClient("{SERVER}", 27017, serverSelectionTimeoutMS=5000, maxPoolSize=1)
items = client.shop.items
items.insert_many([{{"_id": 1, "name": "lamp", "price": 12.5}}, {{"_id": 2, "name": "chair", "tags": ["wood", "old"]}}])
list(items.find({{"price": {{"$gt": 10}}}}, {{"name": 1}}, skip=0, limit=5))
try:
    items.insert_one({{"_id": 1}})
except pymongo.errors.DuplicateKeyError:
    pass
items.update_one({{"_id": 1}}, {{"$set": {{"price": 13}}}})
items.insert_many({{"_id": 100 + n, "text": "x" * 50}} for n in range(150))
list(items.find({{}}, batch_size=60))
items.delete_many({{"_id": {{"$gte": 100}}}})
items.count_documents({{}})
client.admin.command("ping")
try:
    client.admin.command("noSuchCommand")
except pymongo.errors.OperationFailure:
    pass
client.close()
"""


def mongodb(lab: Lab, out: Path) -> Case:
    """Documents put in, found, changed and removed; a result in batches; errors."""
    server, client = _hosts(lab)
    servers_db.mongodb(server)
    with Tap(lab, out):
        # pymongo tells the kernel's version, which is not part of the story.
        client.run("setarch", "x86_64", "--uname-2.6", "python3", "-c", MONGODB_CLIENT)
    return Case(
        title="MongoDB: commands, a result in batches, errors",
        recorded="pymongo against mongo-java-server 1.45.0 (Maven Central).",
        packages=("python3-pymongo",),
        counted=("mongodb", "flow"),
        counts={
            "mongodb": (Count("mongo.response_to == 0", options=("-o", "mongo.tcp.port:27017-27019")),),
        },
        contains=[
            {"event.dataset": "network_traffic.mongodb", "method": "find", "mongodb.numberReturned": 60},
            {
                "event.dataset": "network_traffic.mongodb",
                "network_traffic.status": "Error",
                "error.code": "11000",
            },
        ],
    )


CASSANDRA_CLIENT = f"""\
from cassandra.cluster import Cluster, NoHostAvailable
from cassandra.auth import PlainTextAuthProvider
from cassandra.query import BatchStatement, SimpleStatement
from cassandra import ConsistencyLevel
def cluster(password):
    return Cluster(["{SERVER}"], protocol_version=4, compression=False, schema_metadata_enabled=False,
        token_metadata_enabled=False, auth_provider=PlainTextAuthProvider("cassandra", password))
try:
    cluster("wrong").connect()
except NoHostAvailable:
    pass
c = cluster("cassandra")
s = c.connect()
s.execute("CREATE KEYSPACE shop WITH replication = {{'class': 'SimpleStrategy', 'replication_factor': 1}}")
s.execute("CREATE TABLE shop.items (id int PRIMARY KEY, name text)")
p = s.prepare("INSERT INTO shop.items (id, name) VALUES (?, ?)")
for f in [s.execute_async(p, (n, "item %d" % n)) for n in range(6)]:
    f.result()
s.execute(SimpleStatement("SELECT id, name FROM shop.items", consistency_level=ConsistencyLevel.QUORUM))
b = BatchStatement()
b.add(p, (10, "lamp"))
b.add(SimpleStatement("DELETE FROM shop.items WHERE id = 1"))
s.execute(b)
s.set_keyspace("shop")
try:
    s.execute("SELECT nothing FROM nowhere")
except Exception:
    pass
s.execute("CREATE ROLE clerk WITH PASSWORD = 'hunter2' AND LOGIN = true")
c.shutdown()
"""


CASSANDRA_OPCODES = ("1", "5", "7", "9", "10", "11", "12", "13", "15")


def cassandra(lab: Lab, out: Path) -> Case:
    """Logins, statements, prepared statements at once, a batch, errors."""
    server, client = _hosts(lab)
    servers_db.cassandra(server, SERVER)
    with Tap(lab, out):
        client.run("python3", "-c", CASSANDRA_CLIENT)
    return Case(
        title="Cassandra: logins, statements, prepared statements at once, a batch, errors",
        recorded="cassandra-driver against Apache Cassandra 4.1.7 (Maven Central).",
        packages=("python3-cassandra",),
        mistaken="cql",  # tshark takes what a result's rows hold for more of their head
        counted=("cassandra", "flow"),
        # Requests, and events of the server.
        counts={"cassandra": (Count("cql", each=("cql.opcode",), values=CASSANDRA_OPCODES),)},
        contains=[
            {
                "event.dataset": "network_traffic.cassandra",
                "method": "SELECT",
                "netflight.cassandra.consistency": "QUORUM",
            },
        ],
    )


SCENES: dict[str, Callable[[Lab, Path], Case]] = {
    "mysql": mysql,
    "pgsql": pgsql,
    "redis": redis,
    "mongodb": mongodb,
    "memcached": memcached,
    "cassandra": cassandra,
}
