"""The suites that a store must pass: subclass them in a test module with a fixture `store`. They need pytest.

class TestMyStore(StoreContract):
    @pytest.fixture
    async def store(self) -> AsyncIterator[Store]:
        async with open_my_store() as store:
            yield store
"""

from __future__ import annotations

import asyncio

import pytest

from ..model.errors import Misused, Moved, VersionConflict
from ..model.session import Record
from ..stores.contract import Query, Store
from .ability_contracts import DescribedContract, ResidentContract
from .dump_contract import DumpContract
from .feed_contract import FeedContract
from .history_contract import HistoryContract
from .journal_contract import JournalContract
from .listing_contract import ListingContract
from .records import NOW, record_of

__all__ = [
    "DescribedContract",
    "DumpContract",
    "FeedContract",
    "HistoryContract",
    "JournalContract",
    "ListingContract",
    "ResidentContract",
    "StoreContract",
]


class StoreContract:
    """Every sentence of `stores.contract.Store`."""

    async def test_a_record_comes_back_as_it_was_put(self, store: Store) -> None:
        """R-STO-1."""
        record = record_of(
            "é" * 40, term=3, timeout=None, max_age=1.5, owner="ada", tags=frozenset({"a", "b"}), reason="why"
        )
        await store.put(record, expect=0)
        assert await store.get(record.id) == record

    async def test_what_is_not_there_is_none(self, store: Store) -> None:
        """R-STO-1."""
        assert await store.get("nobody") is None

    async def test_an_id_that_cannot_exist_is_not_there(self, store: Store) -> None:
        """R-STO-1."""
        assert await store.get("\ud800") is None
        assert await store.delete("\ud800") is False

    async def test_ids_are_compared_as_bytes(self, store: Store) -> None:
        """R-STO-1."""
        for session_id in ("k", "K", "é", "e\u0301", "1", "01"):
            await store.put(record_of(session_id, owner=session_id), expect=0)
        for session_id in ("k", "K", "é", "e\u0301", "1", "01"):
            assert (await _present(store, session_id)).owner == session_id

    async def test_a_taken_id_is_refused_and_nothing_is_changed(self, store: Store) -> None:
        """R-STO-2."""
        await store.put(record_of("s", owner="first"), expect=0)
        with pytest.raises(VersionConflict):
            await store.put(record_of("s", owner="second"), expect=0)
        assert (await _present(store, "s")).owner == "first"

    async def test_a_stale_write_changes_nothing(self, store: Store) -> None:
        """R-STO-2."""
        await store.put(record_of("s"), expect=0)
        await store.put(record_of("s", version=2, owner="new"), expect=1)
        with pytest.raises(VersionConflict):
            await store.put(record_of("s", version=2, owner="stale"), expect=1)
        with pytest.raises(VersionConflict):
            await store.put(record_of("s", version=4, owner="ahead"), expect=3)
        assert (await _present(store, "s")).owner == "new"

    async def test_a_deleted_record_is_not_written_again(self, store: Store) -> None:
        """R-STO-1."""
        await store.put(record_of("s"), expect=0)
        await store.delete("s")
        with pytest.raises(VersionConflict):
            await store.put(record_of("s", version=2), expect=1)
        assert await store.get("s") is None

    async def test_of_writes_that_race_one_wins(self, store: Store) -> None:
        """R-STO-2."""
        await store.put(record_of("s"), expect=0)
        writes = [store.put(record_of("s", version=2, owner=str(at)), expect=1) for at in range(20)]
        outcomes = await asyncio.gather(*writes, return_exceptions=True)
        (winner,) = [at for at, outcome in enumerate(outcomes) if outcome is None]
        assert all(isinstance(outcome, VersionConflict) for outcome in outcomes if outcome is not None)
        assert (await _present(store, "s")).owner == str(winner)

    async def test_a_refused_write_does_not_touch_those_beside_it(self, store: Store) -> None:
        """R-STO-2."""
        await store.put(record_of("taken"), expect=0)
        writes = [store.put(record_of(name), expect=0) for name in ("a", "taken", "b")]
        outcomes = await asyncio.gather(*writes, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [type(None), VersionConflict, type(None)]
        assert await store.get("a") is not None
        assert await store.get("b") is not None

    async def test_a_lower_term_is_fenced_off(self, store: Store) -> None:
        """R-CLU-2."""
        await store.put(record_of("s", term=5), expect=0)
        with pytest.raises(Moved):
            await store.put(record_of("s", version=2, term=4), expect=1)
        await store.put(record_of("s", version=2, term=5), expect=1)
        assert (await _present(store, "s")).version == 2

    async def test_delete_tells_whether_it_was_there(self, store: Store) -> None:
        """R-STO-1."""
        await store.put(record_of("s"), expect=0)
        assert await store.delete("s") is True
        assert await store.delete("s") is False
        assert await store.get("s") is None

    async def test_delete_of_another_version_deletes_nothing(self, store: Store) -> None:
        """R-STO-1."""
        await store.put(record_of("s"), expect=0)
        assert await store.delete("s", expect=record_of("s", version=2)) is False
        assert await store.get("s") is not None
        assert await store.delete("s", expect=record_of("s", last_accessed=NOW + 1)) is True

    async def test_a_refused_update_does_not_touch_those_beside_it(self, store: Store) -> None:
        """R-STO-2: whatever digits their times have."""
        created_at = NOW + 0.123456789
        for name in ("a", "taken", "b"):
            await store.put(record_of(name, created_at=created_at), expect=0)
        await store.put(record_of("taken", created_at=created_at, version=2), expect=1)
        writes = [
            store.put(record_of(name, created_at=created_at, version=2), expect=1) for name in ("a", "taken", "b")
        ]
        outcomes = await asyncio.gather(*writes, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [type(None), VersionConflict, type(None)]

    async def test_a_session_created_again_under_its_id_is_another_one(self, store: Store) -> None:
        """R-STO-2: its version is what a writer expects who read the one before."""
        before, after = record_of("s", created_at=NOW), record_of("s", created_at=NOW + 1, owner="after")
        await store.put(before, expect=0)
        await store.delete("s", expect=before)
        await store.put(after, expect=0)
        with pytest.raises(VersionConflict):
            await store.put(record_of("s", created_at=NOW, version=2), expect=1)
        assert await store.delete("s", expect=before) is False
        assert await store.get("s") == after
        await store.put(record_of("s", created_at=NOW + 1, version=2), expect=1)
        assert await store.delete("s", expect=record_of("s", created_at=NOW + 1, version=2)) is True

    async def test_acts_on_one_session_keep_their_order(self, store: Store) -> None:
        """R-STO-2."""
        puts = [store.put(record_of("s", version=at), expect=at - 1) for at in range(1, 6)]
        await asyncio.gather(
            *puts,
            store.delete("s", expect=record_of("s", version=5)),
            store.put(record_of("s", owner="again"), expect=0),
        )
        again = await _present(store, "s")
        assert (again.version, again.owner) == (1, "again")

    async def test_a_touch_is_seen_at_once_and_never_falls(self, store: Store) -> None:
        """R-STO-5."""
        await store.put(record_of("s"), expect=0)
        await store.touch("s", NOW + 5)
        await store.touch("s", NOW + 2)
        record = await _present(store, "s")
        assert (record.last_accessed, record.version) == (NOW + 5, 1)

    async def test_a_touch_of_nothing_does_nothing(self, store: Store) -> None:
        """R-STO-5."""
        await store.touch("nobody", NOW)
        assert await store.get("nobody") is None

    async def test_a_write_does_not_undo_a_touch(self, store: Store) -> None:
        """R-STO-5."""
        await store.put(record_of("s"), expect=0)
        await store.touch("s", NOW + 9)
        await store.put(record_of("s", version=2, last_accessed=NOW + 1), expect=1)
        assert (await _present(store, "s")).last_accessed == NOW + 9

    async def test_a_new_record_knows_nothing_of_touches_of_a_deleted_one(self, store: Store) -> None:
        """R-STO-5."""
        await store.put(record_of("s"), expect=0)
        await store.touch("s", NOW + 9)
        await store.delete("s")
        await store.put(record_of("s"), expect=0)
        assert (await _present(store, "s")).last_accessed == NOW

    async def test_a_scan_returns_every_record_once_in_pages(self, store: Store) -> None:
        """R-MGR-6."""
        names = {f"s{at}" for at in range(25)}
        await asyncio.gather(*(store.put(record_of(name), expect=0) for name in names))
        found = [record.id for record in await _scan(store, Query(), limit=4)]
        assert len(found) == 25
        assert set(found) == names

    async def test_a_scan_goes_on_behind_any_record(self, store: Store) -> None:
        """R-MGR-6."""
        for at in range(10):
            await store.put(record_of(f"s{at}"), expect=0)
        page = await store.scan(Query(), limit=6)
        assert len(page.records) == len(page.cursors) == 6
        for at, cursor in enumerate(page.cursors):
            seen = [record.id for record in page.records[: at + 1]]
            rest = [record.id for record in await _scan(store, Query(), cursor=cursor)]
            assert sorted(seen + rest) == [f"s{number}" for number in range(10)]

    async def test_a_scan_tolerates_writes_and_deletes(self, store: Store) -> None:
        """R-MGR-6."""
        names = [f"s{at}" for at in range(40)]
        for name in names:
            await store.put(record_of(name), expect=0)
        found: list[str] = []
        cursor: str | None = None
        for step in range(100):
            page = await store.scan(Query(), cursor=cursor, limit=5)
            found += [record.id for record in page.records]
            cursor = page.cursor
            if cursor is None:
                break
            # Every fourth goes, the others are written, and new ones come.
            await store.delete(names[step * 4 + 3])
            await store.put(record_of(names[step * 4], version=2), expect=1)
            await store.put(record_of(f"new{step}"), expect=0)
        stayed = [name for name in names if await store.get(name) is not None]
        assert len(found) == len(set(found))
        assert set(stayed) <= set(found)

    async def test_a_scan_matches_every_field_of_the_query(self, store: Store) -> None:
        """R-MGR-6."""
        await store.put(record_of("ab1", owner="ada", tags=frozenset({"x", "y"})), expect=0)
        await store.put(record_of("ab2", owner="bob", tags=frozenset({"xy"})), expect=0)
        await store.put(record_of("AB3", owner="ada", state="terminated"), expect=0)
        await store.put(record_of("a%", owner=None), expect=0)
        for query, expected in [
            (Query(prefix="ab"), ["ab1", "ab2"]),
            (Query(prefix="a%"), ["a%"]),
            (Query(owner="ada"), ["AB3", "ab1"]),
            (Query(tag="x"), ["ab1"]),
            (Query(state="terminated"), ["AB3"]),
            (Query(owner="ada", state="active"), ["ab1"]),
            (Query(owner="nobody"), []),
        ]:
            assert sorted(record.id for record in await _scan(store, query)) == expected, query

    async def test_a_foreign_cursor_is_refused(self, store: Store) -> None:
        """R-MGR-6."""
        for cursor in ("x", "-1", "", "1" * 30, "１"):
            with pytest.raises(Misused):
                await store.scan(Query(), cursor=cursor)

    async def test_expire_deletes_what_is_due_and_nothing_else(self, store: Store) -> None:
        """R-MGR-5."""
        await store.put(record_of("idle"), expect=0)
        await store.put(record_of("aged", timeout=None, max_age=30.0), expect=0)
        await store.put(record_of("later", timeout=60.5), expect=0)
        await store.put(record_of("never", timeout=None), expect=0)
        assert sorted(record.id for record in await store.expire(NOW + 60)) == ["aged", "idle"]
        assert await store.expire(NOW + 60) == []
        assert [name for name in ("idle", "aged", "later", "never") if await store.get(name)] == ["later", "never"]

    async def test_expire_returns_at_most_limit_and_goes_on(self, store: Store) -> None:
        """R-MGR-5."""
        for at in range(7):
            await store.put(record_of(f"s{at}"), expect=0)
        sizes = [len(await store.expire(NOW + 60, limit=3)) for _ in range(4)]
        assert sizes == [3, 3, 1, 0]

    async def test_a_touched_record_does_not_expire_and_hides_none_behind_it(self, store: Store) -> None:
        """R-MGR-5."""
        for at in range(6):
            await store.put(record_of(f"s{at}", timeout=60.0 + at / 10), expect=0)
        for at in range(5):
            await store.touch(f"s{at}", NOW + 30)
        assert [record.id for record in await store.expire(NOW + 61, limit=2)] == ["s5"]
        assert len(await store.expire(NOW + 95)) == 5

    async def test_a_shortened_timeout_expires_earlier_and_a_lengthened_one_later(self, store: Store) -> None:
        """R-MGR-5."""
        await store.put(record_of("shorter"), expect=0)
        await store.put(record_of("longer"), expect=0)
        await store.put(record_of("shorter", version=2, timeout=5.0), expect=1)
        await store.put(record_of("longer", version=2, timeout=500.0), expect=1)
        assert [record.id for record in await store.expire(NOW + 5)] == ["shorter"]
        assert await store.expire(NOW + 499) == []
        assert [record.id for record in await store.expire(NOW + 500)] == ["longer"]

    async def test_of_sweeps_that_race_one_is_given_each_record(self, store: Store) -> None:
        """R-MGR-5."""
        for at in range(30):
            await store.put(record_of(f"s{at}"), expect=0)
        sweeps = await asyncio.gather(*(store.expire(NOW + 60, limit=10) for _ in range(6)))
        gone = [record.id for sweep in sweeps for record in sweep]
        gone += [record.id for record in await store.expire(NOW + 60)]
        assert sorted(gone) == sorted(f"s{at}" for at in range(30))


async def _present(store: Store, session_id: str) -> Record:
    record = await store.get(session_id)
    assert record is not None
    return record


async def _scan(store: Store, query: Query, *, cursor: str | None = None, limit: int = 1000) -> list[Record]:
    found: list[Record] = []
    for _ in range(1000):
        page = await store.scan(query, cursor=cursor, limit=limit)
        assert len(page.records) <= limit
        found += page.records
        cursor = page.cursor
        if cursor is None:
            return found
    raise AssertionError("the scan does not end")
