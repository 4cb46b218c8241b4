"""Stores that encrypt and compress what they keep: what lies on the disk, and what becomes of it (R-STO-6)."""

from __future__ import annotations

import asyncio
import gzip
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from holdfast import Codec, Corrupt, Draft, KeyMissing, KeyRing, Misused, SessionManager, open_store
from holdfast.backup import back_up, restore
from holdfast.codec import encode
from holdfast.model import SystemClock
from holdfast.stores.contract import Feed, JournalBounds, Query, append_to
from holdfast.testing import ManualClock
from holdfast.testing.records import NOW, entry_of, record_of
from tests import kit

from .engines import WITH_PLYVEL
from .sealed import (
    BOTH,
    ENTRIES,
    OLD,
    ONLY_NEW,
    SECRET,
    START,
    assert_all_is_there,
    bytes_on_disk,
    fill,
    opened,
    records,
)

HERE = Path(__file__).parent
KINDS = ["sqlite", pytest.param("leveldb", marks=WITH_PLYVEL), "rocksdb"]
FIRST = records(1)[0].id


@pytest.fixture(params=KINDS)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"{request.param}:///{tmp_path}/store"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store"


def rows(path: Path, text: str, *values: object) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as connection, connection:
        return connection.execute(text, values).fetchall()


@pytest.mark.parametrize("compress", [False, True])
async def test_no_content_lies_in_clear_on_the_disk(url: str, tmp_path: Path, compress: bool) -> None:
    """What does is told in the documents: ids, owners, times."""
    async with opened(url, Codec(keys=ONLY_NEW, compress=compress)) as store:
        await fill(store, 3)
        await assert_all_is_there(store, 3)
        seen = bytes_on_disk(tmp_path)
    seen += bytes_on_disk(tmp_path)
    assert (SECRET.encode() in seen, FIRST.encode() in seen) == (False, True)


async def test_without_options_what_lies_on_the_disk_is_as_it_was(path: Path) -> None:
    async with opened(f"sqlite:///{path}", Codec()) as store:
        await fill(store, 2)
    assert rows(path, "SELECT body FROM sessions") == [(Codec().seal(record),) for record in records(2)]
    assert rows(path, "SELECT data, request, sealed FROM journal") == [(e.data, e.request, 0) for e in ENTRIES]


@pytest.mark.parametrize("before", [None, OLD], ids=["clear", "older"])
async def test_what_lies_under_an_older_key_is_sealed_anew(url: str, before: KeyRing | None) -> None:
    """And nobody notices: no version grows, no access is counted. Then the older key is not needed any more."""
    async with opened(url, Codec(keys=before)) as store:
        await fill(store, 450)
    async with opened(url, Codec(keys=BOTH)) as store:
        assert (await store.info()).older_keys is None
        await store.seal_anew()
        assert (await store.info()).older_keys == {}
        await assert_all_is_there(store, 450)
        await append_to(store, FIRST, 1, [entry_of("b", 0)])
    async with opened(url, Codec(keys=ONLY_NEW)) as store:
        await store.seal_anew()
        assert (await store.info()).older_keys == {}
        await assert_all_is_there(store, 450)
        assert await store.read(FIRST, "b", after=START) == [entry_of("b", 0)]
        assert await store.origins(FIRST, 1, 99) == {9}


async def test_a_journal_that_was_sealed_anew_is_counted_as_it_is(path: Path) -> None:
    """Sealed, entries are longer, and their bounds are about what is kept."""
    async with opened(f"sqlite:///{path}", Codec()) as store:
        await fill(store, 1)
    async with opened(f"sqlite:///{path}", Codec(keys=BOTH)) as store:
        await store.seal_anew()
        [(counted,)] = rows(path, "SELECT bytes FROM journal_sizes")
        assert [(counted,)] == rows(path, "SELECT sum(length(data)) FROM journal WHERE kind = 1")
        assert await store.trim(JournalBounds(session_bytes_max=0), NOW) == 39
        assert rows(path, "SELECT messages, bytes FROM journal_sizes") == [(0, 0)]


async def test_trimming_and_deleting_need_no_key(url: str) -> None:
    async with opened(url, Codec(keys=OLD)) as store:
        await fill(store, 2)
    async with opened(url, Codec()) as store:
        assert await store.trim(JournalBounds(session_entries_max=5), NOW) == 34
        assert await store.trim(JournalBounds(age_s_max=0.0), NOW + 1) == 7
        assert await store.delete(FIRST)


async def test_a_missing_key_concerns_only_what_is_sealed_under_it(url: str, caplog: pytest.LogCaptureFixture) -> None:
    """It is neither damage nor absence, and found again once the key is there."""
    async with opened(url, Codec(keys=OLD)) as store:
        await fill(store, 2)
    async with opened(url, Codec(keys=ONLY_NEW)) as store:
        other = record_of("other", timeout=None)
        await store.put(other, expect=0)
        await store.seal_anew()
        changes = 2 if isinstance(store, Feed) else 0
        assert (await store.info()).older_keys == {"2026": 2 + changes + len(ENTRIES)}
        with pytest.raises(KeyMissing, match="session s000… is sealed under key '2026'"):
            await store.get(FIRST)
        with pytest.raises(KeyMissing, match="entry of the journal"):
            await store.read(FIRST, "a", after=START)
        assert await store.get("other") == other
        assert (await store.scan(Query())).records == [other]
        assert sorted((await store.list_ids(NOW)).ids) == sorted(["other", *(record.id for record in records(2))])
        assert await store.expire(NOW + 1e9) == []
    assert "left out of scans and sweeps" in caplog.text
    async with opened(url, Codec(keys=BOTH)) as store:
        await assert_all_is_there(store, 2)


async def test_the_wrong_key_says_that_it_may_be_that(url: str) -> None:
    async with opened(url, Codec(keys=OLD)) as store:
        await fill(store, 1)
    async with opened(url, Codec(keys=KeyRing({"2026": b"w" * 32}))) as store:
        with pytest.raises(Corrupt, match="may be the wrong key"):
            await store.get(FIRST)
        with pytest.raises(Corrupt, match="may be the wrong key"):
            await store.read(FIRST, "a", after=START)


@pytest.mark.parametrize("codec", [Codec(keys=OLD), Codec(compress=True)], ids=["encrypted", "compressed"])
async def test_every_changed_byte_of_what_is_sealed_is_found(path: Path, codec: Codec) -> None:
    """R-STO-2: the one concerned, and nobody beside it."""
    one, two = (record_of(name, timeout=None, metadata=encode({"text": "so it goes " * 60})) for name in ("one", "two"))
    async with opened(f"sqlite:///{path}", codec) as store:
        for record in (one, two):
            await store.put(record, expect=0)
        await append_to(store, "one", 1, [entry_of("a", 0), entry_of("b", 0)])
        for table, column, where in (("sessions", "body", "id = 'one'"), ("journal", "data", "stream = 'a'")):
            [(whole,)] = rows(path, f"SELECT {column} FROM {table} WHERE {where}")
            assert isinstance(whole, bytes)
            for place in range(len(whole)):
                changed = whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :]
                rows(path, f"UPDATE {table} SET {column} = ? WHERE {where}", changed)
                with pytest.raises(Corrupt if place != 2 else (Corrupt, Misused), match=r"damaged|upgrade"):
                    await (store.get("one") if table == "sessions" else store.read("one", "a", after=START))
            rows(path, f"UPDATE {table} SET {column} = ? WHERE {where}", whole)
        assert await store.get("two") == two
        assert await store.read("one", "b", after=START) == [entry_of("b", 0)]
        assert await store.get("one") == one


async def test_what_was_put_in_anothers_place_is_refused(path: Path) -> None:
    async with opened(f"sqlite:///{path}", Codec(keys=OLD)) as store:
        for name in ("one", "two"):
            await store.put(record_of(name, timeout=None), expect=0)
            await append_to(store, name, 1, [entry_of("a", 0), entry_of("a", 1)])
        rows(path, "UPDATE sessions SET body = (SELECT body FROM sessions WHERE id = 'two') WHERE id = 'one'")
        rows(path, "UPDATE journal SET data = (SELECT data FROM journal WHERE session = 1 AND seq = 0) WHERE seq = 1")
        rows(
            path, "UPDATE journal SET data = (SELECT data FROM journal WHERE session = 2 AND seq = 0) WHERE session = 1"
        )
        with pytest.raises(Corrupt):
            await store.get("one")
        for name in ("one", "two"):
            with pytest.raises(Corrupt):
                await store.read(name, "a", after=(1, 0) if name == "two" else START)


async def test_a_store_learns_to_compress_from_its_own_records(url: str, tmp_path: Path) -> None:
    """And knows it again when it is opened anew, under another key too; whoever does not compress reads it as well."""
    small, more = (
        records(1100),
        record_of("f" * 32, timeout=None, owner="ada", metadata=encode({"name": SECRET, "n": 7})),
    )
    async with opened(url, Codec(keys=OLD, compress=True)) as store:
        await asyncio.gather(*(store.put(record, expect=0, durable=False) for record in small))
        await store.seal_anew()
        assert store._codec.dictionary == 1
        await store.put(more, expect=0)
        assert await store.get(more.id) == more
        assert len(store._codec.seal(more)) < 0.85 * len(Codec(keys=OLD).seal(more))
    assert SECRET.encode() not in bytes_on_disk(tmp_path)
    async with opened(url, Codec(keys=BOTH, compress=True)) as store:
        assert store._codec.dictionary == 1
        await store.seal_anew()
        assert (await store.info()).older_keys == {}
    async with opened(url, Codec(keys=ONLY_NEW)) as store:
        assert await store.get(more.id) == more
        assert [await store.get(record.id) for record in small] == small


async def test_a_few_records_are_not_enough_to_learn_from(url: str) -> None:
    async with opened(url, Codec(compress=True)) as store:
        await fill(store, 300)
        await store.seal_anew()
        assert store._codec.dictionary == 0
        await assert_all_is_there(store, 300)


async def test_a_dictionary_that_another_process_keeps_is_found(path: Path) -> None:
    """R-STO-3: whichever of two is first; the other one reads what it wrote, and goes on with the same."""
    codec = Codec(compress=True)
    async with opened(f"sqlite:///{path}", codec) as one, opened(f"sqlite:///{path}", codec) as two:
        await fill(one, 1100)
        await asyncio.gather(one.seal_anew(), two.seal_anew())
        assert rows(path, "SELECT n FROM dictionaries") == [(1,)]
        assert (one._codec.dictionary, two._codec.dictionary) == (1, 1)
        changed = msgspec.structs.replace(records(1)[0], version=2)
        await one.put(changed, expect=1)
        async with opened(f"sqlite:///{path}", Codec()) as three:
            assert await two.get(FIRST) == await three.get(FIRST) == changed


async def test_nothing_written_meanwhile_is_lost_to_sealing_anew(path: Path) -> None:
    """R-MGR-4: beside a process that still writes under the older key, and one that seals anew as well."""
    url = f"sqlite:///{path}"
    older_first = KeyRing(BOTH.keys, current="2026")

    def increment(draft: Draft[dict[str, int]]) -> Draft[dict[str, int]]:
        draft.metadata["n"] += 1
        return draft

    async with SessionManager[dict[str, int]].open(url, codec=Codec(keys=older_first)) as sessions:
        ids = [(await sessions.create({"n": 0}, timeout=None)).id for _ in range(300)]
        async with opened(url, Codec(keys=BOTH)) as one, opened(url, Codec(keys=BOTH)) as two:
            await asyncio.gather(
                *(sessions.update(name, increment) for name in ids for _ in range(5)), one.seal_anew(), two.seal_anew()
            )
        assert {(await sessions.peek(name)).metadata["n"] for name in ids} == {5}
        assert {(await sessions.peek(name)).version for name in ids} == {6}
    async with opened(url, Codec(keys=BOTH)) as store:
        await store.seal_anew()
    async with SessionManager[dict[str, int]].open(url, codec=Codec(keys=ONLY_NEW)) as sessions:
        assert {(await sessions.peek(name)).metadata["n"] for name in ids} == {5}


@pytest.mark.slow
@pytest.mark.parametrize("steps", [1, 4, 9])
async def test_kill_9_while_it_is_sealed_anew_loses_nothing(url: str, steps: int) -> None:
    """And the next to open it goes on with what is left."""
    async with opened(url, Codec(keys=OLD)) as store:
        await fill(store, 2500)
    command = (sys.executable, "-m", "tests.stores.sealed", url)
    program = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, cwd=HERE.parents[1])
    assert program.stdout is not None
    done = [int(await program.stdout.readline()) for _ in range(steps)][-1]
    program.kill()
    await program.wait()
    assert 0 < done < 2500
    async with opened(url, Codec(keys=BOTH)) as store:
        await assert_all_is_there(store, 2500)
        await store.seal_anew()
        assert (await store.info()).older_keys == {}
    async with opened(url, Codec(keys=ONLY_NEW)) as store:
        await assert_all_is_there(store, 2500)


async def test_it_is_sealed_anew_without_being_asked(url: str) -> None:
    async with opened(url, Codec(keys=OLD)) as store:
        await fill(store, 2)
    async with opened(url, Codec(keys=BOTH)) as store:
        await kit.eventually_async(lambda: store._sealing.older == {})


async def test_in_memory_nothing_is_sealed() -> None:
    async with open_store("memory://", codec=Codec(keys=OLD)) as store:
        await store.put(record_of("s"), expect=0)
        assert await store.get("s") == record_of("s")


async def test_whoever_follows_stops_before_a_change_whose_key_is_missing(url: str) -> None:
    """R-MGR-7: what comes before it is told, and nothing is passed over; nor by whoever looks at the past."""
    clock = ManualClock(NOW)
    async with open_store(url, codec=Codec(keys=ONLY_NEW), clock=clock) as store:
        await store.put(record_of("before", timeout=None), expect=0)
    async with open_store(url, codec=Codec(keys=OLD), clock=clock) as store:
        await store.put(record_of("locked", timeout=None), expect=0)
    async with open_store(url, codec=Codec(keys=ONLY_NEW), clock=clock) as store:
        assert isinstance(store, Feed)
        await store.put(record_of("behind", timeout=None), expect=0)
        page = await store.changes()
        assert ([change.record.id for change in page.changes], page.is_end) == (["before"], False)
        for _ in range(2):
            with pytest.raises(KeyMissing, match="2026"):
                await store.changes(after=page.cursor)
        with pytest.raises(KeyMissing, match="2026"):
            await store.state_at(NOW)
        cursor = page.cursor
    async with open_store(url, codec=Codec(keys=BOTH), clock=clock) as store:
        assert isinstance(store, Feed)
        assert [change.record.id for change in (await store.changes(after=cursor)).changes] == ["locked", "behind"]


async def test_what_an_earlier_version_wrote_is_replaced_by_a_restore_once_it_is_sealed(tmp_path: Path) -> None:
    """R-STO-8: whoever puts a backup in its place has no key, and must know which sessions are still there."""
    with gzip.open(HERE / "schema_1.db.gz") as packed:
        await asyncio.to_thread((tmp_path / "store").write_bytes, packed.read())
    url = f"sqlite:///{tmp_path}/store"
    async with opened(url, Codec(keys=OLD)) as store:
        await store.seal_anew()
        kept = {record.id: record.created_at for record in (await store.scan(Query())).records}
        await back_up(store, tmp_path / "b.hfa", clock=SystemClock(), codec=Codec(keys=OLD))
    assert kept
    assert {str(name): at for name, at in rows(tmp_path / "store", "SELECT id, created_at FROM sessions")} == kept
    clock = ManualClock(max(kept.values()))
    done = await restore(tmp_path / "b.hfa", url, clock=clock, replace=True, codec=Codec(keys=OLD))
    assert (done.sessions, done.deleted) == (len(kept), 0)
