"""What sipp says and waits for in a registration, a call and a call to nobody, by side."""

from __future__ import annotations

_HEAD = """Via: SIP/2.0/UDP [local_ip]:[local_port];branch=[branch]
From: "Alice" <sip:alice@example.com>;tag=[call_number]a1
To: {to}
Call-ID: [call_id]
CSeq: {number} {method}
Max-Forwards: 70
User-Agent: Desk phone 2.1
"""
_CONTACT = "Contact: <sip:alice@[local_ip]:[local_port]>\n"
_EMPTY = "Content-Length: 0\n\n"
_SDP = """Content-Type: application/sdp
Content-Length: [len]

v=0
o={owner} 53655765 2353687637 IN IP4 [local_ip]
s=A call
c=IN IP4 [media_ip]
t=0 0
m=audio [media_port] RTP/AVP 8 101
a=rtpmap:8 PCMA/8000
a=rtpmap:101 telephone-event/8000
a=fmtp:101 0-15
"""
_BOB, _NOBODY = '"Bob" <sip:bob@example.com>', "<sip:nobody@example.com>"
_CHALLENGE = 'WWW-Authenticate: Digest realm="example.com", nonce="84f1c1ae6cbe5ua9c8e88d", algorithm=MD5\n'


def scenario(name: str, password: str) -> str:
    """A scenario in sipp's XML: caller or called, _register, _call or _nobody."""
    steps = {
        "caller_register": _caller_register(password),
        "caller_call": _caller_call(),
        "caller_nobody": _caller_nobody(),
        "called_register": (
            _expect("REGISTER")
            + _answer("401 Unauthorized", _CHALLENGE + _EMPTY)
            + _expect("REGISTER")
            + _answer("200 OK", "Contact: <sip:alice@192.0.2.101:5060>;expires=600\n" + _EMPTY)
        ),
        "called_call": (
            _expect("INVITE")
            + _answer("100 Trying", _EMPTY)
            + _answer("180 Ringing", _EMPTY)
            + _answer("200 OK", "Contact: <sip:bob@[local_ip]:[local_port]>\n" + _SDP.format(owner="bob"))
            + _expect("ACK")
            + _expect("BYE")
            + _answer("200 OK", _EMPTY)
        ),
        "called_nobody": _expect("INVITE") + _answer("404 Not Found", _EMPTY) + _expect("ACK"),
    }
    return f'<?xml version="1.0" encoding="UTF-8" ?>\n<scenario name="{name}">\n{steps[name]}</scenario>\n'


def _request(method: str, uri: str, to: str, number: int, rest: str) -> str:
    head = _HEAD.format(to=to, number=number, method=method)
    return f"<send><![CDATA[\n{method} {uri} SIP/2.0\n{head}{rest}]]></send>\n"


def _answer(status: str, rest: str) -> str:
    echoed = "[last_Via:]\n[last_From:]\n[last_To:];tag=[call_number]b2\n[last_Call-ID:]\n[last_CSeq:]\n"
    return f"<send><![CDATA[\nSIP/2.0 {status}\n{echoed}Server: Exchange 7\n{rest}]]></send>\n"


def _expect(request: str) -> str:
    return f'<recv request="{request}"/>\n'


def _wait(response: int, more: str = "") -> str:
    return f'<recv response="{response}"{more}/>\n'


def _caller_register(password: str) -> str:
    alice, rest = '"Alice" <sip:alice@example.com>', _CONTACT + "Expires: 600\n"
    login = f"[authentication username=alice password={password}]\n"
    return (
        _request("REGISTER", "sip:example.com", alice, 1, rest + _EMPTY)
        + _wait(401, ' auth="true"')
        + _request("REGISTER", "sip:example.com", alice, 2, rest + login + _EMPTY)
        + _wait(200)
    )


def _caller_call() -> str:
    uri, tagged = "sip:bob@[remote_ip]:[remote_port]", f"{_BOB}[peer_tag_param]"
    offer = _CONTACT + "Allow: INVITE, ACK, BYE, CANCEL, OPTIONS\n" + _SDP.format(owner="alice")
    sound = (
        '<nop><action><exec play_pcap_audio="/usr/share/sip-tester/g711a.pcap"/></action></nop>\n'
        '<pause milliseconds="1500"/>\n'
    )
    return (
        _request("INVITE", uri, _BOB, 1, offer)
        + _wait(100)
        + _wait(180)
        + _wait(200)
        + _request("ACK", uri, tagged, 1, _EMPTY)
        + sound
        + _request("BYE", uri, tagged, 2, _EMPTY)
        + _wait(200)
    )


def _caller_nobody() -> str:
    uri = "sip:nobody@[remote_ip]:[remote_port]"
    return (
        _request("INVITE", uri, _NOBODY, 1, _CONTACT + _EMPTY)
        + _wait(404)
        + _request("ACK", uri, f"{_NOBODY}[peer_tag_param]", 1, _EMPTY)
    )
