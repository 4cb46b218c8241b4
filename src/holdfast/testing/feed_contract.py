"""The suite for stores that keep a feed. Beside `store` it wants a fixture `clock`: the `ManualClock` of the store."""

from __future__ import annotations

import asyncio
from random import randbytes
from typing import Protocol

import pytest

from ..model.errors import CursorExpired, Misused, VersionConflict
from ..model.session import Record
from ..stores.contract import Change, ChangeKind, Feed, FeedBounds, Store
from .clock import ManualClock
from .records import NOW, record_of

BOUNDS = FeedBounds()
HOUR_S = 3600.0


class FeedStore(Store, Feed, Protocol):
    """A store that keeps a feed."""


class FeedContract:
    """Every sentence of `stores.contract.Feed`."""

    async def test_every_write_is_a_change_in_order(self, store: FeedStore, clock: ManualClock) -> None:
        """R-MGR-7."""
        writes = [
            record_of("s"),
            record_of("s", version=2, owner="ada"),
            record_of("s", version=3, owner="ada", term=4),
        ]
        writes.append(record_of("s", version=4, owner="ada", term=4, state="terminated"))
        for record in writes:
            await store.put(record, expect=record.version - 1)
            clock.advance(1)
        await store.delete("s")
        changes = await _followed(store, limit=2)
        kinds = [change.kind for change in changes]
        assert kinds == [
            ChangeKind.CREATED,
            ChangeKind.UPDATED,
            ChangeKind.OWNER_CHANGED,
            ChangeKind.STATE_CHANGED,
            ChangeKind.DELETED,
        ]
        assert [change.record for change in changes] == [*writes, writes[-1]]
        assert [change.at for change in changes] == [NOW + at for at in range(5)]

    async def test_an_access_is_no_change_and_is_told_with_the_end(self, store: FeedStore) -> None:
        """R-MGR-7."""
        await store.put(record_of("s", timeout=10.0), expect=0)
        await store.touch("s", NOW + 5)
        assert await store.expire(NOW + 14) == [], "so that the access is written"
        assert await store.expire(NOW + 15) == [record_of("s", timeout=10.0, last_accessed=NOW + 5)]
        created, expired = await _followed(store)
        assert (created.kind, expired.kind) == (ChangeKind.CREATED, ChangeKind.EXPIRED)
        assert expired.record == record_of("s", timeout=10.0, last_accessed=NOW + 5)

    async def test_what_was_refused_is_no_change(self, store: FeedStore) -> None:
        """R-STO-2."""
        await store.put(record_of("s"), expect=0)
        outcomes = await asyncio.gather(
            store.put(record_of("s", owner="taken"), expect=0),
            store.put(record_of("t"), expect=0),
            store.delete("s", expect=record_of("s", version=7)),
            return_exceptions=True,
        )
        assert [type(outcome) for outcome in outcomes] == [VersionConflict, type(None), bool]
        assert [change.record.id for change in await _followed(store)] == ["s", "t"]

    async def test_a_cursor_continues_behind_each_change(self, store: FeedStore) -> None:
        """R-MGR-7."""
        for at in range(6):
            await store.put(record_of(f"s{at}"), expect=0)
        changes = await _followed(store)
        for at, change in enumerate(changes):
            assert await _followed(store, after=change.cursor) == changes[at + 1 :]
        assert await store.position() == changes[-1].cursor

    async def test_a_position_is_behind_all_that_was_written(self, store: FeedStore) -> None:
        """R-MGR-7."""
        start = await store.position()
        await store.put(record_of("s"), expect=0)
        end = await store.position()
        assert await _followed(store, after=end) == []
        await store.put(record_of("t"), expect=0)
        assert [change.record.id for change in await _followed(store, after=start)] == ["s", "t"]
        assert [change.record.id for change in await _followed(store, after=end)] == ["t"]

    async def test_a_session_created_again_comes_behind_the_end_of_the_one_before(self, store: FeedStore) -> None:
        """R-MGR-7."""
        again = record_of("s", created_at=NOW + 1)
        await store.put(record_of("s"), expect=0)
        await asyncio.gather(store.delete("s"), store.put(again, expect=0))
        changes = await _followed(store)
        assert [change.kind for change in changes] == [ChangeKind.CREATED, ChangeKind.DELETED, ChangeKind.CREATED]
        assert [change.record for change in changes] == [record_of("s"), record_of("s"), again]

    async def test_a_foreign_cursor_is_refused(self, store: FeedStore) -> None:
        """R-MGR-7: whoever followed another feed, as that of this store before it was restored, begins anew."""
        await store.put(record_of("s"), expect=0)
        name, rest = (await store.position()).split(".", 1)
        for cursor in ("", "x"):
            with pytest.raises(Misused):
                await store.changes(after=cursor)
        with pytest.raises(CursorExpired, match="another feed"):
            await store.changes(after="0" * len(name) + "." + rest)

    async def test_the_past_is_what_was_stored_then(self, store: FeedStore, clock: ManualClock) -> None:
        """R-MGR-10."""
        await store.put(record_of("kept"), expect=0)
        await store.put(record_of("changed", owner="before"), expect=0)
        await store.put(record_of("deleted"), expect=0)
        clock.advance(1)
        await store.put(record_of("changed", version=2, owner="after"), expect=1)
        await store.put(record_of("changed", version=3, owner="long after"), expect=2)
        await store.delete("deleted")
        await store.put(record_of("new", created_at=NOW + 1), expect=0)
        assert await _past(store, NOW - 1) == {}
        first = [record_of("kept"), record_of("changed", owner="before"), record_of("deleted")]
        assert await _past(store, NOW) == await _past(store, NOW + 0.5) == {record.id: record for record in first}
        last = [
            record_of("kept"),
            record_of("changed", version=3, owner="long after"),
            record_of("new", created_at=NOW + 1),
        ]
        assert await _past(store, NOW + 1) == {record.id: record for record in last}
        assert set(await _past(store, NOW, changed=True)) == {"changed", "deleted"}
        assert await _past(store, NOW + 1, changed=True) == {}

    async def test_what_is_kept_of_the_past_does_not_depend_on_how_it_was_trimmed(
        self, store: FeedStore, clock: ManualClock
    ) -> None:
        """R-MGR-10: also what was written long before, and only changed or deleted within the time that is kept."""
        was: dict[float, dict[str, Record]] = {}
        stored = {name: record_of(name, timeout=None) for name in ("often", "late", "never", "gone")}
        for record in stored.values():
            await store.put(record, expect=0)
        for hour in range(30):
            clock.advance(HOUR_S)
            for name in ("often", *(("late",) if hour == 28 else ())):
                version = stored[name].version
                stored[name] = record_of(name, timeout=None, version=version + 1, owner=str(hour))
                await store.put(stored[name], expect=version)
            if hour == 29:
                await store.delete("gone")
                del stored["gone"]
            was[clock.now() + 1] = dict(stored)
            await store.trim_changes(BOUNDS, clock.now() + 1)
        for at, records in was.items():
            if at >= clock.now() - BOUNDS.age_s_max:
                assert await _past(store, at) == records
        with pytest.raises(Misused, match="earliest"):
            await store.state_at(NOW + HOUR_S)

    async def test_a_cursor_before_what_is_kept_has_expired(self, store: FeedStore, clock: ManualClock) -> None:
        """R-MGR-7."""
        start = await store.position()
        await store.put(record_of("a"), expect=0)
        second = await store.position()
        assert await store.trim_changes(BOUNDS, clock.now()) == 0
        clock.advance(2 * HOUR_S)
        assert await store.trim_changes(BOUNDS, clock.now()) == 0
        await store.put(record_of("b"), expect=0)
        clock.advance(BOUNDS.age_s_max - HOUR_S)
        assert await store.trim_changes(BOUNDS, clock.now()) == 1
        with pytest.raises(CursorExpired):
            await store.changes(after=start)
        for after in (second, None):
            assert [change.record.id for change in await _followed(store, after=after)] == ["b"]

    async def test_nothing_stays_for_ever_and_a_cursor_at_the_end_stays_good(
        self, store: FeedStore, clock: ManualClock
    ) -> None:
        """R-MGR-7: nobody who has seen all is told to begin anew."""
        await store.put(record_of("a"), expect=0)
        end = await store.position()
        for _ in range(2):
            clock.advance(BOUNDS.age_s_max)
            await store.trim_changes(BOUNDS, clock.now())
        assert await _followed(store) == []
        assert await store.get("a") == record_of("a")
        await store.delete("a")
        assert [change.kind for change in await _followed(store, after=end)] == [ChangeKind.DELETED]
        assert set(await _past(store, clock.now() - 1)) == {"a"}

    async def test_a_feed_is_bounded_in_bytes(self, store: FeedStore, clock: ManualClock) -> None:
        """R-MGR-7."""
        bounds = FeedBounds(bytes_max=48_000)
        for at in range(40):
            await store.put(record_of(f"s{at}", metadata=randbytes(2000)), expect=0)
            await store.trim_changes(bounds, clock.now())
        assert 10 <= len(await _followed(store)) <= 24


async def _followed(store: FeedStore, *, after: str | None = None, limit: int = 500) -> list[Change]:
    found: list[Change] = []
    for _ in range(1000):
        page = await store.changes(after=after, limit=limit)
        assert len(page.changes) <= limit
        found += page.changes
        after = page.cursor
        if page.is_end:
            return found
    raise AssertionError("the feed does not end")


async def _past(store: FeedStore, at: float, *, changed: bool = False) -> dict[str, Record]:
    found: dict[str, Record] = {}
    cursor: str | None = None
    for _ in range(1000):
        page = await store.state_at(at, changed=changed, cursor=cursor, limit=3)
        for record in page.records:
            assert found.setdefault(record.id, record) == record
        cursor = page.cursor
        if cursor is None:
            return found
    raise AssertionError("the past does not end")
