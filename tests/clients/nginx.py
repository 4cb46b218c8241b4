"""nginx of its own for a test: its folder, its ports, gone afterwards."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.kit import ROOT, eventually, require

# What a machine's nginx.conf says around the servers. Everything it writes goes to its own folder.
AROUND = """\
daemon off;
worker_processes 2;
pid nginx.pid;
error_log error.log;
events {{ worker_connections 256; }}
http {{
  log_format told '$server_port $request_method $status "$http_last_event_id"';
  access_log access.log told;
  client_body_temp_path body;
  proxy_temp_path proxy;
  fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi;
  scgi_temp_path scgi;
{servers}
}}
"""


@dataclass
class Nginx:
    """Where it is kept."""

    folder: Path

    def answered(self, port: int, pattern: str) -> int:
        """Return how many answers that are over match: method, status, Last-Event-ID in quotes."""
        return len(re.findall(f"^{port} {pattern}$", (self.folder / "access.log").read_text(), re.MULTILINE))


def snippet(upstream: int, port: int) -> str:
    """Return what docs/proxies.md says to write, for these two ports."""
    found = re.search(r"```nginx\n(.*?)```", (ROOT / "docs" / "proxies.md").read_text(), re.DOTALL)
    assert found is not None
    text, upstreams = re.subn(r"127\.0\.0\.1:8000", f"127.0.0.1:{upstream}", found[1])
    text, listens = re.subn(r"listen 80;", f"listen 127.0.0.1:{port};", text)
    assert upstreams == 1 and listens == 1
    return text


def plain(upstream: int, port: int) -> str:
    """Return a server that passes everything on with nginx's defaults."""
    return f"server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://127.0.0.1:{upstream}; }} }}"


def impatient(upstream: int, port: int) -> str:
    """Return a server that cuts streams that are silent for two seconds; only what opens a session is waited for."""
    to = f"proxy_pass http://127.0.0.1:{upstream};"
    opening = 'if ($http_mcp_session_id = "") { return 418; } error_page 418 = @opening;'
    return (
        f"server {{ listen 127.0.0.1:{port}; location / {{ {opening} {to} proxy_read_timeout 2s; }} "
        f"location @opening {{ {to} }} }}"
    )


@contextmanager
def nginx(folder: Path, servers: str) -> Iterator[Nginx]:
    """Run nginx with these servers until the block ends."""
    binary = require("nginx")
    folder.mkdir()
    (folder / "nginx.conf").write_text(AROUND.format(servers=servers))
    command = [binary, "-p", str(folder), "-c", "nginx.conf", "-e", "error.log"]
    if os.geteuid() == 0:
        command += ["-g", "user root;"]  # or its workers could not enter a test's folder
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        eventually(lambda: process.poll() is not None or (folder / "nginx.pid").exists(), within_s=30)
        assert process.poll() is None, process.stderr and process.stderr.read()
        yield Nginx(folder)
    finally:
        process.terminate()
        process.communicate(timeout=30)
