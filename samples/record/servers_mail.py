"""Real servers of the mail family for the laboratory's hosts: SMTP, IMAP, POP3, FTP, IRC."""

from __future__ import annotations

import secrets
import subprocess
from typing import TYPE_CHECKING

from samples.record.lab import wait_for

if TYPE_CHECKING:
    from samples.record.lab import Host

# aiosmtpd answers; what it accepts is decided here, as in any of its deployments.
SMTPD = """\
import asyncio, sys
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult

class Handler:
    async def handle_EHLO(self, server, session, envelope, hostname, responses):
        session.host_name = hostname
        return [*responses[:-1], "250-PIPELINING", responses[-1]]
    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("nobody@"):
            return "550 5.1.1 <%s>: no such user here" % address
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 Ok"
    async def handle_DATA(self, server, session, envelope):
        if b"\\nSubject: Win" in envelope.content:
            return "554 5.7.1 Message looks like spam"
        return "250 2.0.0 Ok: queued as 4ZK1Q2"

def login(server, session, envelope, mechanism, data):
    right = data.login == b"alice" and data.password == sys.argv[1].encode()
    return AuthResult(success=right, handled=False)

async def main():
    loop = asyncio.get_running_loop()
    make = lambda: SMTP(Handler(), hostname="mail1.example.com", ident="Example ESMTP", authenticator=login,
                        auth_require_tls=False, loop=loop)
    server = await loop.create_server(make, "0.0.0.0", 25)
    await server.serve_forever()

asyncio.run(main())
"""


def smtp(host: Host) -> str:
    """Run aiosmtpd, which knows the account alice, refuses nobody@ and mail of winnings; returns the password."""
    password = secrets.token_urlsafe(9)
    script = host.write("smtpd.py", SMTPD)
    host.start("/usr/bin/python3", str(script), password)
    wait_for(lambda: host.listening(25), "aiosmtpd")
    return password


DOVECOT_CONF = """\
base_dir = {folder}/run
state_dir = {folder}/state
log_path = {folder}/dovecot.log
protocols = imap pop3
listen = 192.0.2.25
ssl = no
disable_plaintext_auth = no
auth_mechanisms = plain login cram-md5
login_greeting = Example mail ready.
mail_location = maildir:{folder}/mail
mail_uid = 2001
mail_gid = 2001
first_valid_uid = 1
default_internal_user = nobody
default_login_user = nobody
default_internal_group = nogroup
service anvil {{
  chroot =
}}
service imap-login {{
  chroot =
}}
service pop3-login {{
  chroot =
}}
passdb {{
  driver = static
  args = password={password}
}}
userdb {{
  driver = static
  args = uid=2001 gid=2001 home={folder}/mail
}}
namespace inbox {{
  inbox = yes
}}
"""

MESSAGE = """\
From: Bob Example <bob@example.net>
To: alice@example.com
Subject: Minutes
Message-ID: <{number}@example.net>
Date: Mon, 05 Jan 2026 09:0{number}:00 +0000

The minutes of meeting {number}.
"""


def mailbox(host: Host) -> str:
    """Run Dovecot with IMAP and POP3 and two mails for any user; returns the password."""
    password = secrets.token_urlsafe(9)
    for number in (1, 2):
        text = MESSAGE.format(number=number).replace("\n", "\r\n")
        host.write(f"mail/new/1767603{number}00.M{number}P1.mail1", text)
    for folder in ("cur", "tmp"):
        (host.folder / "mail" / folder).mkdir()
    conf = host.write("dovecot.conf", DOVECOT_CONF.format(folder=host.folder, password=password))
    subprocess.run(["chown", "-R", "2001:2001", str(host.folder / "mail")], check=True)
    host.start("dovecot", "-F", "-c", str(conf))
    wait_for(lambda: host.listening(143) and host.listening(110), "dovecot")
    return password


VSFTPD_CONF = """\
listen=YES
background=NO
anonymous_enable=YES
anon_root={folder}/pub
local_enable=YES
write_enable=YES
chroot_local_user=YES
allow_writeable_chroot=YES
secure_chroot_dir={folder}/empty
pam_service_name=vsftpd
ftp_username=ftp
ftpd_banner=Example FTP
dirmessage_enable=YES
seccomp_sandbox=NO
isolate_network=NO
isolate=NO
pasv_min_port=40000
pasv_max_port=40100
"""


def ftp(host: Host) -> str:
    """Run vsftpd with the account alice and anonymous users; returns alice's password."""
    password = secrets.token_urlsafe(9)
    home = host.write("home/report.txt", "all quiet\n" * 20).parent
    host.write("pub/readme.txt", "for all\n")
    host.write("pub/.message", "Take what you like.\nLeave nothing.\n")
    (host.folder / "empty").mkdir()
    hashed = subprocess.run(
        ["openssl", "passwd", "-6", "-stdin"], input=password, capture_output=True, text=True, check=True
    ).stdout.strip()
    users = (
        "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/nonexistent:/usr/sbin/nologin\n"
        f"ftp:x:2002:65534::{host.folder}/pub:/usr/sbin/nologin\nalice:x:2001:2001::{home}:/bin/sh\n"
    )
    host.etc("passwd", users)
    host.etc("group", "root:x:0:\nnogroup:x:65534:\nalice:x:2001:\n")
    host.etc("shadow", f"root:*:20000:0:99999:7:::\nftp:*:20000::::::\nalice:{hashed}:20000:0:99999:7:::\n")
    subprocess.run(["chown", "-R", "2001:2001", str(home)], check=True)
    conf = host.write("vsftpd.conf", VSFTPD_CONF.format(folder=host.folder))
    host.start("vsftpd", str(conf))
    wait_for(lambda: host.listening(21), "vsftpd")
    return password


NGIRCD_CONF = """\
[Global]
Name = irc1.example.com
Info = Example IRC
Listen = 192.0.2.66
Password = {password}
MotdPhrase = Be kind.
ServerUID = 65534
ServerGID = 65534
[Options]
Ident = no
PAM = no
DNS = no
[Operator]
Name = root
Password = {password}
"""


def irc(host: Host) -> str:
    """Run ngIRCd with a password for all, which makes an operator, too; returns it."""
    password = secrets.token_urlsafe(9)
    conf = host.write("ngircd.conf", NGIRCD_CONF.format(password=password))
    host.start("ngircd", "-n", "-f", str(conf))
    wait_for(lambda: host.listening(6667), "ngircd")
    return password
