"""The key ring: what its file may say, and what it never shows (R-STO-6, R-SEC-4)."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from pathlib import Path

import pytest

from holdfast.codec import KeyRing
from holdfast.model import Misused

FIRST, SECOND = (base64.b64encode(bytes([n]) * 32).decode() for n in (1, 2))


def kept(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def test_the_first_line_is_the_key_that_is_written_with(tmp_path: Path) -> None:
    ring = KeyRing.read(kept(tmp_path / "keys", f"# newest first\n\nb {SECOND}\n  a\t{FIRST}\n"))
    assert (ring.current, dict(ring.keys)) == ("b", {"b": b"\2" * 32, "a": b"\1" * 32})
    assert repr(ring) == "KeyRing(b, a; current b)"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "there is no key in it"),
        ("a", "line 1: write ID BASE64"),
        (f"a {FIRST} b", "line 1: write ID BASE64"),
        (f"\nä {FIRST}", "line 2: write ID BASE64"),
        (f"{'x' * 33} {FIRST}", "line 1: write ID BASE64"),
        (f"a {FIRST[:-4]}", "line 1: the key is not 32 bytes in base64"),
        (f"a {FIRST[:-1]}!", "line 1: the key is not 32 bytes in base64"),
        (f"a {FIRST}\na {SECOND}", "line 2: this id or this key is there already"),
        (f"a {FIRST}\nb {FIRST}", "line 2: this id or this key is there already"),
    ],
)
def test_a_wrong_line_is_named_and_no_key_is_shown(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(Misused, match=told) as error:
        KeyRing.read(kept(tmp_path / "keys", text))
    assert FIRST[:8] not in str(error.value)


@pytest.mark.parametrize("mode", [0o604, 0o602, 0o620, 0o644])
def test_a_file_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(Misused, match="others on this machine may read or write it; run chmod 600"):
        KeyRing.read(kept(tmp_path / "keys", f"a {FIRST}", mode))


def test_what_is_no_file_of_keys_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    (tmp_path / "binary").chmod(0o600)
    kept(tmp_path / "large", "#" * 70_000)
    for name, told in (
        ("pipe", "not a file"),
        ("binary", "cannot be read"),
        ("none", "cannot be read"),
        ("large", "at most"),
    ):
        with pytest.raises(Misused, match=told):
            KeyRing.read(tmp_path / name)


def test_keys_given_by_hand_are_checked_too() -> None:
    with pytest.raises(Misused, match="not 32 bytes"):
        KeyRing({"a": b"short"})
    with pytest.raises(Misused, match="the id of a key"):
        KeyRing({"": bytes(32)})
    with pytest.raises(Misused, match="not in the key ring"):
        KeyRing({})
    with pytest.raises(Misused, match="not in the key ring"):
        KeyRing({"a": bytes(32)}, current="b")


@pytest.mark.parametrize(
    ("package", "made", "extra"),
    [
        ("zstandard", "Codec(compress=True)", "holdfast[zstd]"),
        ("cryptography", "Codec(keys=KeyRing({'a': bytes(32)}))", "holdfast[encryption]"),
    ],
)
def test_a_package_that_is_not_installed_is_told_with_its_extra(package: str, made: str, extra: str) -> None:
    program = (
        f"import sys; sys.modules[{package!r}] = None\n"
        "from holdfast import Codec, KeyRing, Misused\n"
        "Codec()\n"
        f"try: {made}\nexcept Misused as error: print(error)"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert (
        ran.stdout
        == f"{ran.stdout.split(' needs ')[0]} needs {package}, which is not installed; pip install '{extra}'\n"
    )
