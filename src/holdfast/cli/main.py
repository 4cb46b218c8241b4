"""`holdfast COMMAND …`: reads the words, runs the command, turns errors into one line and an exit code."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import NoReturn

from .._version import __version__
from ..config import OPTIONS, load
from ..config.load import nearest
from ..model import HoldfastError, Misused
from ..observability import LogSettings, log_to_stderr


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
    parser, serve_parser = _parsers()
    options, unknown = parser.parse_known_args(before)
    if unknown:
        known = [action for action in serve_parser._option_string_actions if action.startswith("--")]
        hint = nearest(unknown[0], known) if unknown[0].startswith("-") else "put -- before the command to host"
        raise Misused(f"unknown argument {unknown[0]}; {hint}")
    if options.command == "demo":
        log_to_stderr(LogSettings())
        from .demo import demo

        return demo()
    if options.command == "token":
        from .token import token

        return token(options.name)
    flags = {option.name: vars(options)[option.name] for option in OPTIONS if option.name in vars(options)}
    from ..server.serve import serve

    settings = load(flags, after, options.config)
    log_to_stderr(settings.logs)
    serve(settings, lambda line: print(line, flush=True))
    return 0


def _parsers() -> tuple[_Parser, _Parser]:
    parser = _Parser(prog="holdfast", description="Keeps MCP sessions alive.", allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"holdfast {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    serve_parser = commands.add_parser(
        "serve",
        help="host a stdio MCP server over HTTP, one process and one durable session per client",
        usage="holdfast serve [OPTION …] -- COMMAND [ARG …]",
        epilog="Each option is also an environment variable (HOLDFAST_SESSION_TIMEOUT) and a key of the file.",
        allow_abbrev=False,
    )
    serve_parser.add_argument("--config", metavar="FILE", help="a TOML file of these options, and command = [WORD, …]")
    for option in OPTIONS:
        default = f" [{option.default}]" if option.default is not None else ""
        serve_parser.add_argument(
            f"--{option.name}",
            dest=option.name,
            metavar=option.metavar,
            action="append" if option.many else "store",
            default=argparse.SUPPRESS,
            help=option.help + default,
        )
    token_parser = commands.add_parser("token", help="make a token: its line for --token-file, and the token itself")
    token_parser.add_argument("name", metavar="NAME", help="whose it is; sessions belong to the name, not to the token")
    commands.add_parser("demo", help="watch a session live on while its server is killed and started again")
    return parser, serve_parser
