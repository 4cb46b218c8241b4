"""`holdfast COMMAND …`: reads the words, runs the command, turns errors into one line and an exit code."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from typing import NoReturn

from .._version import __version__
from ..config import OPTIONS, load
from ..config.load import data_dir, nearest, store_keys
from ..model import HoldfastError, Misused
from ..observability import LogSettings, log_to_stderr
from . import keeping_words


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise Misused(f"{message}; see {self.prog} --help")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit code: 0 done, 1 failed, 2 the call must be changed."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        return _run(words)
    except Misused as error:
        print(f"holdfast: {error}", file=sys.stderr)
        return 2
    except HoldfastError as error:
        print(f"holdfast: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _run(words: list[str]) -> int:
    before, after = (words[: words.index("--")], words[words.index("--") + 1 :]) if "--" in words else (words, [])
    parser, commands = _parsers()
    options, unknown = parser.parse_known_args(before)
    if unknown:
        raise Misused(f"unknown argument {unknown[0]}; {_hint(options.command, commands, unknown[0])}")
    if options.command == "demo":
        log_to_stderr(LogSettings())
        from .demo import demo, demo_upgrade

        return demo_upgrade() if options.story == "upgrade" else demo()
    if options.command == "keeper":
        from .keeper import keeper

        return keeper(options.asks, data_dir(options.data), json=options.json)
    if options.command == "store":
        from .store import store

        return store(options.does, options.url, store_keys(options.key_file), json=options.json)
    if options.command in ("backup", "restore", "snapshot"):
        return keeping_words.run(options)
    if options.command == "token":
        from .token import token

        return token(options.name)
    flags = {option.name: vars(options)[option.name] for option in OPTIONS if option.name in vars(options)}
    from ..server.serve import serve

    settings = load(flags, after, options.config)
    log_to_stderr(settings.logs)
    serve(settings, lambda line: print(line, flush=True), replaces=options.replace)
    return 0


def _hint(command: str, commands: Mapping[str, _Parser], word: str) -> str:
    if command != "serve":
        return f"see holdfast {command} --help"
    known = [action for action in commands[command]._option_string_actions if action.startswith("--")]
    return nearest(word, known) if word.startswith("-") else "put -- before the command to host"


def _parsers() -> tuple[_Parser, Mapping[str, _Parser]]:
    """Return the parser of all, and that of each command."""
    parser = _Parser(prog="holdfast", description="Keeps MCP sessions alive.", allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"holdfast {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_serve(
        commands.add_parser(
            "serve",
            help="host a stdio MCP server over HTTP, one process and one durable session per client",
            usage="holdfast serve [OPTION …] -- COMMAND [ARG …]",
            epilog="Each option is also an environment variable (HOLDFAST_SESSION_TIMEOUT) and a key of the file.",
            allow_abbrev=False,
        )
    )
    _add_keeper(
        commands.add_parser(
            "keeper", help="look at the process that owns the MCP servers, or end it", allow_abbrev=False
        )
    )
    _add_store(commands.add_parser("store", help="look at a store, check it, or repair it", allow_abbrev=False))
    keeping_words.add_backup(
        commands.add_parser("backup", help="write all of a store to a file or stdout", allow_abbrev=False)
    )
    keeping_words.add_restore(
        commands.add_parser("restore", help="put a backup in the place of a store", allow_abbrev=False)
    )
    keeping_words.add_snapshot(
        commands.add_parser("snapshot", help="save, compare and restore sessions of a store", allow_abbrev=False)
    )
    token_parser = commands.add_parser("token", help="make a token: its line for --token-file, and the token itself")
    token_parser.add_argument("name", metavar="NAME", help="whose it is; sessions belong to the name, not to the token")
    demo_parser = commands.add_parser(
        "demo", help="watch a session live on while its server is killed and started again"
    )
    demo_parser.add_argument(
        "story",
        nargs="?",
        choices=("upgrade",),
        help="a call of ten seconds runs on while its server is killed or replaced",
    )
    return parser, commands.choices


def _add_serve(parser: _Parser) -> None:
    parser.add_argument("--config", metavar="FILE", help="a TOML file of these options, and command = [WORD, …]")
    parser.add_argument(
        "--replace", action="store_true", help="take the place of the server that uses the data directory, if one does"
    )
    for option in OPTIONS:
        default = f" [{option.default}]" if option.default is not None else ""
        parser.add_argument(
            f"--{option.name}",
            dest=option.name,
            metavar=option.metavar,
            action="append" if option.many else "store",
            default=argparse.SUPPRESS,
            help=option.help + default,
        )


def _add_keeper(parser: _Parser) -> None:
    parser.add_argument(
        "asks",
        choices=("status", "stop"),
        metavar="status|stop",
        help="status: what runs; stop: end all of it, when no server uses it",
    )
    parser.add_argument(
        "--data", metavar="DIR", help="the data directory of the server, as it was given to it [.holdfast]"
    )
    parser.add_argument("--json", action="store_true", help="answer with one line of JSON")


def _add_store(parser: _Parser) -> None:
    parser.add_argument(
        "does",
        choices=("info", "check", "repair"),
        metavar="info|check|repair",
        help="info: what it is; check: read all of it; repair: keep what can be read, when no server uses it",
    )
    parser.add_argument("url", metavar="URL", help="its address, as sqlite:///.holdfast/sessions.db")
    parser.add_argument("--key-file", metavar="FILE", help="the keys it is encrypted with, as holdfast serve has them")
    parser.add_argument("--json", action="store_true", help="answer with one line of JSON")
