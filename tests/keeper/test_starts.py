"""How workers start: what they inherit, and what is said when they cannot."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from holdfast.model import Unavailable

from .habits import opened, spawned

pytestmark = pytest.mark.slow


async def test_a_worker_has_three_pipes_a_session_of_its_own_and_only_the_environment_named(tmp_path: Path) -> None:
    """R-ISO-1"""
    read, write = os.pipe()
    os.set_inheritable(write, True)
    async with opened(tmp_path, "surroundings", env={"PATH": os.defpath, "LC_ALL": "C.UTF-8"}) as workers:
        _, heard = await spawned(workers, tmp_path / "one")
        await heard.frames_reach(1)
    os.close(read)
    os.close(write)
    said = json.loads(heard.frames[0])
    work = str(tmp_path / "one" / "work")
    marker = said["env"].pop("HOLDFAST_WORKER")
    assert said["env"] == {"PATH": os.defpath, "LC_ALL": "C.UTF-8", "HOLDFAST_SESSION_DIR": work}
    assert len(marker) > 32
    assert said["fds"] == [0, 1, 2]
    assert said["cwd"] == work
    assert said["leads"]
    assert said["no_new_privs"] == "1"
    assert said["ignored"] == 0


def _file(path: Path, text: str, mode: int) -> str:
    path.write_text(text)
    path.chmod(mode)
    return str(path)


async def test_what_cannot_be_started_is_said_in_a_sentence_and_the_keeper_goes_on(tmp_path: Path) -> None:
    wrong = {
        "no-such-command-anywhere": "command not found",
        "/no/such/command": "command not found",
        _file(tmp_path / "plain", "echo", 0o644): "may not be executed",
        _file(tmp_path / "orphan", "#!/no/such/interpreter\n", 0o755): "interpreter",
        _file(tmp_path / "text", "just words", 0o755): "not a program",
        "nul\0inside": "cannot be started",
    }
    for command, sentence in wrong.items():
        async with opened(tmp_path, command=(command,)) as workers:
            with pytest.raises(Unavailable, match=sentence):
                await spawned(workers, tmp_path / "one")
    async with opened(tmp_path, "echo") as workers:
        with pytest.raises(Unavailable, match=r"working directory .* cannot be entered"):
            await workers.spawn("x", tmp_path / "nowhere", on_frame=lambda *_: None, on_exit=lambda _: None)
        worker, heard = await spawned(workers, tmp_path / "one")
        worker.send(b"1")
        await heard.frames_reach(1)


async def test_a_command_without_a_slash_is_found_on_the_path_it_will_have(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    _file(tmp_path / "bin" / "my-server", "#!/bin/sh\nexec cat\n", 0o755)
    async with opened(tmp_path, command=("my-server",), env={"PATH": f"{tmp_path}/bin:{os.defpath}"}) as workers:
        worker, heard = await spawned(workers, tmp_path / "one")
        worker.send(b"1")
        await heard.frames_reach(1)
