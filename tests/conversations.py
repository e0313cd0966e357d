"""Conversations of protocols that are read as streams of bytes: who says what, a turn each; secrets are `hidden`."""

from collections.abc import Iterator

from tests.packets import Turn

MESSAGE = (
    b"From: Al <a@b.example>\r\nTo: c@d.example,\r\n e@f.example\r\n"
    b"Subject: =?utf-8?Q?t=C3=A9st?=\r\nMessage-ID: <1@x>\r\n"
    b'Content-Type: multipart/mixed;\r\n boundary="b b"\r\n\r\nQUIT\r\n..dot\r\n--b b\r\n'
    b"Content-Type: text/plain\r\n\r\nhi\r\n"
    b"--b b\r\nContent-Type: application/zip\r\n"
    b'Content-Disposition: attachment; filename="a.zip"\r\n\r\nUEs=\r\n--b b--\r\n'
)

CONVERSATIONS: dict[str, list[Turn]] = {
    "smtp": [
        (False, b"220-mail1\r\n220 ready\r\n"),
        (True, b"EHLO me\r\n"),
        (False, b"250-mail1\r\n250-CHUNKING\r\n250 PIPELINING\r\n"),
        (True, b"AUTH LOGIN\r\n"),
        (False, b"334 VXNlcm5hbWU6\r\n"),
        (True, b"YWxpY2U=\r\n"),
        (False, b"334 UGFzc3dvcmQ6\r\n"),
        (True, b"aGlkZGVu\r\n"),
        (False, b"235 ok\r\n"),
        (
            True,
            b"MAIL FROM:<a@b.example> SIZE=9\r\nRCPT TO:<c@d.example>\r\nRCPT TO:<no@d.example>\r\nDATA\r\n",
        ),
        (False, b"250 ok\r\n250 ok\r\n550 no\r\n354 go\r\n"),
        (True, MESSAGE + b".\r\nMAIL FROM:<>\r\nRCPT TO:<c@d.example>\r\nDATA\r\n"),
        (False, b"250 2.0.0 queued\r\n250 ok\r\n250 ok\r\n554 no\r\n"),
        (True, b"RSET\r\nMAIL FROM:<x@b.example>\r\nRCPT TO:<c@d.example>\r\n"),
        (False, b"250 reset\r\n250 ok\r\n250 ok\r\n"),
        (
            True,
            b"BDAT 40\r\n"
            + MESSAGE[:40]
            + b"BDAT %d LAST\r\n" % (len(MESSAGE) - 40)
            + MESSAGE[40:]
            + b"QUIT\r\n",
        ),
        (False, b"250 ok\r\n250 2.0.0 queued\r\n221-good\r\n221 bye\r\n"),
    ],
    "ftp": [
        (False, b"220-welcome\r\n 220 not yet\r\n220 ready\r\n"),
        (True, b"USER bob\r\n"),
        (False, b"331 password\r\n"),
        (True, b"PASS hidden\r\nPORT 192,0,2,1,19,137\r\n"),
        (False, b"230-hello\r\n  - rules\r\n230 in\r\n200 ok\r\n"),
        (True, b"RETR a b.txt\r\n"),
        (False, b"150 opening\r\n226 done\r\n"),
        (True, b"EPSV\r\nSTOR x\r\n\xff\xf4\xff\xf2ABOR\r\nQUIT\r\n"),
        (False, b"229 Extended (|||4711|)\r\n150 ok\r\n426 cut\r\n226 abort\r\n221 bye\r\n"),
    ],
    "imap": [
        (False, b"* OK ready\r\n"),
        (True, b"a LOGIN {5}\r\n"),
        (False, b"+ go\r\n"),
        (True, b"alice {6+}\r\nhidden\r\nb SELECT INBOX\r\n"),
        (False, b"a OK in\r\n* 1 EXISTS\r\nb OK selected\r\n"),
        (True, b"c FETCH 1 BODY[]\r\nd APPEND INBOX {20+}\r\nx NOOP\r\nz OK lost\r\n\r\n"),
        (False, b"* 1 FETCH (BODY[] {18}\r\nc OK fetched\r\n+OK\r\n)\r\nc OK done\r\nd OK kept\r\n"),
        (True, b"e AUTHENTICATE PLAIN AGFsaWNlAGhpZGRlbg==\r\nf IDLE\r\n"),
        (False, b"e NO no\r\n+ idling\r\n* 2 EXISTS\r\n"),
        (True, b"DONE\r\ng LOGOUT\r\n"),
        (False, b"f OK idled\r\n* BYE\r\ng OK bye\r\n"),
    ],
    "pop3": [
        (False, b"+OK ready <1@x>\r\n"),
        (True, b"USER alice\r\nPASS hidden\r\nSTAT\r\nLIST\r\nRETR 1\r\nLIST 1\r\n"),
        (
            False,
            b"+OK\r\n+OK in\r\n+OK 1 20\r\n+OK list\r\n1 20\r\n.\r\n+OK o\r\n-ERR x\r\n+OK\r\n..\r\n.\r\n+OK 1\r\n",
        ),
        (True, b"AUTH PLAIN\r\n"),
        (False, b"+ \r\n"),
        (True, b"AGFsaWNlAGhpZGRlbg==\r\n"),
        (False, b"-ERR no\r\n"),
        (True, b"QUIT\r\n"),
        (False, b"+OK bye\r\n"),
    ],
    "irc": [
        (True, b"PASS hidden\r\nNICK bob\r\nUSER b 0 * :Bob B\r\n"),
        (False, b":s 001 bob :hi\r\n:s 353 bob = #ch :bob al\n"),
        (
            True,
            b"JOIN #ch hidden\r\n@a=b PRIVMSG #ch :hello: there\r\nPRIVMSG NickServ :IDENTIFY bob hidden\r\n",
        ),
        (False, b"@time=1 :al!a@h PRIVMSG #ch :\xff\xfe\r\nPING :x\r\n"),
    ],
    "redis": [
        (True, b"*2\r\n$5\r\nHELLO\r\n$1\r\n3\r\n*3\r\n$4\r\nAUTH\r\n$5\r\nalice\r\n$6\r\nhidden\r\n"),
        (False, b"%1\r\n$5\r\nproto\r\n:3\r\n+OK\r\n"),
        (
            True,
            b'*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$13\r\n+OK\r\n*1\r\n:1\r\n\r\nPING\r\nGET "a b"\r\n*1\r\n$5\r\nMULTI\r\n',
        ),
        (False, b"+OK\r\n+PONG\r\n$-1\r\n>2\r\n+invalidate\r\n*0\r\n-ERR no\r\n"),
        (
            True,
            b"*3\r\n$6\r\nCLIENT\r\n$5\r\nREPLY\r\n$3\r\nOFF\r\n*2\r\n$4\r\nINCR\r\n$1\r\nn\r\n*3\r\n$6\r\nCLIENT\r\n$5\r\nREPLY\r\n$2\r\nON\r\n",
        ),
        (False, b"|1\r\n+ttl\r\n:5\r\n+OK\r\n"),
        (True, b"*3\r\n$9\r\nSUBSCRIBE\r\n$1\r\nx\r\n$1\r\ny\r\n"),
        (
            False,
            b"*3\r\n$9\r\nsubscribe\r\n$1\r\nx\r\n:1\r\n*3\r\n$9\r\nsubscribe\r\n$1\r\ny\r\n:2\r\n*3\r\n$7\r\nmessage\r\n$1\r\nx\r\n$2\r\n\r\n\r\n",
        ),
    ],
    "memcached": [
        (
            True,
            b"set a 1 0 12\r\nget x\r\nEND\r\n\r\nget a b\r\nset q 0 0 3 noreply\r\nxyz\r\nincr n 5\r\nstats\r\n",
        ),
        (
            False,
            b"STORED\r\nVALUE a 1 12\r\nget x\r\nEND\r\n\r\nEND\r\n6\r\nSTAT pid 1\r\nSTAT x y\r\nEND\r\n",
        ),
        (True, b"ms k 2\r\nhi\r\nmg k v\r\ntouch a 3\r\nfoo\r\nquit\r\n"),
        (False, b"HD\r\nVA 2 s2\r\nhi\r\nTOUCHED\r\nERROR\r\n"),
    ],
}


def cut(turns: list[Turn], cuts: list[int]) -> Iterator[Turn]:
    """The turns in more packets: the bytes of all of them cut at these places."""
    at = 0
    for client, data in turns:
        marks = sorted({mark - at for mark in cuts if at < mark < at + len(data)})
        for begin, end in zip([0, *marks], [*marks, len(data)], strict=True):
            yield client, data[begin:end]
        at += len(data)
