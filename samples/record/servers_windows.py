"""Real servers of protocols that come from the world of Windows: Samba, OpenLDAP, MIT Kerberos, xrdp, TigerVNC."""

from __future__ import annotations

from typing import TYPE_CHECKING

from samples.record.lab import wait_for

if TYPE_CHECKING:
    from samples.record.lab import Host

PASSWORD = "correct-horse-7"  # noqa: S105  # of the laboratory's users, who exist while it does

SMB_CONF = """\
[global]
server role = standalone server
workgroup = EXAMPLE
netbios name = FILES1
server string = File server
disable netbios = yes
smb ports = 445
server min protocol = NT1
map to guest = never
load printers = no
printing = bsd
disable spoolss = yes
passdb backend = tdbsam:{folder}/passdb.tdb
private dir = {folder}/private
state directory = {folder}/state
cache directory = {folder}/cache
lock directory = {folder}/lock
pid directory = {folder}/run
ncalrpc dir = {folder}/ncalrpc
log file = {folder}/smbd.log
[public]
path = {folder}/public
read only = no
comment = For everybody
[plans]
path = {folder}/plans
valid users = bob
"""
USERS = """\
root:x:0:0:root:/root:/bin/sh
nobody:x:65534:65534:nobody:/:/bin/false
alice:x:2001:2001::/tmp:/bin/false
bob:x:2002:2002::/tmp:/bin/false
"""
GROUPS = """\
root:x:0:
nogroup:x:65534:
alice:x:2001:
bob:x:2002:
"""


def samba(host: Host) -> None:
    """Run smbd with the users alice and bob, a share for both and one for bob."""
    host.etc("passwd", USERS)
    host.etc("group", GROUPS)
    for name in ("private", "state", "cache", "lock", "run", "ncalrpc"):
        (host.folder / name).mkdir(mode=0o755)
    for name in ("public", "plans"):
        (host.folder / name).mkdir()
        (host.folder / name).chmod(0o777)
    host.write("public/welcome.txt", "Welcome to the files of example.com\n" * 20, 0o666)
    conf = host.write("smb.conf", SMB_CONF.format(folder=host.folder))
    for user in ("alice", "bob"):
        secret = host.write("secret", f"{PASSWORD}\n{PASSWORD}\n")
        host.run("sh", "-c", f"pdbedit -s {conf} -a -t -u {user} < {secret}")
    host.start("smbd", "-F", "--no-process-group", "-s", str(conf))
    wait_for(lambda: host.listening(445), "smbd")


SLAPD_CONF = """\
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile {folder}/slapd.pid
disallow bind_anon
database mdb
suffix dc=example,dc=com
rootdn cn=admin,dc=example,dc=com
rootpw {password}
directory {folder}/db
"""
DIRECTORY = """\
dn: dc=example,dc=com
objectClass: dcObject
objectClass: organization
o: Example
dc: example

dn: ou=people,dc=example,dc=com
objectClass: organizationalUnit
ou: people

dn: cn=Alice Example,ou=people,dc=example,dc=com
objectClass: inetOrgPerson
cn: Alice Example
sn: Example
uid: alice
mail: alice@example.com
userPassword: {password}

dn: cn=Bob Example,ou=people,dc=example,dc=com
objectClass: inetOrgPerson
cn: Bob Example
sn: Example
uid: bob
mail: bob@example.com
"""


def ldap(host: Host) -> None:
    """Run slapd with two people in its directory."""
    (host.folder / "db").mkdir()
    conf = host.write("slapd.conf", SLAPD_CONF.format(folder=host.folder, password=PASSWORD))
    people = host.write("people.ldif", DIRECTORY.format(password=PASSWORD))
    host.run("slapadd", "-f", str(conf), "-l", str(people))
    host.start("slapd", "-d", "0", "-f", str(conf), "-h", "ldap:///")
    wait_for(lambda: host.listening(389), "slapd")


KRB5_CONF = """\
[libdefaults]
default_realm = EXAMPLE.COM
dns_lookup_kdc = false
dns_lookup_realm = false
dns_canonicalize_hostname = false
rdns = false
allow_weak_crypto = true
allow_rc4 = true
permitted_enctypes = aes256-cts-hmac-sha1-96 aes128-cts-hmac-sha1-96 arcfour-hmac
{more}
[realms]
EXAMPLE.COM = {{
  kdc = 192.0.2.88
}}
"""
KDC_CONF = """\
[kdcdefaults]
kdc_listen = 88
kdc_tcp_listen = 88
[realms]
EXAMPLE.COM = {{
  database_name = {folder}/principal
  key_stash_file = {folder}/stash
  acl_file = {folder}/acl
  supported_enctypes = aes256-cts-hmac-sha1-96:normal arcfour-hmac:normal
}}
[logging]
kdc = FILE:{folder}/kdc.log
"""


def kerberos(host: Host) -> None:
    """Run krb5kdc for the realm EXAMPLE.COM with alice, who must prove her password first, and two services."""
    conf = host.write("kdc.conf", KDC_CONF.format(folder=host.folder))
    common = host.write("krb5.conf", KRB5_CONF.format(more=""))
    with_conf = ("env", f"KRB5_KDC_PROFILE={conf}", f"KRB5_CONFIG={common}")
    host.run(*with_conf, "kdb5_util", "create", "-s", "-P", PASSWORD, "-r", "EXAMPLE.COM")
    for principal in (
        f"-pw {PASSWORD} +requires_preauth alice",
        f"-pw {PASSWORD} -requires_preauth backup",
        "-randkey HTTP/www.example.com",
        "-randkey -e arcfour-hmac:normal MSSQLSvc/db.example.com:1433",
    ):
        host.run(*with_conf, "kadmin.local", "-r", "EXAMPLE.COM", "-q", f"addprinc {principal}")
    host.start(*with_conf, "krb5kdc", "-n", "-r", "EXAMPLE.COM")
    wait_for(lambda: host.listening(88), "krb5kdc")


XRDP_INI = """\
[Globals]
ini_version=1
fork=true
port=3389
security_layer={layer}
crypt_level=low
certificate={certificate}
key_file={key}
bitmap_cache=false
max_bpp=16
[Logging]
LogFile={folder}/xrdp.log
LogLevel=INFO
EnableSyslog=false
[Channels]
rdpdr=false
[Xvnc]
name=Xvnc
lib=libvnc.so
username=ask
password=ask
ip=127.0.0.1
port=-1
"""


def rdp(host: Host, layer: str) -> None:
    """Run xrdp with a security layer (rdp, tls or negotiate) and the keys that its package made."""
    ini = host.write("xrdp.ini", XRDP_INI.format(folder=host.folder, layer=layer, certificate="", key=""))
    host.start("xrdp", "--nodaemon", "--config", str(ini))
    wait_for(lambda: host.listening(3389), "xrdp")


def screen(host: Host, number: int) -> None:
    """Run an X server without a screen, for clients that need one."""
    host.start("Xvfb", f":{number}", "-screen", "0", "640x480x16", "-nolisten", "tcp", "-ac")
    wait_for(lambda: f"X{number}\n" in host.run("sh", "-c", "ls /tmp/.X11-unix 2>/dev/null || true"), "Xvfb")


def vnc(host: Host, number: int, *arguments: str, port: int) -> None:
    """Run Xtigervnc on a display of 64 by 48 points that shows nothing."""
    host.start(
        "Xtigervnc",
        f":{number}",
        *("-geometry", "64x48", "-depth", "16", "-rfbport", str(port), "-desktop", "kiosk"),
        *("-nolisten", "tcp", "-ac", *arguments),
    )
    wait_for(lambda: host.listening(port), "Xtigervnc")
