"""What every story needs around it: a server of its own, a record of its client's requests, an end without a rest."""

from __future__ import annotations

import asyncio
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from ...config.surroundings import colour_is_unwanted
from ...model import Misused, SystemClock, Unavailable
from ...runtime import shielded
from ..output import say, take_any_text
from .hosted import Hosted
from .rules import Claim
from .timeline import RED, Timeline

if TYPE_CHECKING:
    from .mcp_sdk_client import Wire

CLEAN_UP_WITHIN_S: Final = 90.0


class Stage:
    """Where one story plays."""

    def __init__(self, timeline: Timeline, folder: Path, wire: Wire) -> None:
        self.say = timeline.say
        self.now_s = timeline.now_s
        self.wire = wire
        # -I and -S: nothing is looked up but the standard library, so that it starts in a moment.
        self.hosted = Hosted(folder, [sys.executable, "-I", "-S", str(Path(__file__).with_name("notes.py"))])


class Story(Protocol):
    """What is played, and what it claims."""

    @property
    def title(self) -> str:
        """Its heading."""
        ...

    @property
    def within_s(self) -> float:
        """How long it may take."""
        ...

    async def play(self) -> None:
        """Play it; what is observed is kept for `claims`.

        Raises:
            Misused: The server cannot be started on this machine as it is.
            Unavailable, TimeoutError: Something did not happen that should; the story ends here.
        """
        ...

    def claims(self) -> list[Claim]:
        """Return its claims, judged by what was observed."""
        ...


def perform(tell: Callable[[Stage], Story]) -> int:
    """Play a story; return 0 if every claim was seen to be true, else 1.

    Whatever happens, no process and no file of it is left.

    Raises:
        Misused: The official client, or what a server needs, is not installed.
    """
    try:
        from .mcp_sdk_client import Wire
    except ImportError as error:
        raise Misused(
            f"{error.name} is not installed; install holdfast with its extras `server` and `examples`"
        ) from error
    take_any_text()
    timeline = Timeline(say, SystemClock(), colour=sys.stdout.isatty() and not colour_is_unwanted())
    with tempfile.TemporaryDirectory(prefix="holdfast-demo-", ignore_cleanup_errors=True) as folder:
        stage = Stage(timeline, Path(folder), Wire())
        story = tell(stage)
        timeline.title(story.title)
        try:
            asyncio.run(_play(story, stage))
        except asyncio.CancelledError:
            return 128 + signal.SIGTERM
    judged = story.claims()
    timeline.judge(judged)
    return 0 if all(claim.holds for claim in judged) else 1


async def _play(story: Story, stage: Stage) -> None:
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    try:
        async with asyncio.timeout(story.within_s):
            await story.play()
    except (Unavailable, TimeoutError) as error:
        stage.say("failed", str(error) or "what was waited for did not happen in time", style=RED)
    finally:
        await shielded(stage.hosted.clean_up(), within_s=CLEAN_UP_WITHIN_S, name="end the demo's servers")
