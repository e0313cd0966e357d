"""The scenes of HTTP/2 in clear, and of who logs in over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from samples.record import servers_web
from samples.record.case import Case
from samples.record.lab import Lab, Tap

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SERVER, PROXY, CLIENT = "192.0.2.80", "192.0.2.88", "192.0.2.101"
HTTP = {"event.dataset": "network_traffic.http"}
CREDENTIALS = {"event.dataset": "network_traffic.credentials", "netflight.credentials.secret": "[redacted]"}


def http2(lab: Lab, out: Path) -> Case:
    """Streams side by side, a push, trailers, a CONTINUATION frame, upgrades from HTTP/1.1."""
    server, client = lab.host("web1", f"{SERVER}/24"), lab.host("client1", f"{CLIENT}/24")
    servers_web.http2(server)
    client.etc("hosts", f"127.0.0.1 localhost\n{SERVER} www.example.com\n")
    form = client.write("form.txt", "name=Amelia\n")
    direct, front = "http://www.example.com:8080", "http://www.example.com"
    login = "authorization: Basic YW1lbGlhOmVhcmhhcnQ="  # amelia:earhart
    with Tap(lab, out):
        client.run("nghttp", "-n", f"{direct}/", f"{direct}/script.js", f"{direct}/missing")
        # Longer than a frame (16 KiB), of a character that is not compressed; what comes after it is in the next.
        long = f"x-long: {'~' * 16_500}"
        client.run("curl", "-sS", "--http2-prior-knowledge", "-H", long, "-H", login, f"{direct}/script.js")
        client.run("nghttp", "-n", "-d", str(form), "--trailer", "sum: 1", f"{direct}/index.html")
        client.run("nghttp", "-n", "-u", f"{front}/index.html?upgraded=yes")
        client.run("curl", "-sS", "--http2", "-o", "/dev/null", f"{front}/style.css")
        client.run("curl", "-sS", "--http2-prior-knowledge", "-I", f"{front}/style.css")

    def stream(method: str, path: str, status: int, **more: Any) -> dict[str, Any]:
        event = {**HTTP, "http.request.method": method, "url.path": path, "http.response.status_code": status}
        named = {name.replace("__", "."): value for name, value in more.items()}
        return event | {"http.version": "2", "url.domain": "www.example.com", **named}

    upgraded = {"netflight.http.upgrade": "h2c", "netflight.http.stream": 1}
    return Case(
        title="HTTP/2 in clear: streams side by side, a push, trailers, a CONTINUATION frame, upgrades from HTTP/1.1",
        recorded="nghttp and curl asked nghttpd, directly and through nghttpx, which is where a connection that "
        "begins as HTTP/1.1 can go on as HTTP/2. One head is so long that it takes a CONTINUATION frame, which has a "
        "password in it.",
        packages=("nghttp2-client", "nghttp2-server", "nghttp2-proxy", "curl"),
        counted=("http", "flow"),
        sent={"http": 9, "flow": 6},
        alerts=("HTTP request by a script's or tool's client",),
        contains=[
            stream("GET", "/", 200, netflight__http__stream=13, user_agent__original="nghttp2/1.52.0"),
            stream("GET", "/script.js", 200, netflight__http__stream=15),
            stream("GET", "/missing", 404, netflight__http__stream=17),
            stream("GET", "/style.css", 200, netflight__http__stream=2, netflight__http__pushed=True),
            stream("GET", "/script.js", 200, user__name="amelia", netflight__http__authentication="Basic"),
            stream("POST", "/index.html", 200, http__request__body__bytes=12),
            stream("GET", "/index.html", 200, url__query="upgraded=yes", **upgraded),
            stream("GET", "/style.css", 200, **upgraded),
            stream("HEAD", "/style.css", 200, http__response__body__bytes=0),
            {**CREDENTIALS, "user.name": "amelia", "netflight.credentials.mechanism": "Basic"},
        ],
    )


def http_logins(lab: Lab, out: Path) -> Case:
    """Basic authentication at a server and at a proxy, right and wrong; other schemes; a password in a URL."""
    server, client = lab.host("web1", f"{SERVER}/24"), lab.host("client1", f"{CLIENT}/24")
    between = lab.host("proxy1", f"{PROXY}/24")
    for host in (client, between):
        host.etc("hosts", f"127.0.0.1 localhost\n{SERVER} www.example.com\n")
    servers_web.behind_a_password(server, "amelia", "earhart")
    servers_web.proxy(between, "staff", "letmein")
    page = "http://www.example.com/members.html"
    by_proxy = ("-x", f"http://{PROXY}:8080")

    def curl(*argv: str) -> None:
        client.run("curl", "-sS", "-o", "/dev/null", *argv)

    with Tap(lab, out):
        curl(page)
        curl("-u", "amelia:earhart", page)
        curl("-u", "amelia:wrong", page)
        curl("-u", "amelia:earhart", page, page, "-o", "/dev/null")  # the same twice on one connection
        curl("-H", "Authorization: Bearer 2YotnFZFEjr1zCsicMWpAA", page)
        curl(*by_proxy, "http://www.example.com/")
        curl(*by_proxy, "-U", "staff:letmein", "http://www.example.com/")
        curl(*by_proxy, "-U", "staff:letmein", "-u", "amelia:earhart", page)
        curl("--request-target", "http://amelia:earhart@www.example.com/", "http://www.example.com/")

    def asked(status: int, **more: Any) -> dict[str, Any]:
        named = {name.replace("__", "."): value for name, value in more.items()}
        return {**HTTP, "http.response.status_code": status, **named}

    def shown(user: str, mechanism: str, server: str) -> dict[str, Any]:
        said = {"user.name": user, "netflight.credentials.mechanism": mechanism, "destination.ip": server}
        return {**CREDENTIALS, **said}

    return Case(
        title="HTTP: Basic authentication at a server and at a proxy, right and wrong, a token, a password in a URL",
        recorded="curl asked an nginx server whose page wants a password, directly and through tinyproxy, which "
        "wants another. The proxy hands the server's password on.",
        packages=("curl", "nginx", "tinyproxy"),
        counted=("http", "flow", "arp"),
        sent={"http": 12, "flow": 11},
        alerts=("HTTP request by a script's or tool's client",),
        contains=[
            asked(401),
            asked(200, user__name="amelia", netflight__http__authentication="Basic", source__ip=CLIENT),
            asked(401, user__name="amelia"),
            asked(401, netflight__http__authentication="Bearer"),
            asked(407, destination__ip=PROXY),
            asked(200, user__name="staff", destination__ip=PROXY),
            asked(200, user__name="amelia", destination__ip=PROXY),
            asked(200, user__name="amelia", source__ip=PROXY, destination__ip=SERVER),
            asked(400, url__original="[redacted]", url__username="amelia", url__domain="www.example.com"),
            shown("amelia", "Basic", SERVER),
            shown("staff", "Proxy Basic", PROXY),
            shown("amelia", "Basic", PROXY),
            shown("amelia", "URL", SERVER),
        ],
    )


SCENES: dict[str, Callable[[Lab, Path], Case]] = {"http2": http2, "http_logins": http_logins}
