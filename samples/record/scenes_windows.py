"""Scenes of protocols that come from the world of Windows: SMB with NTLM and RPC, LDAP, Kerberos, RDP, VNC."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from samples.record import servers_windows as servers
from samples.record.case import Case
from samples.record.lab import Lab, Tap

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FILES = "192.0.2.45"
PASSWORD = servers.PASSWORD


def smb(lab: Lab, out: Path) -> Case:
    """Files are listed, put, renamed and deleted; a wrong password; RPC over pipes; the same in SMB1."""
    server = lab.host("files1", f"{FILES}/24")
    client = lab.host("client1", "192.0.2.101/24")
    servers.samba(server)
    client.etc("hosts", f"127.0.0.1 localhost\n{FILES} files1\n")
    conf = client.write("smb.conf", "[global]\nworkgroup = EXAMPLE\nclient min protocol = NT1\n")
    notes = client.write("notes.txt", "Things to remember\n" * 30)
    with_conf = ("-s", str(conf))

    def smbclient(share: str, login: str, commands: str, protocol: str, *, fails: bool = False) -> None:
        argv = (*with_conf, "-U", f"EXAMPLE\\{login}", "-m", protocol, "-c", commands)
        client.run("smbclient", f"//files1/{share}", *argv, ok=(int(fails),))

    work = f"ls; put {notes} notes.txt; rename notes.txt old.txt; get old.txt copy.txt; del old.txt"
    alice = f"alice%{PASSWORD}"
    with Tap(lab, out):
        smbclient("public", alice, f"{work}; mkdir drafts; get missing.txt", "SMB3_11", fails=True)
        smbclient("public", "alice%wrong-password", "ls", "SMB3_11", fails=True)
        smbclient("plans", alice, "ls", "SMB2_10", fails=True)
        smbclient("public", f"bob%{PASSWORD}", "get welcome.txt here.txt; del welcome.txt", "NT1")
        calls = "enumdomusers; lookupnames alice; netshareenum; queryuser 0x3e8"
        client.run("rpcclient", "files1", *with_conf, "-U", f"EXAMPLE\\{alice}", "-c", calls, ok=(0, 1))
    smb2: dict[str, Any] = {"event.dataset": "network_traffic.smb", "netflight.smb.version": "2"}
    return Case(
        title="SMB: files in SMB3 and SMB1, a wrong password, a share that is closed, RPC over named pipes",
        recorded="smbclient and rpcclient spoke with smbd: SMB 3.1.1, 2.1 and NT LM 0.12.",
        packages=("samba", "smbclient"),
        counted=("flow", "smb", "dcerpc", "ntlm", "arp"),
        contains=[
            {
                **smb2,
                "netflight.smb.command": "SESSION_SETUP",
                "netflight.smb.status": "STATUS_LOGON_FAILURE",
            },
            {**smb2, "netflight.smb.command": "TREE_CONNECT", "netflight.smb.status": "STATUS_ACCESS_DENIED"},
            {
                **smb2,
                "netflight.smb.command": "SET_INFO",
                "file.target_path": "old.txt",
                "user.name": "alice",
            },
            {
                "event.dataset": "network_traffic.dcerpc",
                "netflight.dcerpc.interface": "samr",
                "netflight.dcerpc.operation": "EnumDomainUsers",
            },
        ],
    )


def ldap(lab: Lab, out: Path) -> Case:
    """A bind with a password, one that fails, searches, changes."""
    server = lab.host("ldap1", "192.0.2.38/24")
    client = lab.host("client1", "192.0.2.101/24")
    servers.ldap(server)
    base = "dc=example,dc=com"
    there = ("-x", "-H", "ldap://192.0.2.38")
    admin = (*there, "-D", f"cn=admin,{base}", "-w", PASSWORD)
    alice = (*there, "-D", f"cn=Alice Example,ou=people,{base}")
    carol = f"cn=Carol Example,ou=people,{base}"
    entry = client.write(
        "carol.ldif", f"dn: {carol}\nobjectClass: inetOrgPerson\ncn: Carol Example\nsn: Example\nuid: carol\n"
    )
    change = client.write(
        "change.ldif",
        f"dn: {carol}\nchangetype: modify\nadd: mail\nmail: carol@example.com\n-\n"
        "replace: userPassword\nuserPassword: carols-first-secret\n-\n",
    )
    with Tap(lab, out):
        client.run(
            "ldapsearch",
            *admin,
            "-b",
            base,
            "(&(objectClass=inetOrgPerson)(|(uid=a*)(mail=*)))",
            "cn",
            "mail",
        )
        client.run("ldapsearch", *admin, "-b", f"ou=people,{base}", "-s", "one", "(uid=nobody)")
        client.run("ldapsearch", *alice, "-w", "wrong-password", "-b", base, ok=(49,))
        client.run(
            "ldapsearch", *there, "-s", "base", "-b", "", "(objectClass=*)", "namingContexts", ok=(48,)
        )
        client.run("ldapadd", *admin, "-f", str(entry))
        client.run("ldapadd", *admin, "-f", str(entry), ok=(68,))
        client.run("ldapmodify", *admin, "-f", str(change))
        client.run("ldapcompare", *admin, carol, "uid:carol", ok=(6,))
        client.run("ldapmodrdn", *admin, "-r", carol, "cn=Caroline Example")
        client.run("ldappasswd", *admin, "-s", "carols-other-secret", f"cn=Caroline Example,ou=people,{base}")
        client.run("ldapdelete", *admin, f"cn=Caroline Example,ou=people,{base}")
        client.run("ldapwhoami", *alice, "-w", PASSWORD)
    mine: dict[str, Any] = {"event.dataset": "network_traffic.ldap"}
    return Case(
        title="LDAP: binds, searches, an entry added, changed, renamed and deleted, passwords in clear",
        recorded="ldapsearch, ldapadd and the others asked slapd, with simple binds.",
        packages=("slapd", "ldap-utils"),
        counted=("flow", "ldap", "arp"),
        contains=[
            {**mine, "netflight.ldap.operation": "bind", "netflight.ldap.result_code": "invalidCredentials"},
            {**mine, "netflight.ldap.operation": "search", "netflight.ldap.filter": "(uid=nobody)"},
            {"event.dataset": "network_traffic.credentials", "netflight.credentials.secret": "[redacted]"},
        ],
    )


def krb5(lab: Lab, out: Path) -> Case:
    """Tickets over UDP and TCP, weak encryption, errors."""
    server = lab.host("kdc1", "192.0.2.88/24")
    client = lab.host("client1", "192.0.2.101/24")
    servers.kerberos(server)
    environment = f"KRB5_CONFIG={client.folder}/krb5.conf"

    def kinit(user: str, password: str, *, fails: bool = False, more: str = "") -> None:
        client.write("krb5.conf", servers.KRB5_CONF.format(more=more))
        secret = client.write("secret", f"{password}\n")
        client.run(
            "sh", "-c", f"{environment} kinit -c {client.folder}/cache {user} < {secret}", ok=(int(fails),)
        )

    def kvno(*arguments: str, fails: bool = False) -> None:
        client.run("env", environment, "kvno", "-c", f"{client.folder}/cache", *arguments, ok=(int(fails),))

    with Tap(lab, out):
        kinit("alice", PASSWORD)
        kvno("HTTP/www.example.com")
        kvno("MSSQLSvc/db.example.com:1433")
        kvno("cifs/nowhere.example.com", fails=True)
        kinit("alice", "wrong-password", fails=True)
        kinit("mallory", PASSWORD, fails=True)
        kinit("backup", PASSWORD, more="default_tkt_enctypes = arcfour-hmac")
        kinit("alice", PASSWORD, more="udp_preference_limit = 1")
        kvno("HTTP/www.example.com")
    mine: dict[str, Any] = {"event.dataset": "network_traffic.krb5"}
    return Case(
        title="Kerberos: tickets over UDP and TCP, weak encryption, a wrong password, unknown names",
        recorded="kinit and kvno asked krb5kdc. backup needs no pre-authentication and asks for RC4.",
        packages=("krb5-kdc", "krb5-user"),
        counted=("krb5", "flow", "arp"),
        contains=[
            {**mine, "error.message": "KDC_ERR_C_PRINCIPAL_UNKNOWN"},
            {**mine, "netflight.krb5.service": "HTTP/www.example.com", "network.transport": "tcp"},
        ],
    )


def rdp(lab: Lab, out: Path) -> Case:
    """A remote desktop with RDP's own encryption, so that what the client tells of itself is in clear."""
    server = lab.host("desk1", "192.0.2.33/24")
    client = lab.host("client1", "192.0.2.101/24")
    servers.rdp(server, "rdp")
    servers.screen(client, 71)
    there = ("/v:192.0.2.33", "/u:alice", f"/p:{PASSWORD}", "/cert:ignore", "/size:800x600", "/bpp:16")
    show = ("env", "DISPLAY=:71", "timeout", "4", "xfreerdp", *there, "/client-hostname:client1")
    with Tap(lab, out):
        client.run(*show, "/sec:rdp", "/kbd:0x0409", ok=None)
        client.run(*show, "/sec:tls", ok=None)  # which the server does not offer
    mine: dict[str, Any] = {"event.dataset": "network_traffic.rdp", "user.name": "alice"}
    return Case(
        title="RDP: a connection with RDP's own encryption, one that asks for TLS in vain",
        recorded="xfreerdp connected to xrdp, which was set to RDP security alone.",
        packages=("xrdp", "freerdp2-x11"),
        counted=("rdp", "flow", "arp"),
        contains=[{**mine, "netflight.rdp.client.name": "client1"}],
    )


def rfb(lab: Lab, out: Path) -> Case:
    """A shared screen with a password, with a wrong one, and with none."""
    server = lab.host("kiosk1", "192.0.2.59/24")
    client = lab.host("client1", "192.0.2.101/24")
    secret = server.write(
        "secret", server.run("sh", "-c", "printf 'kiosk123' | tigervncpasswd -f | od -An -tx1")
    )
    packed = bytes.fromhex("".join(secret.read_text().split()))
    right, wrong = server.write("passwd", packed), client.write("wrong", packed[::-1])
    client.write("passwd", packed)
    servers.vnc(server, 81, "-SecurityTypes", "VncAuth", "-PasswordFile", str(right), port=5900)
    servers.vnc(server, 82, "-SecurityTypes", "None", port=5901)
    servers.screen(client, 72)
    view = ("env", "DISPLAY=:72", "timeout", "3", "xtigervncviewer", "-SecurityTypes")
    with Tap(lab, out):
        client.run(
            *view, "VncAuth", "-PasswordFile", str(client.folder / "passwd"), "192.0.2.59::5900", ok=None
        )
        client.run(*view, "VncAuth", "-PasswordFile", str(wrong), "192.0.2.59::5900", ok=None)
        client.run(*view, "None", "192.0.2.59::5901", ok=None)
        time.sleep(0.5)
    mine: dict[str, Any] = {"event.dataset": "network_traffic.rfb", "destination.ip": "192.0.2.59"}
    return Case(
        title="VNC: a password, a wrong one, none",
        recorded="xtigervncviewer connected to Xtigervnc, whose screen is 64 by 48 points.",
        packages=("tigervnc-standalone-server", "tigervnc-viewer"),
        counted=("rfb", "flow", "arp"),
        contains=[{**mine, "netflight.rfb.desktop.name": "kiosk"}],
    )


SCENES: dict[str, Callable[[Lab, Path], Case]] = {
    "smb": smb,
    "ldap": ldap,
    "krb5": krb5,
    "rdp": rdp,
    "rfb": rfb,
}
