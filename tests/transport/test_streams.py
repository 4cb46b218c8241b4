"""Streams and their journal, on a real store in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from holdfast.model import HoldfastError, NotFound, Unavailable
from holdfast.sessions import SessionManager
from holdfast.stores import MemoryStore
from holdfast.stores.contract import Batch, Entry, Kind
from holdfast.stores.sqlite import SqliteStore
from holdfast.transport import streams
from holdfast.transport.sse import RETRY
from holdfast.transport.streams import Journaler, Outlet, Stream


def message(seq: int, data: bytes = b"{}") -> Entry:
    return Entry("1-1", 1, seq, Kind.MESSAGE, 0.0, data)


async def test_an_outlet_gives_what_waits_in_one_piece_and_then_the_end() -> None:
    outlet = Outlet()
    outlet.push((1, 0), b"a")
    outlet.push((1, 1), b"b")
    outlet.close()
    assert [await outlet.take(), await outlet.take()] == [b"ab", None]


async def test_an_outlet_leaves_out_what_was_sent_before() -> None:
    outlet = Outlet()
    for seq in range(4):
        outlet.push((2, seq), b"%d" % seq)
    assert await outlet.take(after=(2, 1)) == b"23"


async def test_an_outlet_wakes_whoever_waits() -> None:
    outlet = Outlet()
    taken = asyncio.ensure_future(outlet.take())
    await asyncio.sleep(0)
    outlet.push((1, 0), b"late")
    assert await taken == b"late"


async def test_one_message_may_be_as_long_as_any_for_whoever_reads() -> None:
    outlet = Outlet()
    huge = b"x" * (streams.OUTLET_BYTES_MAX + 1)
    outlet.push((1, 0), huge)
    assert await outlet.take() == huge


async def test_a_reader_that_is_too_slow_is_let_go() -> None:
    outlet = Outlet()
    big = b"x" * (streams.OUTLET_BYTES_MAX // 2)
    for seq in range(4):
        outlet.push((1, seq), big)
    assert await outlet.take() == RETRY, "what waited is in the journal; the client comes back for it"
    assert await outlet.take() is None


async def test_a_second_connection_of_a_stream_ends_the_first() -> None:
    stream, first, second = Stream("1-1", 7, 1), Outlet(), Outlet()
    stream.attach(first)
    stream.attach(second)
    stream.detach(first)
    stream.publish("tag", message(0, b'{"n":1}'))
    assert await first.take() is None
    assert b'{"n":1}' in (await second.take() or b"")


class Journaled:
    """A journaler on a store with one session, and what it told."""

    def __init__(self, store: MemoryStore | SqliteStore | None = None) -> None:
        self.store = store or MemoryStore()
        self.paused: list[bool] = []
        self.told: list[tuple[int, HoldfastError | None]] = []
        self.journaler = Journaler(
            self.store, pause=lambda: self.paused.append(True), resume=lambda: self.paused.append(False)
        )

    async def open(self) -> str:
        sessions: SessionManager[dict[str, object]] = SessionManager(self.store)
        session = await sessions.create()
        return session.id

    def write(self, session_id: str, entry: Entry) -> None:
        self.journaler.write(session_id, 1, entry, lambda entry, error: self.told.append((entry.seq, error)))


async def test_messages_are_journaled_in_order_before_they_are_told() -> None:
    journaled = Journaled()
    session_id = await journaled.open()
    for seq in range(100):
        journaled.write(session_id, message(seq))
    assert journaled.told == []
    await journaled.journaler.flushed()
    assert journaled.told == [(seq, None) for seq in range(100)]
    kept = await journaled.store.read(session_id, "1-1", after=(0, -1), limit=1000)
    assert [entry.seq for entry in kept] == list(range(100))


async def test_a_flood_is_journaled_whole(tmp_path: Path) -> None:
    """R-STO-2: in pieces that the store takes."""
    async with SqliteStore.open(tmp_path / "sessions.db") as store:
        journaled = Journaled(store)
        session_id = await journaled.open()
        for seq in range(3000):
            journaled.write(session_id, message(seq))
        await journaled.journaler.flushed()
    assert journaled.told == [(seq, None) for seq in range(3000)]


async def test_a_flood_of_one_session_keeps_no_other_waiting() -> None:
    journaled = Journaled()
    flooding, other = await journaled.open(), await journaled.open()
    for seq in range(5000):
        journaled.write(flooding, message(seq))
    journaled.write(other, message(77_777))
    await journaled.journaler.flushed()
    assert [seq for seq, _ in journaled.told].index(77_777) <= streams.BATCH_MAX
    assert [seq for seq, _ in journaled.told if seq < 5000] == list(range(5000))


class Forgetful(MemoryStore):
    """A journal that is wrong once."""

    outcomes: int | None = 0

    async def append(self, batches: Sequence[Batch]) -> list[HoldfastError | None]:
        outcomes, self.outcomes = self.outcomes, None
        return (await super().append(batches))[:outcomes]


async def test_a_journal_that_is_wrong_stops_nothing() -> None:
    journaled = Journaled(Forgetful())
    session_id = await journaled.open()
    journaled.write(session_id, message(0))
    await journaled.journaler.flushed()
    journaled.write(session_id, message(1))
    await journaled.journaler.flushed()
    assert [(seq, type(error)) for seq, error in journaled.told] == [(0, Unavailable), (1, type(None))]


async def test_what_cannot_be_journaled_is_told_and_the_rest_goes_on() -> None:
    journaled = Journaled()
    session_id = await journaled.open()
    journaled.write("gone", message(0))
    journaled.write(session_id, message(1))
    await journaled.journaler.flushed()
    errors = {seq: type(error) for seq, error in journaled.told}
    assert errors == {0: NotFound, 1: type(None)}


async def test_workers_wait_while_the_journal_is_behind() -> None:
    journaled = Journaled()
    session_id = await journaled.open()
    data = b"x" * (streams.JOURNALING_BYTES_MAX // 4)
    for seq in range(6):
        journaled.write(session_id, message(seq, data))
    assert journaled.paused == [True]
    await journaled.journaler.flushed()
    assert journaled.paused == [True, False]
