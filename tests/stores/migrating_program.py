"""A program that brings a file of schema 1 to this version's, says so before it commits, and waits to be killed."""

from __future__ import annotations

import sys
from pathlib import Path

from holdfast.stores.sqlite_file import connect, migrate

connection = connect(Path(sys.argv[1]))
connection.execute("PRAGMA cache_size = 1")  # so that what is not committed is in the log already
connection.execute("BEGIN IMMEDIATE")
migrate(connection, 1)
sys.stdout.write("migrated\n")
sys.stdout.flush()
sys.stdin.read()
