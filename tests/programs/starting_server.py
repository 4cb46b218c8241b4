"""A stdio MCP server that tells how many of its kind are starting; standard library only.

starting_server.py FOLDER: while one starts there is a file of it in FOLDER/starting, and FOLDER/most has a byte for
each that there were at once. With a file FOLDER/fail it ends instead of answering.
"""

import json
import os
import sys
import time
from pathlib import Path

folder = Path(sys.argv[1])
mine = folder / "starting" / str(os.getpid())
mine.touch()
many = len(list((folder / "starting").iterdir()))
with (folder / "most").open("ab") as most:
    most.truncate(max(many, os.fstat(most.fileno()).st_size))
time.sleep(0.05)  # so that several are starting at once
for line in sys.stdin:
    message = json.loads(line)
    mine.unlink(missing_ok=True)
    if (folder / "fail").exists():
        break
    if "id" in message:
        result = {"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": {"name": "s", "version": "1"}}
        print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}), flush=True)
