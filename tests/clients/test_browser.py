"""A page in Debian's chromium that uses a server of another origin, with `fetch` and nothing else: R-MCP-1, R-SEC-3."""

from __future__ import annotations

import http.server
import json
import os
import queue
import signal
import subprocess
import threading
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from tests.kit import PROBE, require, serving

pytestmark = pytest.mark.slow

PAGE: Final = Path(__file__).with_name("page.html")
HOST: Final = "app.example.test"
SEEN_WITHIN_S: Final = 90.0


class Site(http.server.ThreadingHTTPServer):
    """Serves the page, and keeps what it reports."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.seen: queue.Queue[Any] = queue.Queue()
        self.origin = f"http://{HOST}:{self.server_port}"


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Site

    def do_GET(self) -> None:
        self._answer(PAGE.read_bytes())

    def do_POST(self) -> None:
        self.server.seen.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self._answer(b"")

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as site:
        thread = threading.Thread(target=site.serve_forever)
        thread.start()
        yield site
        site.shutdown()
        thread.join()


@contextmanager
def visiting(url: str, folder: Path) -> Iterator[None]:
    """Have a browser of its own show a page; the name of the site leads to this machine."""
    folder.mkdir()
    options = ["--headless", "--no-first-run", "--disable-gpu", "--disable-dev-shm-usage", "--disable-extensions"]
    if os.geteuid() == 0:
        options.append("--no-sandbox")  # which root cannot have; the page is ours
    options += [f"--user-data-dir={folder}", f"--host-resolver-rules=MAP {HOST} 127.0.0.1"]
    with (folder.parent / "chromium.log").open("w") as log:
        browser = subprocess.Popen([require("chromium"), *options, url], stdout=log, stderr=log, start_new_session=True)
    try:
        yield
    finally:
        os.killpg(browser.pid, signal.SIGKILL)
        browser.wait()


def test_a_page_of_another_origin_may_only_if_it_is_allowed(site: Site, tmp_path: Path) -> None:
    with (
        serving(tmp_path / "open", "--allow-origin", site.origin, command=PROBE) as allowing,
        serving(tmp_path / "closed", command=PROBE) as refusing,
    ):
        servers = [("server", f"http://127.0.0.1:{served.port}/mcp") for served in (allowing, refusing)]
        with visiting(f"{site.origin}/?{urllib.parse.urlencode(servers)}", tmp_path / "browser"):
            seen, refused = site.seen.get(timeout=SEEN_WITHIN_S)
        assert seen == {
            "named": True,
            "statuses": [200, 202, 200, 204, 404],
            "kind": "text/event-stream",
            "methods": ["notifications/progress", "notifications/progress", "answer"],
        }
        assert refused == "TypeError: Failed to fetch"
