"""The log is written without waiting for whoever reads it."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from holdfast.observability.stderr import WAITING_BYTES_MAX, StderrHandler
from tests.kit import ECHO, McpClient, free_port

LONG = "x" * 10_000


@contextmanager
def pipe() -> Iterator[tuple[int, StderrHandler]]:
    reader, writer = os.pipe()
    try:
        yield reader, StderrHandler(writer)
    finally:
        os.close(reader)
        os.close(writer)


def log(handler: StderrHandler, message: str) -> None:
    handler.handle(logging.LogRecord("there", logging.INFO, __file__, 1, message, (), None))


def read_all(reader: int) -> bytes:
    os.set_blocking(reader, False)
    read = b""
    try:
        while part := os.read(reader, 65536):
            read += part
    except BlockingIOError:
        pass
    return read


def test_a_line_is_there_when_it_is_logged() -> None:
    with pipe() as (reader, handler):
        log(handler, "löst")
        assert read_all(reader) == "löst\n".encode()


def test_lines_that_nobody_reads_wait_and_then_are_lost_and_counted() -> None:
    """Every line comes whole and in order, whoever stalls in between."""
    with pipe() as (reader, handler):
        for number in range(100):
            log(handler, f"{number} {LONG}")
        read = b""
        while part := read_all(reader):
            read += part
            handler.flush()
        log(handler, "again")
        *lines, told, again = (read + read_all(reader)).decode().splitlines()
        kept = len(lines)
        assert lines == [f"{number} {LONG}" for number in range(kept)]
        assert WAITING_BYTES_MAX / len(LONG) - 1 < kept < 100
        assert told == f"({100 - kept} lines of the log were lost: nobody read them)"
        assert again == "again"


def test_a_reader_that_is_gone_is_no_error() -> None:
    reader, writer = os.pipe()
    handler = StderrHandler(writer)
    os.close(reader)
    log(handler, "to nobody")
    os.close(writer)


@pytest.mark.slow
def test_a_server_whose_log_nobody_reads_goes_on(tmp_path: Path) -> None:
    port = free_port()
    words = ["serve", "--port", str(port), "--data", str(tmp_path / "data"), "--log-level", "debug", "--", *ECHO]
    with subprocess.Popen(
        [sys.executable, "-m", "holdfast", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path
    ) as server:
        assert server.stdout is not None
        while b"stop with" not in (line := server.stdout.readline()):
            assert line, "the server ended"
        client = McpClient(port)
        for _ in range(300):
            assert client.send("GET", path=f"/{'x' * 2000}").status == 404
        server.terminate()
        assert server.wait(timeout=60) == 0
