"""Fuzz one target, led by the coverage of our code, until libFuzzer's options say stop; it ends the process itself.

python -m tests.fuzz.guided parser|app [-runs=N] [-seed=N] [-max_total_time=S] [-artifact_prefix=DIR/] [CORPUS…]
"""

from __future__ import annotations

import asyncio
import gc
import logging
import sys

import atheris  # type: ignore[import-untyped, import-not-found, unused-ignore]  # it has no stubs, and not every Python has it

with atheris.instrument_imports(include=["holdfast"]):
    from .parser import judge_parser
    from .steps import conversation_from
    from .world import world


def parser(data: bytes) -> None:
    """Let the judge of the parser see the bytes."""
    judge_parser(data)


def app(data: bytes) -> None:
    """Play the conversation that the bytes make."""
    runner.run(_play(data))


async def _play(data: bytes) -> None:
    async with world() as made:
        await made.play(conversation_from(data))


if __name__ == "__main__":
    logging.getLogger().setLevel(logging.ERROR)
    logging.getLogger().addHandler(logging.NullHandler())
    gc.set_threshold(20_000, 50, 100)
    target, *options = sys.argv[1:]
    with asyncio.Runner() as runner:
        atheris.Setup([sys.argv[0], *options], {"parser": parser, "app": app}[target])
        atheris.Fuzz()
