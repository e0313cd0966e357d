"""Servers of the web scenes: HTTP/2 in clear, pages behind a password, a proxy that asks for one."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from samples.record.lab import wait_for

if TYPE_CHECKING:
    from samples.record.lab import Host

PAGES = {
    "index.html": "<html><link rel=stylesheet href=style.css><body>Welcome</body></html>\n",
    "style.css": "body { font: 1em serif }\n",
    "script.js": "let recorded = true\n",
}


def http2(host: Host) -> None:
    """Run nghttpd on port 8080, which pushes the style sheet and sends trailers, and nghttpx on port 80 before it."""
    for name, text in PAGES.items():
        host.write(f"www/{name}", text)
    root = str(host.folder / "www")
    host.start("nghttpd", "--no-tls", "-d", root, "-p", "/=/style.css", "--trailer", "checked: yes", "8080")
    front, back = "--frontend=*,80;no-tls", "--backend=127.0.0.1,8080;;proto=h2"
    host.start("nghttpx", front, back, "--workers=1", f"--pid-file={host.folder}/nghttpx.pid")
    wait_for(lambda: host.listening(80) and host.listening(8080), "nghttpd and nghttpx")


NGINX_CONF = """\
daemon off; master_process off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 64; }}
http {{
  access_log off; server_tokens off; types {{ text/html html; }}
  client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
  uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
  server {{
    listen 80; root {folder}/www;
    location = /members.html {{ auth_basic "members"; auth_basic_user_file {folder}/users; }}
  }}
}}
"""


def behind_a_password(host: Host, user: str, password: str) -> None:
    """Run nginx on port 80; /members.html wants Basic authentication."""
    host.write("www/index.html", PAGES["index.html"])
    host.write("www/members.html", "<html><body>For members</body></html>\n")
    hashed = subprocess.run(
        ["openssl", "passwd", "-apr1", password], capture_output=True, text=True, check=True
    ).stdout
    host.write("users", f"{user}:{hashed}")
    conf = host.write("nginx.conf", NGINX_CONF.format(folder=host.folder))
    host.start("nginx", "-c", str(conf), "-e", str(host.folder / "error.log"))
    wait_for(lambda: host.listening(80), "nginx")


def proxy(host: Host, user: str, password: str) -> None:
    """Run tinyproxy on port 8080; it wants Basic authentication."""
    conf = host.write(
        "tinyproxy.conf",
        f"Port 8080\nTimeout 60\nMaxClients 20\nDisableViaHeader Yes\nBasicAuth {user} {password}\n"
        f'PidFile "{host.folder}/tinyproxy.pid"\n',
    )
    host.start("tinyproxy", "-d", "-c", str(conf))
    wait_for(lambda: host.listening(8080), "tinyproxy")
