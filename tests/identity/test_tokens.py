"""Static tokens: what the file says holds within a moment, and nothing wrong with it lets anybody in."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from holdfast.identity import Principal
from holdfast.identity.bearer import BearerTokens
from holdfast.identity.rules import token_line
from holdfast.identity.tokens import FILE_BYTES_MAX, TokenFile, TokenSettings
from holdfast.model import Misused, Unauthenticated
from tests.kit import LoopWatch, eventually_async

ANN = Principal("token", "ann")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "tokens"
    path.touch(0o600)
    path.write_text(token_line("ann", "secret") + "\n")
    return path


def write(path: Path, text: str) -> None:
    path.write_text(text)


async def test_a_token_is_known_by_its_digest(file: Path) -> None:
    """R-SEC-1."""
    async with TokenFile.open(TokenSettings(file)) as tokens:
        assert await tokens.verify("secret") == ANN
        assert await tokens.verify("Secret") == "it is unknown or was revoked"
        assert await tokens.verify("") == "it is unknown or was revoked"


async def test_a_token_is_revoked_and_another_known_without_a_restart(file: Path) -> None:
    async with TokenFile.open(TokenSettings(file)) as tokens:
        write(file, token_line("bob", "other"))
        await tokens.look()
        assert isinstance(await tokens.verify("secret"), str)
        assert await tokens.verify("other") == Principal("token", "bob")


async def test_the_file_is_looked_at_by_itself(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with TokenFile.open(TokenSettings(file)) as tokens:
        fresh = file.with_name("fresh")
        fresh.touch(0o600)
        fresh.write_text("")
        fresh.rename(file)  # as an editor does
        await eventually_async(lambda: "0 tokens are known" in caplog.text, within_s=60)
        assert isinstance(await tokens.verify("secret"), str)


async def test_a_wrong_line_lets_nobody_new_in_and_keeps_nobody_who_was_taken_out(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(file, token_line("ann", "secret") + "\n" + token_line("bob", "other") + "\n")
    async with TokenFile.open(TokenSettings(file)) as tokens:
        write(file, token_line("ann", "secret") + "\n" + token_line("eve", "new") + "\nbob\n")
        for _ in range(3):
            await tokens.look_again()
        assert await tokens.verify("secret") == ANN
        assert isinstance(await tokens.verify("other"), str)
        assert isinstance(await tokens.verify("new"), str)
    said = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert [f"{file}, line 3" in line for line in said] == [True]


async def test_a_file_that_is_gone_takes_nobody_out_and_is_said_once(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with TokenFile.open(TokenSettings(file)) as tokens:
        await asyncio.to_thread(file.unlink)
        for _ in range(3):
            await tokens.look_again()
        assert await tokens.verify("secret") == ANN
    assert sum(record.levelno == logging.ERROR for record in caplog.records) == 1


async def test_a_file_that_anybody_may_write_is_refused(file: Path) -> None:
    await asyncio.to_thread(file.chmod, 0o606)
    with pytest.raises(Misused, match=f"{file}: anybody on this machine may write it; run chmod 600"):
        async with TokenFile.open(TokenSettings(file)):
            pass


async def test_a_file_that_anybody_may_read_is_said(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    await asyncio.to_thread(file.chmod, 0o604)
    async with TokenFile.open(TokenSettings(file)) as tokens:
        assert await tokens.verify("secret") == ANN
    assert "may read it; run chmod 600" in caplog.text


@pytest.mark.parametrize("kind", ["absent", "folder", "pipe", "large", "bytes"])
async def test_what_is_no_token_file_is_said(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "tokens"
    match kind:
        case "folder":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
        case "large":
            path.write_bytes(b"#" * (FILE_BYTES_MAX + 1))
        case "bytes":
            path.write_bytes(b"\xff")
    with pytest.raises(Misused, match=f"^--token-file {path}: "):
        async with TokenFile.open(TokenSettings(path)):
            pass


async def test_no_secret_is_ever_logged(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    """R-SEC-2."""
    caplog.set_level(logging.DEBUG)
    async with TokenFile.open(TokenSettings(file)) as tokens:
        asked = BearerTokens([tokens], None)
        with pytest.raises(Unauthenticated) as refused:
            await asked.identify([(b"authorization", b"Bearer n0t-kn0wn")], None)
        write(file, "n0t-kn0wn\n")
        await tokens.look_again()
    assert "n0t-kn0wn" not in caplog.text + str(refused.value) + refused.value.challenge


async def test_reading_tokens_blocks_no_loop(file: Path) -> None:
    """R-PER-5."""
    write(file, "".join(token_line(f"user {number}", str(number)) + "\n" for number in range(1000)))
    for watch in LoopWatch.rounds():
        with watch:
            async with TokenFile.open(TokenSettings(file)) as tokens:
                assert await tokens.verify("999") == Principal("token", "user 999")


def made(name: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "holdfast", "token", name]
    return subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.slow
def test_the_command_makes_a_token_and_the_line_that_knows_it() -> None:
    """The line alone goes to stdout, so that `>> tokens` keeps it and still shows the token."""
    ran = made("ann lee")
    assert ran.returncode == 0
    [line], token = ran.stdout.splitlines(), ran.stderr.splitlines()[-1]
    assert line == token_line("ann lee", token)
    assert len(token) > 40
    assert token not in ran.stdout
    assert made("ann lee").stderr != ran.stderr


@pytest.mark.slow
def test_a_name_that_cannot_be_is_said() -> None:
    ran = made("a:b")
    assert (ran.returncode, ran.stdout, ran.stderr.count("\n")) == (2, "", 1)


@pytest.mark.slow
def test_a_token_whose_line_is_lost_is_not_shown() -> None:
    with Path("/dev/full").open("w") as full:
        words = [sys.executable, "-m", "holdfast", "token", "ann"]
        ran = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    assert ran.returncode == 1
    assert "hf_" not in ran.stderr
    assert "No space left" in ran.stderr
