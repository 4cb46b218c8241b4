"""The form of archives: what was written comes back, and whatever is wrong is found."""

from __future__ import annotations

import io
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast import Corrupt, KeyMissing, Misused
from holdfast.backup.archive import (
    MAGIC,
    TRAILER_BYTES,
    ArchiveReader,
    ArchiveWriter,
    Header,
    Totals,
    _context,
    totals_at_end,
)
from holdfast.codec import PLAIN, Codec, KeyRing
from holdfast.stores import DumpedEntry, DumpPage
from holdfast.stores.contract import Kind
from holdfast.testing.records import NOW, entry_of, record_of
from tests.codec.sealing import NEW, OLD

GOLDEN = Path(__file__).parent / "archive_1.hfa"
HEADER = Header(kind="sqlite", schema=4, made_by="0.1.0", taken_at=NOW, expected=3)
PAGES = [
    DumpPage(
        term=7,
        records=[
            record_of("é", version=3, term=5, timeout=None, max_age=9.5, owner="ada", tags=frozenset({"a"})),
            record_of("ended", state="terminated", reason="why"),
        ],
        damaged=["hit"],
    ),
    DumpPage(term=7, records=[record_of("s")]),
    DumpPage(
        term=7,
        entries=[
            DumpedEntry("s", 2, entry_of("a", 0, Kind.OPENING, request=b"1", origin=9)),
            DumpedEntry("s", 4, entry_of("a", 1, data=b"\0\xff")),
        ],
        lost_entries=1,
    ),
]
TOTALS = Totals(blocks=3, sessions=3, entries=2, damaged=1, lost_entries=1)


def written(pages: list[DumpPage] = PAGES, codec: Codec = PLAIN) -> bytes:
    out = io.BytesIO()
    writer = ArchiveWriter(out.write, HEADER, codec)
    for page in pages:
        writer.add(page)
    writer.end()
    assert writer.size_bytes == len(out.getvalue())
    return out.getvalue()


WHOLE = written()


def read(data: bytes, at_once: int = 2**30, codec: Codec = PLAIN) -> tuple[Header, list[DumpPage], Totals]:
    source = io.BytesIO(data)
    reader = ArchiveReader(lambda size: source.read(min(size, at_once)), "it", codec)
    return reader.header, list(reader), reader.totals


def blocks(data: bytes) -> list[bytes]:
    """Return the start and each block of an archive."""
    found, at = [data[:10]], 10
    while at < len(data):
        end = at + 13 + int.from_bytes(data[at + 5 : at + 9], "big") + 4
        found.append(data[at:end])
        at = end
    return found


def test_what_is_written_is_read() -> None:
    assert read(WHOLE) == (HEADER, PAGES, TOTALS)


def test_a_pipe_that_gives_little_at_a_time_does_too() -> None:
    """R-STO-8."""
    assert read(WHOLE, at_once=7) == (HEADER, PAGES, TOTALS)


def test_an_archive_of_the_first_form_is_read_for_ever() -> None:
    """R-STO-8: this file was written when the form was made, and is never written again."""
    assert read(GOLDEN.read_bytes()) == (HEADER, PAGES, TOTALS)


def test_the_totals_are_at_the_end() -> None:
    assert totals_at_end(WHOLE[-TRAILER_BYTES:]) == TOTALS
    assert totals_at_end(WHOLE[-TRAILER_BYTES - 1 : -1]) is None
    assert totals_at_end(b"") is None


@given(st.integers(0, len(WHOLE) - 1), st.integers(1, 255))
def test_a_changed_byte_is_found_wherever_it_is(at: int, mask: int) -> None:
    """R-STO-8."""
    data = bytearray(WHOLE)
    data[at] ^= mask
    with pytest.raises((Corrupt, Misused)):
        read(bytes(data))


def test_every_place_at_which_it_may_be_cut_is_found() -> None:
    """R-STO-8: also between two blocks."""
    for end in range(len(WHOLE)):
        with pytest.raises((Corrupt, Misused)):
            read(WHOLE[:end])


def test_blocks_that_are_missing_doubled_or_swapped_are_found() -> None:
    """R-STO-8."""
    parts = blocks(WHOLE)
    assert b"".join(parts) == WHOLE
    for at in range(1, len(parts)):
        for wrong in (parts[:at] + parts[at + 1 :], [*parts[:at], parts[at], *parts[at:]]):
            with pytest.raises(Corrupt):
                read(b"".join(wrong))
    for one, two in pairwise(range(1, len(parts))):
        wrong = list(parts)
        wrong[one], wrong[two] = wrong[two], wrong[one]
        with pytest.raises(Corrupt):
            read(b"".join(wrong))


def test_blocks_of_another_archive_are_found() -> None:
    """R-STO-8: each is sound by itself."""
    other = blocks(written([PAGES[0], DumpPage(term=7, records=[record_of("t")]), PAGES[2]]))
    mixed = blocks(WHOLE)
    mixed[3] = other[3]
    with pytest.raises(Corrupt, match="as a whole"):
        read(b"".join(mixed))


def test_what_follows_the_end_is_found() -> None:
    with pytest.raises(Corrupt, match="follows its end"):
        read(WHOLE + b"\0")
    with pytest.raises(Corrupt):
        read(WHOLE + WHOLE)


@pytest.mark.parametrize(
    "data", [b"", b"x", b"SQLite format 3\0" * 10, MAGIC, MAGIC.replace(b"\r\n", b"\n") + WHOLE[8:]]
)
def test_what_is_no_archive_is_said_to_be_none(data: bytes) -> None:
    with pytest.raises(Misused, match="is no archive of Holdfast"):
        read(data)


def test_a_newer_form_is_refused_with_what_to_do() -> None:
    with pytest.raises(Misused, match=r"newer Holdfast \(format 2, this one reads up to 1\); upgrade"):
        read(MAGIC + b"\0\2" + WHOLE[10:])
    with pytest.raises(Corrupt, match="no such version"):
        read(MAGIC + b"\0\0" + WHOLE[10:])


def test_damage_is_told_with_its_place() -> None:
    start = len(b"".join(blocks(WHOLE)[:3]))
    data = bytearray(WHOLE)
    data[start + 20] ^= 1
    with pytest.raises(Corrupt, match=r"it is damaged: a block does not match its checksum, at byte \d+, block 2; use"):
        read(bytes(data))


def test_a_length_that_is_damaged_is_not_believed() -> None:
    """Nobody asks for gigabytes because of a changed byte."""
    asked: list[int] = []
    data = bytearray(WHOLE)
    data[15] ^= 0x7F
    source = io.BytesIO(bytes(data))

    def reading(size: int) -> bytes:
        asked.append(size)
        return source.read(size)

    with pytest.raises(Corrupt, match="head of a block"):
        ArchiveReader(reading, "it")
    assert max(asked) < 100


@pytest.mark.parametrize("codec", [Codec(keys=NEW), Codec(compress=True), Codec(keys=NEW, compress=True)])
def test_pages_are_encrypted_and_compressed(codec: Codec) -> None:
    """R-STO-6."""
    header, pages, totals = read(written(codec=codec), codec=codec)
    assert (header.form, pages, totals) == ("sealed", PAGES, TOTALS)
    assert msgspec.structs.replace(header, form="", id="") == HEADER


def test_nothing_of_an_encrypted_archive_lies_in_clear() -> None:
    """R-STO-6: but what its header says of it."""
    page = DumpPage(records=[record_of("a-secret-id", owner="a-secret-owner")])
    assert b"secret" in written([page])
    assert b"secret" not in written([page], codec=Codec(keys=NEW))


def test_an_archive_whose_key_is_not_there_is_whole_and_cannot_be_read() -> None:
    """R-STO-6: with a wrong key of that id it is damaged, as far as anybody can tell."""
    data = written(codec=Codec(keys=NEW))
    for without in (PLAIN, Codec(keys=OLD)):
        with pytest.raises(KeyMissing, match="2027"):
            read(data, codec=without)
    with pytest.raises(Corrupt, match="key"):
        read(data, codec=Codec(keys=KeyRing({"2027": b"x" * 32})))


def test_a_page_of_another_archive_fits_nowhere() -> None:
    """R-STO-6: whoever can make every checksum right, and has no key, can put nothing together."""
    one = msgspec.structs.replace(HEADER, form="sealed", id="1")
    other = msgspec.structs.replace(HEADER, form="sealed", id="2")
    codec = Codec(keys=NEW)
    payload = codec.seal_bytes(msgspec.msgpack.encode(PAGES[1]), _context(other, 1))
    out = io.BytesIO()
    writer = ArchiveWriter(out.write, one)
    writer._block(2, payload)
    writer.totals = writer.totals.with_page(PAGES[1])
    writer.end()
    with pytest.raises(Corrupt, match="block 1 of it"):
        read(out.getvalue(), codec=codec)


def test_numbers_that_no_store_gives_are_refused() -> None:
    for number in (0, 2**62 + 1):
        with pytest.raises(Corrupt, match="number"):
            read(written([DumpPage(entries=[DumpedEntry("s", number, entry_of("a", 0))])]))


def test_an_archive_of_nothing_is_one() -> None:
    assert read(written([])) == (HEADER, [], Totals())
