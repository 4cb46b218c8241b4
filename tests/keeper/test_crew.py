"""What the keeper does about workers that have no server."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from holdfast_keeper.crew import Crew
from holdfast_keeper.lock import Lock
from holdfast_keeper.loop import Loop
from holdfast_keeper.worker import Worker


class Alone:
    """A worker as far as being alone goes."""

    owner = None
    left = False
    keep_s = 3600.0


def test_one_look_is_planned_for_all_that_are_alone_however_many_and_however_often(tmp_path: Path) -> None:
    """R-KEE-1: a server that dies leaves thousands at once; a look for each of them would never end."""
    loop = Loop()
    crew = Crew(Lock(str(tmp_path), "token"), "token", loop, (1024, 1024))
    for _ in range(1000):
        crew.left_alone(cast(Worker, Alone()))
    assert len(loop._calls) == 1
    crew._watch_the_alone()
    assert len(loop._calls) <= 2
