"""The table of options of `holdfast serve`: each is a flag, an environment variable and a key of the file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from ..identity.rules import ALGORITHMS
from ..model.urls import secure_url
from ..transport.door import allowed_host, allowed_origin
from .values import (
    base_url,
    choice,
    duration_s,
    frame_bytes,
    header_name,
    key_place,
    lifetime_s,
    network,
    patience_s,
    plain,
    size_bytes,
    url_path,
    whole,
)


@dataclass(frozen=True, slots=True)
class Option:
    """One setting. `name` is the flag without its dashes and the key in the file; `default` is written as a user would.

    An option with `many` may be given several times; in the file it is a list, in the environment separated by commas.
    """

    name: str
    metavar: str
    read: Callable[[str], Any]
    default: str | None
    help: str
    many: bool = False

    @property
    def variable(self) -> str:
        """The environment variable that sets it."""
        return "HOLDFAST_" + self.name.upper().replace("-", "_")


OPTIONS: Final = (
    Option("host", "ADDRESS", plain, "127.0.0.1", "the address to listen on; others than loopback want a login"),
    Option("port", "N", whole(0, 65535), "8000", "the port to listen on; 0 takes a free one"),
    Option("path", "PATH", url_path, "/mcp", "the path of the MCP endpoint"),
    Option("allow-host", "HOST[:PORT]", allowed_host, None, "what clients may call this server; * for all", many=True),
    Option("allow-origin", "ORIGIN", allowed_origin, None, "a web page that may use it; * for all of them", many=True),
    Option("public-url", "URL", base_url, None, "the address of this server for clients, without --path"),
    Option("token-file", "FILE", plain, None, "who may use it: a file of lines that `holdfast token` makes"),
    Option("jwt-issuer", "URL", secure_url, None, "who may use it: those with a JSON Web Token of this issuer"),
    Option("jwt-audience", "TEXT", plain, None, "what the audience (aud) of such a token must be or include"),
    Option("jwt-jwks", "URL-OR-FILE", key_place, None, "where the issuer's keys are [as its metadata say]"),
    Option("jwt-algorithm", "NAME", choice(*ALGORITHMS), None, "what may sign [RS256, ES256 and EdDSA]", many=True),
    Option("trust-header", "NAME", header_name, None, "who may use it: whom the proxy in front names in this header"),
    Option("trust-proxy", "ADDRESS", network, None, "where that proxy is, as 10.0.0.0/8 [this machine]", many=True),
    Option("data", "DIR", plain, ".holdfast", "the data directory: sessions, their folders, logs; one server each"),
    Option("store", "URL", plain, None, "where sessions are kept [sqlite, in the data directory]"),
    Option("key-file", "FILE", plain, None, "what encrypts the store: a file of lines ID BASE64, the newest first"),
    Option("compress", "WHAT", choice("on", "off"), "off", "whether what the store keeps is compressed"),
    Option("session-timeout", "TIME", lifetime_s, "1h", "a session ends when unused for so long; or never"),
    Option("log-format", "KIND", choice("text", "json"), "text", "how the lines on stderr are written: text or json"),
    Option("log-level", "LEVEL", choice("debug", "info", "warning", "error"), "info", "the least that is logged"),
    Option("env", "NAME[=VALUE]", plain, None, "a variable the MCP server gets, from here or as given", many=True),
    Option("env-file", "FILE", plain, None, "a file of NAME=VALUE lines the MCP server gets"),
    Option("answer", "KIND", choice("auto", "json", "stream"), "auto", "json, stream, or json unless it takes long"),
    Option("stream-after", "TIME", duration_s, "100ms", "how long an answer may take before it becomes a stream"),
    Option("poll-after", "TIME", patience_s, "never", "how long a client waits for an answer before it must come back"),
    Option(
        "request-timeout", "TIME", patience_s, "1h", "how long an MCP server may take to answer a request; or never"
    ),
    Option("on-stop", "WHAT", choice("end", "keep"), "end", "MCP servers at a stop: end, or keep for the next start"),
    Option("start-timeout", "TIME", duration_s, "60s", "how long an MCP server may take to answer initialize"),
    Option("max-frame", "SIZE", frame_bytes, "10MiB", "how long one message may be, either way; up to 60MiB"),
    Option("max-sessions", "N", whole(1, 10**9), "10000", "how many sessions may exist"),
    Option("max-starting", "N", whole(1, 1000), "8", "how many MCP servers may be starting at once"),
    Option("journal-entries", "N", whole(1, 10**9), "10000", "messages kept per session for clients that resume"),
    Option("journal-bytes", "SIZE", size_bytes, "16MiB", "bytes kept per session for clients that resume"),
    Option("journal-total", "SIZE", size_bytes, "4GiB", "bytes kept for clients that resume, of all sessions"),
    Option(
        "journal-age", "TIME", duration_s, "24h", "how long messages, and answers, are kept for clients that resume"
    ),
)
