"""Scenes of the mail family: SMTP, a mailbox over IMAP and POP3, FTP, IRC."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from samples.record import servers_mail
from samples.record.case import Case
from samples.record.lab import Lab, Tap

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CLIENT, MAIL, FILES, CHAT = "192.0.2.101", "192.0.2.25", "192.0.2.22", "192.0.2.66"


def smtp(lab: Lab, out: Path) -> Case:
    """Mails that are taken, taken for some and refused, with logins right and wrong."""
    server, client = lab.host("mail1", f"{MAIL}/24"), lab.host("client1", f"{CLIENT}/24")
    password = servers_mail.smtp(server)
    attachment = client.write("minutes.txt", "all quiet\n")
    common = (
        "--server",
        MAIL,
        "--helo",
        "client1.example.com",
        "--from",
        "alice@example.com",
        "--suppress-data",
    )
    dated = ("--header", "Date: Mon, 05 Jan 2026 09:00:00 +0000", "--header", "Message-Id: <{}@example.com>")

    def swaks(number: int, *argv: str, ok: tuple[int, ...] = (0,)) -> None:
        client.run("swaks", *common, *(word.format(number) for word in dated), *argv, ok=ok)

    with Tap(lab, out):
        # Pipelined: sender, three recipients (one is refused) and DATA in one packet.
        swaks(
            1,
            *("--pipeline", "--to", "bob@example.com,nobody@example.com,carol@example.net"),
            *("--auth", "LOGIN", "--auth-user", "alice", "--auth-password", password),
            *("--header", "Subject: =?utf-8?Q?Bes=C3=BCch?= at nine", "--header", "X-Mailer: Example 1.0"),
            *("--attach-name", "minutes.txt", "--attach-type", "text/plain", "--attach", f"@{attachment}"),
        )
        swaks(2, "--to", "bob@example.com", "--header", "Subject: Win a prize", ok=(26,))
        swaks(3, "--to", "nobody@example.com", ok=(24,))
        wrong = ("--auth-user", "alice", "--auth-password", "guess-1")
        swaks(4, "--to", "bob@example.com", "--auth", "PLAIN", *wrong, ok=(28,))
    event: dict[str, Any] = {"event.dataset": "network_traffic.smtp", "destination.port": 25}
    mail = {**event, "event.action": "smtp_message", "netflight.smtp.mail_from": "alice@example.com"}
    return Case(
        title="SMTP: mails taken for two of three recipients, refused as spam and for nobody; logins right and wrong",
        recorded="swaks sent mails to an aiosmtpd server that knows one account, refuses one recipient and one "
        "subject. The first is pipelined.",
        packages=("python3-aiosmtpd", "swaks"),
        counted=("smtp", "flow", "arp"),
        contains=[
            {
                **mail,
                "network_traffic.status": "OK",
                "netflight.smtp.rcpt_refused": ["nobody@example.com"],
                "email.subject": "Bes\u00fcch at nine",
            },
            {**mail, "network_traffic.status": "Error", "email.subject": "Win a prize"},
            {"event.dataset": "network_traffic.credentials", "user.name": "alice"},
        ],
    )


def mailbox(lab: Lab, out: Path) -> Case:
    """A mailbox is read over IMAP and POP3."""
    server, client = lab.host("mail1", f"{MAIL}/24"), lab.host("client1", f"{CLIENT}/24")
    password = servers_mail.mailbox(server)
    note = client.write("note.txt", "Subject: Note\r\n\r\nA1 LOGIN is a line of this mail.\r\n")
    user = ("-sS", "-o", "/dev/null", "-u", f"alice:{password}")

    def curl(*argv: str, ok: tuple[int, ...] = (0,)) -> None:
        client.run("curl", *argv, ok=ok)

    def type_to(port: int, *typed: str) -> None:
        keys = "; ".join(f"printf '{text}'; sleep 0.3" for text in typed)
        client.run("sh", "-c", f"(sleep 0.3; {keys}; sleep 1) | nc -w 3 {MAIL} {port}")

    with Tap(lab, out):
        imap, pop = f"imap://{MAIL}", f"pop3://{MAIL}"
        curl(*user, "--login-options", "AUTH=LOGIN", f"{imap}/INBOX/;UID=1")
        curl(*user, "--login-options", "AUTH=PLAIN", f"{imap}/", "-X", "SELECT Missing", ok=(0, 21))
        curl(*user, "--login-options", "AUTH=PLAIN", f"{imap}/INBOX", "-T", str(note))
        # A login whose name and password are literals, then several commands in a packet.
        typed = (
            *(
                "a1 CAPABILITY\\r\\na2 LOGIN {5}\\r\\n",
                f"alice {{{len(password)}}}\\r\\n",
                f"{password}\\r\\n",
            ),
            "a3 SELECT INBOX\\r\\na4 FETCH 1:2 (FLAGS)\\r\\na5 LOGOUT\\r\\n",
        )
        type_to(143, *typed)
        curl(*user, "--login-options", "AUTH=LOGIN", f"{pop}/1")
        curl(*user, "--login-options", "AUTH=PLAIN", f"{pop}/")
        type_to(
            110,
            *(f"{line}\\r\\n" for line in ("USER alice", f"PASS {password}", "TOP 1 0", "DELE 9", "QUIT")),
        )
        curl("-sS", "-u", "alice:guess-1", "--login-options", "AUTH=PLAIN", f"{imap}/", ok=(67,))
        curl("-sS", "-u", "alice:guess-1", "--login-options", "AUTH=PLAIN", f"{pop}/", ok=(67,))
    imap_event: dict[str, Any] = {"event.dataset": "network_traffic.imap", "destination.port": 143}
    pop_event: dict[str, Any] = {"event.dataset": "network_traffic.pop3", "destination.port": 110}
    return Case(
        title="A mailbox over IMAP and POP3: logins of several kinds, pipelined commands, literals, refusals",
        recorded="curl and netcat read the mails of a Dovecot server.",
        packages=("dovecot-imapd", "dovecot-pop3d", "curl", "netcat-openbsd"),
        counted=("imap", "pop3", "flow", "arp"),
        contains=[
            {**imap_event, "netflight.imap.command": "SELECT", "network_traffic.status": "Error"},
            {**imap_event, "netflight.imap.command": "APPEND", "network_traffic.status": "OK"},
            {**imap_event, "netflight.imap.command": "LOGIN", "user.name": "alice"},
            {**pop_event, "netflight.pop3.command": "DELE", "network_traffic.status": "Error"},
            {**pop_event, "netflight.pop3.command": "RETR", "network_traffic.status": "OK"},
        ],
    )


def ftp(lab: Lab, out: Path) -> Case:
    """Files are listed, fetched, stored, renamed and removed; passive, extended passive and active."""
    server, client = lab.host("files", f"{FILES}/24"), lab.host("client1", f"{CLIENT}/24")
    password = servers_mail.ftp(server)
    upload = client.write("upload.txt", "from the client\n")
    here = f"ftp://{FILES}"

    def curl(*argv: str, ok: tuple[int, ...] = (0,)) -> None:
        client.run("curl", "-sS", "-o", "/dev/null", *argv, ok=ok)

    with Tap(lab, out):
        curl(f"{here}/readme.txt")
        login = ("-u", f"alice:{password}")
        curl(*login, f"{here}/report.txt")
        curl(*login, "--disable-epsv", "-T", str(upload), f"{here}/notes/", "--ftp-create-dirs")
        curl(*login, "-P", "-", "--disable-eprt", f"{here}/")
        curl(*login, "-P", "-", f"{here}/missing.txt", ok=(78,))
        curl("-u", "alice:guess-1", f"{here}/", ok=(67,))
        # lftp sends several commands in a packet
        script = "set ftp:sync-mode off; set net:max-retries 1; set cmd:fail-exit no; "
        script += "cat report.txt; mv report.txt old.txt; rm missing.txt; site chmod 600 old.txt; bye"
        client.run("lftp", "-u", f"alice,{password}", "-e", script, here, ok=None)
    event: dict[str, Any] = {"event.dataset": "network_traffic.ftp", "destination.port": 21}
    return Case(
        title="FTP: files fetched, stored, renamed; passive, extended and active; anonymous, right and wrong logins",
        recorded="curl and lftp against vsftpd.",
        packages=("vsftpd", "curl", "lftp"),
        counted=("ftp", "flow", "arp"),
        contains=[
            {**event, "netflight.ftp.command": "RETR", "file.path": "report.txt", "user.name": "alice"},
            {**event, "netflight.ftp.command": "STOR", "file.name": "upload.txt"},
            {**event, "netflight.ftp.command": "PASS", "network_traffic.status": "Error"},
        ],
    )


def irc(lab: Lab, out: Path) -> Case:
    """Two users talk in a channel; one becomes an operator."""
    server = lab.host("chat1", f"{CHAT}/24")
    clients = [lab.host(f"client{number}", f"192.0.2.10{number}/24") for number in (1, 2)]
    password = servers_mail.irc(server)
    talk = (
        f"sleep 1; echo ':JOIN #ops {password}'; echo ':PRIVMSG #ops :hello'; sleep 1; echo ':OPER root {password}'; "
        f"echo ':PRIVMSG NickServ :IDENTIFY alice {password}'; echo ':WHOIS bob'; sleep 1; echo ':QUIT :bye'; sleep 1"
    )
    listen = "sleep 1; echo ':JOIN #ops'; sleep 1; echo ':NICK alice'; sleep 2; echo ':QUIT'; sleep 1"

    with Tap(lab, out):
        for host, nick, said in ((clients[1], "bob", listen), (clients[0], "alice", talk)):
            host.start("sh", "-c", f"({said}) | sic -h {CHAT} -p 6667 -n {nick} -k {password}")
        clients[0].run("sleep", "9")
    event: dict[str, Any] = {"event.dataset": "network_traffic.irc", "destination.port": 6667}
    return Case(
        title="IRC: two users in a channel, with passwords for the server, an operator and a service",
        recorded="Two sic clients on an ngIRCd server.",
        packages=("ngircd", "sic"),
        counted=("irc", "flow"),
        contains=[
            {**event, "netflight.irc.command": "PRIVMSG", "netflight.irc.channel": ["#ops"]},
            {
                "event.dataset": "network_traffic.irc",
                "source.port": 6667,
                "netflight.irc.reply": "RPL_YOUREOPER",
            },
        ],
    )


SCENES: dict[str, Callable[[Lab, Path], Case]] = {"smtp": smtp, "mailbox": mailbox, "ftp": ftp, "irc": irc}
