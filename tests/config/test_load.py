"""Where settings come from, and what is said when one cannot be read."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from holdfast.config import load
from holdfast.config.surroundings import environment_without_options
from holdfast.model import Misused


def write(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def test_a_file_gives_the_command_and_its_environment(tmp_path: Path) -> None:
    config = write(tmp_path / "c.toml", 'command = ["python", "-V"]\nenv = ["A=1", "B=x=y"]\nport = 9000\n')
    settings = load({}, [], config)
    assert settings.keeper.command == ("python", "-V")
    assert (settings.keeper.env["A"], settings.keeper.env["B"], settings.port) == ("1", "x=y", 9000)


def test_flags_weigh_more_than_the_environment_and_that_more_than_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R-OPS-2."""
    config = write(tmp_path / "c.toml", 'port = 1\npath = "/file"\nsession-timeout = "1m"\n')
    monkeypatch.setenv("HOLDFAST_PORT", "2")
    monkeypatch.setenv("HOLDFAST_PATH", "/environment")
    settings = load({"port": "3"}, ["true"], config)
    assert (settings.port, settings.edge.path, settings.sessions.session_timeout_s) == (3, "/environment", 60.0)


def test_a_worker_gets_what_is_named_and_little_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """R-ISO-1."""
    monkeypatch.setenv("SECRET", "s")
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    env_file = write(tmp_path / "env", "# a comment\n\nTOKEN=a=b\n")
    env = load({"env": ["NAMED=1"], "env-file": env_file}, ["true"], None).keeper.env
    assert {"NAMED", "TOKEN", "LC_ALL", "PATH"} <= env.keys()
    assert env["TOKEN"] == "a=b"
    assert "SECRET" not in env
    assert load({"env": ["SECRET"]}, ["true"], None).keeper.env["SECRET"] == "s"


def test_words_that_name_files_here_keep_their_meaning_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker runs in its session's folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "server.py").write_text("")
    (tmp_path / "python").write_text("")
    assert load({}, ["python", "server.py", "--flag", "other.py"], None).keeper.command == (
        "python",
        str(tmp_path / "server.py"),
        "--flag",
        "other.py",
    )
    assert load({}, ["./server.py"], None).keeper.command == (str(tmp_path / "server.py"),)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("port = [1]", "a string or a number"),
        ("port = true", "a string or a number"),
        ('env = "A=1"', "a list of strings"),
        ('command = "python x"', "a list of words"),
        ("prot = 1", "did you mean port?"),
        ("zzz = 1", "see holdfast serve --help"),
        ("port = ", "not TOML"),
        ("port = 99999", "from 0 to 65535"),
    ],
)
def test_what_is_wrong_in_a_file_is_said(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(Misused, match=said.replace("?", r"\?")):
        load({}, ["true"], write(tmp_path / "c.toml", text))


@pytest.mark.parametrize("text", ["NAME\n", "\xff"])
def test_an_env_file_that_cannot_be_read_is_said(tmp_path: Path, text: str) -> None:
    path = tmp_path / "env"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(Misused, match="--env-file"):
        load({"env-file": str(path)}, ["true"], None)


@pytest.mark.parametrize("line", ['env = ["A=secret", 3]', 'env = "A=secret"', '[env]\nA = "secret"'])
def test_a_value_of_the_wrong_kind_is_not_shown(tmp_path: Path, line: str) -> None:
    """It may be a secret, and what is said lands in logs."""
    with pytest.raises(Misused, match="write a list of strings") as refused:
        load({}, ["true"], write(tmp_path / "c.toml", line + "\n"))
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("item", ["=x", "A B=c", "", "A\0=b"])
def test_a_variable_needs_a_name(item: str) -> None:
    with pytest.raises(Misused):
        load({"env": [item]}, ["true"], None)


@pytest.mark.parametrize("option", ["poll-after", "request-timeout"])
def test_nobody_is_sent_away_at_once(option: str) -> None:
    """0 means no bound in other programs, and would fail every call here."""
    assert load({option: "never"}, ["true"], None)
    for text in ("0", "0s", "1ms"):
        with pytest.raises(Misused, match="too short"):
            load({option: text}, ["true"], None)


def test_a_data_directory_may_have_any_name(tmp_path: Path) -> None:
    """Its name is part of an address, where some characters have a meaning."""
    data = tmp_path / "what? 100%25 #1"
    settings = load({"data": str(data)}, ["true"], None)
    assert unquote(urlsplit(settings.store).path[1:]) == str(data / "sessions.db")


KEYS = f"b {'QUFB' * 10}QUE=\na {'QUFC' * 10}QUI=\n"


def test_the_keys_of_the_store_come_from_a_file_or_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R-STO-6, R-SEC-4: never from the command line, and never from both."""
    file = write(tmp_path / "keys", KEYS)
    Path(file).chmod(0o600)
    with_file = load({"key-file": file, "compress": "on"}, ["true"], None).codec
    assert with_file.keys is not None
    assert (with_file.keys.current, list(with_file.keys.keys), with_file.compress) == ("b", ["b", "a"], True)
    assert load({}, ["true"], None).codec.keys is None
    monkeypatch.setenv("HOLDFAST_KEYS", KEYS)
    from_environment = load({}, ["true"], None).codec.keys
    assert from_environment is not None
    assert dict(from_environment.keys) == dict(with_file.keys.keys)
    with pytest.raises(Misused, match="--key-file and HOLDFAST_KEYS both"):
        load({"key-file": file}, ["true"], None)
    monkeypatch.setenv("HOLDFAST_KEYS", "a QUFB")
    with pytest.raises(Misused, match="HOLDFAST_KEYS, line 1") as told:
        load({}, ["true"], None)
    assert "QUFB" not in str(told.value)


def test_the_keys_are_nothing_that_a_worker_gets(monkeypatch: pytest.MonkeyPatch) -> None:
    """R-ISO-1."""
    monkeypatch.setenv("HOLDFAST_KEYS", KEYS)
    assert "HOLDFAST_KEYS" not in load({}, ["true"], None).keeper.env
    assert "HOLDFAST_KEYS" not in environment_without_options()
