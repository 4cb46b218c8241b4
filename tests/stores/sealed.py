"""A store with sessions and a journal, to be sealed anew; also as a program that does so step by step.

sealed.py URL    seals anew under the newer key, and says after each step how much is done, until it is killed
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from holdfast import Codec, KeyRing, open_store
from holdfast.codec import encode
from holdfast.model import Record
from holdfast.stores.contract import Entry, Kind, append_to
from holdfast.stores.ordered import OrderedStore
from holdfast.stores.sqlite import SqliteStore
from holdfast.testing.records import entry_of, record_of

OLD: Final = KeyRing({"2026": b"o" * 32})
BOTH: Final = KeyRing({"2027": b"n" * 32, **OLD.keys})
ONLY_NEW: Final = KeyRing({"2027": b"n" * 32})
SECRET: Final = "Ada Lovelace was here"
START: Final = (0, -1)
ENTRIES: Final[Sequence[Entry]] = [
    entry_of("a", 0, Kind.OPENING, request=f'"{SECRET}"'.encode()),
    *(entry_of("a", seq, data=f"{SECRET} {seq}".encode()) for seq in range(1, 40)),
    entry_of("a", 40, Kind.FINAL, data=b"{}" * 700, origin=9),
]


@asynccontextmanager
async def opened(url: str, codec: Codec) -> AsyncIterator[SqliteStore | OrderedStore]:
    async with open_store(url, codec=codec) as store:
        assert isinstance(store, SqliteStore | OrderedStore)
        yield store


def records(count: int) -> list[Record]:
    return [
        record_of(f"s{n:031}", timeout=None, owner="ada", version=1, metadata=encode({"name": SECRET, "n": n}))
        for n in range(count)
    ]


async def fill(store: SqliteStore | OrderedStore, count: int) -> None:
    """Put so many records, and a journal under the first of them."""
    await asyncio.gather(*(store.put(record, expect=0, durable=False) for record in records(count)))
    await append_to(store, records(1)[0].id, 1, ENTRIES)


async def assert_all_is_there(store: SqliteStore | OrderedStore, count: int) -> None:
    for record in records(count):
        assert await store.get(record.id) == record
    assert await store.read(records(1)[0].id, "a", after=START) == list(ENTRIES)


def bytes_on_disk(place: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(place.rglob("*")) if path.is_file())


async def main(url: str) -> None:
    async with opened(url, Codec(keys=BOTH)) as store:
        step = await store._sealing._sealed.reseal(None)
        done = 0
        while step.next is not None:
            step = await store._sealing._sealed.reseal(step.next)
            done += step.resealed
            sys.stdout.write(f"{done}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
