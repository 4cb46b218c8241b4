"""What looks after a connection that carries a stream."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from holdfast.model import Unauthenticated, Unavailable
from holdfast.transport.attendance import Attendance
from holdfast.transport.sse import COMMENT, RETRY
from holdfast.transport.streams import Outlet


async def never() -> Any:
    await asyncio.Event().wait()


def attended(
    outlet: Outlet, receive: Callable[[], Awaitable[Any]] = never, identify: Callable[[], Awaitable[str]] | None = None
) -> Attendance:
    return Attendance(receive, outlet, identify, "somebody", beat_s=0.001)


async def test_an_open_stream_shows_signs_of_life_again_and_again() -> None:
    outlet = Outlet()
    attendance = attended(outlet)
    attendance.begin(0.0)
    for _ in range(3):
        assert await outlet.take() == COMMENT
    attendance.end()


async def test_a_client_that_leaves_frees_its_stream() -> None:
    async def left() -> Any:
        return {"type": "http.disconnect"}

    outlet = Outlet()
    attendance = attended(outlet, left)
    attendance.begin(0.0)
    while await outlet.take() is not None:
        pass
    attendance.end()


async def test_a_client_that_is_not_known_any_more_is_sent_away() -> None:
    """R-SEC-1: a token that was revoked, or has expired, is good for no stream that is open already."""

    async def revoked() -> str:
        raise Unauthenticated("no such token", challenge="Bearer")

    async def another() -> str:
        return "somebody else"

    for identify in (revoked, another):
        outlet, said = Outlet(), b""
        attendance = attended(outlet, identify=identify)
        attendance.begin(0.0)
        while (chunk := await outlet.take()) is not None:
            said += chunk
        attendance.end()
        assert said.endswith(RETRY)


async def test_a_client_that_cannot_be_looked_at_now_stays() -> None:
    asked = asyncio.Event()
    answers = iter((Unavailable("no keys"), Unavailable("no keys")))

    async def identify() -> str:
        for error in answers:
            raise error
        asked.set()
        return "somebody"

    outlet = Outlet()
    attendance = attended(outlet, identify=identify)
    attendance.begin(0.0)
    await asyncio.wait_for(asked.wait(), 60)
    assert await outlet.take() == COMMENT
    attendance.end()


async def test_a_connection_ends_when_its_time_is_over() -> None:
    outlet = Outlet()
    attendance = attended(outlet)
    attendance.begin(1000.0)
    attendance.end_after(0.001)
    assert await outlet.take() == RETRY
    assert await outlet.take() is None
    attendance.end()
