"""The words of `holdfast backup`, `restore` and `snapshot`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from ..codec import Codec
from ..config.load import store_keys

_URL = "the store's address, as sqlite:///.holdfast/sessions.db"
_JSON = "answer with one line of JSON"


def _add_codec(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--key-file", metavar="FILE", help="the keys that store and file are encrypted with [HOLDFAST_KEYS]"
    )
    parser.add_argument("--compress", action="store_true", help="compress what is written")


def add_backup(parser: ArgumentParser) -> None:
    """Add the words of `holdfast backup`."""
    parser.add_argument("url", metavar="URL", help=_URL)
    parser.add_argument(
        "file",
        nargs="?",
        metavar="FILE|-",
        help="the file to write, - for stdout; with --every a folder [holdfast-TIME.hfa]",
    )
    parser.add_argument(
        "--every", metavar="TIME", help="make one now and then every TIME (1h, 30m), until SIGINT or SIGTERM"
    )
    parser.add_argument("--keep", metavar="COUNT", help="how many of those in the folder stay [24]")
    _add_codec(parser)
    parser.add_argument("--json", action="store_true", help=f"{_JSON}; on stderr when the backup goes to stdout")


def add_restore(parser: ArgumentParser) -> None:
    """Add the words of `holdfast restore`."""
    parser.add_argument("url", metavar="URL", help=_URL)
    parser.add_argument("file", metavar="FILE|-", help="the backup, - for stdin")
    parser.add_argument(
        "--replace", action="store_true", help="also where a store has sessions already; it is kept aside"
    )
    parser.add_argument(
        "--deleted",
        action="store_true",
        help="bring back also what the store that is replaced says was deleted or terminated since",
    )
    _add_codec(parser)
    parser.add_argument("--json", action="store_true", help=_JSON)


def add_snapshot(parser: ArgumentParser) -> None:
    """Add the words of `holdfast snapshot`."""
    words = ("take", "list", "diff", "restore", "delete")
    parser.add_argument(
        "does",
        choices=words,
        metavar="|".join(words),
        help="take: save all sessions, or one; list: which there are; diff: what is different from one to another, or "
        "to now; restore: make sessions again what they were; delete: remove a snapshot",
    )
    parser.add_argument("url", metavar="URL", help=_URL)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="the snapshot [for take: holdfast-TIME]; diff takes two"
    )
    parser.add_argument("--folder", metavar="DIR", help="where snapshots are [beside the store, as NAME.snapshots]")
    parser.add_argument("--session", metavar="ID", help="take or restore this one session")
    parser.add_argument(
        "--deleted", action="store_true", help="restore: bring back also what was deleted or has expired since"
    )
    parser.add_argument(
        "--full-ids", action="store_true", help="diff: show ids in full; whoever has one has the session"
    )
    _add_codec(parser)
    parser.add_argument("--json", action="store_true", help=_JSON)


def run(options: Namespace) -> int:
    """Do what was asked for by one of these commands; return its exit code."""
    codec = Codec(keys=store_keys(options.key_file), compress=options.compress)
    if options.command == "backup":
        from .backup import backup

        return backup(options.url, options.file, codec, every=options.every, keep=options.keep, json=options.json)
    if options.command == "restore":
        from .backup import restored

        return restored(
            options.url, options.file, codec, replace=options.replace, deleted=options.deleted, json=options.json
        )
    from .snapshot import Asked, snapshot

    return snapshot(Asked(**{name: getattr(options, name) for name in Asked.__struct_fields__}), codec)
