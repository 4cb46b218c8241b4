"""The one form of backups and snapshots, whatever store they are of; written and read in one go, also through pipes.

    magic, version                      8 + 2 bytes
    block: header                       JSON
    block: page, as many as there are   `stores.contract.DumpPage` as msgpack, sealed by the codec where that does more
    block: trailer                      totals, and the SHA-256 of all before it

A block is its kind (1 byte), number (4) and length (4), the CRC-32 of those, the payload and its CRC-32; numbers are
big-endian and count from 0. So a byte that was changed, a block that is missing, doubled or in another place, and an
end that is missing are all found, and no length is believed that is damaged. Nothing follows the trailer.

Invariant: a version once released stays readable; the tests keep an archive of each.
"""

from __future__ import annotations

import hashlib
import secrets
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from ..codec import PLAIN, Codec
from ..model.errors import Corrupt, Misused
from ..stores import DumpPage

MAGIC: Final = b"\x89HFA\r\n\x1a\n"  # that of a binary file: what treats it as text changes this first
VERSION: Final = 1
BLOCK_BYTES_MAX: Final = 2**28
NUMBER_MAX: Final = 2**62

_START: Final = struct.Struct(">8sH")
_HEAD: Final = struct.Struct(">BII")
_CRC: Final = struct.Struct(">I")
_TRAILER: Final = struct.Struct(">QQQQQ32s")
TRAILER_BYTES: Final = _HEAD.size + _CRC.size + _TRAILER.size + _CRC.size
_HEADER_KIND, _PAGE_KIND, _TRAILER_KIND = 1, 2, 3

_SEALED: Final = "sealed"


class Header(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an archive is of: the store's `kind` and `schema`, and the version of Holdfast that made it.

    `taken_at` is in seconds since the epoch; `expected` about how many sessions follow, 0 when nobody knows; `scope`
    says whether it is of a whole store, or of sessions without their journals; `form` is "sealed" when a codec sealed
    the pages, each bound to its number and to `id`, so that none fits another place.
    """

    kind: str
    schema: int
    made_by: str
    taken_at: float
    scope: str = "store"
    name: str = ""
    expected: int = 0
    form: str = ""
    id: str = ""


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """What is in an archive. `damaged` sessions and `lost_entries` could not be read when it was made."""

    blocks: int = 0
    sessions: int = 0
    entries: int = 0
    damaged: int = 0
    lost_entries: int = 0

    def with_page(self, page: DumpPage) -> Totals:
        """Return the totals with one page more."""
        return Totals(
            blocks=self.blocks + 1,
            sessions=self.sessions + len(page.records),
            entries=self.entries + len(page.entries),
            damaged=self.damaged + len(page.damaged),
            lost_entries=self.lost_entries + page.lost_entries,
        )


class ArchiveWriter:
    """Writes one archive by `write`, which takes all it is given. Blocks.

    Pages are encrypted and compressed by `codec`.
    """

    def __init__(self, write: Callable[[bytes], object], header: Header, codec: Codec = PLAIN) -> None:
        if not codec.is_plain:
            header = msgspec.structs.replace(header, form=_SEALED, id=secrets.token_hex(16))
        self._write = write
        self._codec = codec
        self._header = header
        self._digest = hashlib.sha256()
        self._encode = msgspec.msgpack.Encoder().encode
        self._number = 0
        self.size_bytes = 0
        self.totals = Totals()
        self._put(_START.pack(MAGIC, VERSION))
        self._block(_HEADER_KIND, msgspec.json.encode(header))

    def add(self, page: DumpPage) -> None:
        """Write a page.

        Raises:
            Misused: It has more than 256 MiB.
        """
        payload = self._encode(page)
        if self._header.form:
            payload = self._codec.seal_bytes(payload, _context(self._header, self._number))
        if len(payload) > BLOCK_BYTES_MAX:
            raise Misused(f"a page of {len(payload):,} bytes does not fit an archive; at most {BLOCK_BYTES_MAX:,} do")
        self._block(_PAGE_KIND, payload)
        self.totals = self.totals.with_page(page)

    def end(self) -> Totals:
        """Write what ends the archive; return what is in it."""
        totals = self.totals
        digest = self._digest.digest()
        self._block(_TRAILER_KIND, _TRAILER.pack(*msgspec.structs.astuple(totals), digest))
        return totals

    def _block(self, kind: int, payload: bytes) -> None:
        head = _HEAD.pack(kind, self._number, len(payload))
        self._number += 1
        self._put(b"".join((head, _CRC.pack(zlib.crc32(head)), payload, _CRC.pack(zlib.crc32(payload)))))

    def _put(self, data: bytes) -> None:
        self._digest.update(data)
        self.size_bytes += len(data)
        self._write(data)


class ArchiveReader:
    """Reads one archive by `read`, which gives up to as many bytes as it is asked for. Blocks.

    The header is read at once. Iterating gives the pages, each checked, and ends when all of the archive was found
    to be whole; then `totals` is what is in it.

    Raises:
        Misused: It is no archive, or one of a newer version.
        Corrupt: It is damaged, with the place.
        KeyMissing: Iterating: it is sealed under a key that `codec` has not.
    """

    def __init__(self, read: Callable[[int], bytes], where: str, codec: Codec = PLAIN) -> None:
        self._read = read
        self._where = where
        self._codec = codec
        self._digest = hashlib.sha256()
        self._number = 0
        self._at = 0
        self.totals = Totals()
        self.header = self._begin()

    @property
    def read_bytes(self) -> int:
        """How many bytes were read so far."""
        return self._at

    def __iter__(self) -> Iterator[DumpPage]:
        decode = msgspec.msgpack.Decoder(DumpPage).decode
        while True:
            before = self._digest.digest()
            kind, payload = self._block()
            if kind == _TRAILER_KIND:
                return self._end(payload, before)
            if kind != _PAGE_KIND:
                raise self._damaged("there is a second header")
            try:
                page = decode(self._opened(payload))
            except (msgspec.DecodeError, ValueError) as error:
                raise self._damaged(f"a page cannot be read ({error})") from error
            if any(not 1 <= each.number <= NUMBER_MAX for each in page.entries):
                raise self._damaged("an entry has a number that no store gives")
            self.totals = self.totals.with_page(page)
            yield page

    def _begin(self) -> Header:
        start = self._read_all(_START.size)
        if len(start) < _START.size or not start.startswith(MAGIC):
            raise Misused(f"{self._where} is no archive of Holdfast; name one that `holdfast backup` made")
        version = _START.unpack(start)[1]
        if version > VERSION:
            raise Misused(
                f"{self._where} was made by a newer Holdfast (format {version}, this one reads up to {VERSION}); "
                "upgrade Holdfast"
            )
        if version < 1:
            raise self._damaged("there is no such version")
        kind, payload = self._block()
        if kind != _HEADER_KIND:
            raise self._damaged("the header is missing")
        try:
            header = msgspec.json.decode(payload, type=Header)
        except msgspec.DecodeError as error:
            raise self._damaged(f"the header cannot be read ({error})") from error
        if header.form not in ("", _SEALED):
            raise Misused(f"{self._where} is in the form {header.form!r}, which this Holdfast cannot read")
        return header

    def _opened(self, payload: bytes) -> bytes:
        if not self.header.form:
            return payload
        context = _context(self.header, self._number - 1)
        return self._codec.open_bytes(payload, context, what=f"block {self._number - 1} of {self._where}")

    def _block(self) -> tuple[int, bytes]:
        head = self._read_all(_HEAD.size + _CRC.size)
        if len(head) < _HEAD.size + _CRC.size:
            raise self._damaged("it ends too early")
        if zlib.crc32(head[: _HEAD.size]) != _CRC.unpack_from(head, _HEAD.size)[0]:
            raise self._damaged("the head of a block does not match its checksum")
        kind, number, length = _HEAD.unpack_from(head)
        if number != self._number:
            raise self._damaged(f"block {number} is here; one is missing, or in another place")
        if length > BLOCK_BYTES_MAX:
            raise self._damaged(f"a block of {length:,} bytes is larger than any can be")
        rest = self._read_all(length + _CRC.size)
        if len(rest) < length + _CRC.size:
            raise self._damaged("it ends too early")
        payload = rest[:length]
        if zlib.crc32(payload) != _CRC.unpack_from(rest, length)[0]:
            raise self._damaged("a block does not match its checksum")
        self._number += 1
        return kind, payload

    def _end(self, payload: bytes, digest: bytes) -> None:
        if len(payload) != _TRAILER.size:
            raise self._damaged("its end cannot be read")
        *counts, wanted = _TRAILER.unpack(payload)
        if tuple(counts) != msgspec.structs.astuple(self.totals):
            raise self._damaged("it does not hold what its end says")
        if wanted != digest:
            raise self._damaged("it does not match its checksum as a whole")
        if self._read(1):
            raise self._damaged("something follows its end")

    def _read_all(self, size: int) -> bytes:
        parts: list[bytes] = []
        missing = size
        while missing and (part := self._read(missing)):
            parts.append(part)
            missing -= len(part)
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        self._digest.update(data)
        self._at += len(data)
        return data

    def _damaged(self, why: str) -> Corrupt:
        return Corrupt(
            f"{self._where} is damaged: {why}, at byte {self._at:,}, block {self._number}; use another copy or another "
            "backup"
        )


def _context(header: Header, number: int) -> bytes:
    return f"archive\0{header.id}\0{number}".encode()


def totals_at_end(trailer: bytes) -> Totals | None:
    """Return what the last `TRAILER_BYTES` of an archive say is in it, or None when they are none of its end."""
    head, rest = trailer[: _HEAD.size], trailer[_HEAD.size + _CRC.size :]
    if len(trailer) != TRAILER_BYTES or zlib.crc32(head) != _CRC.unpack_from(trailer, _HEAD.size)[0]:
        return None
    payload = rest[: _TRAILER.size]
    if _HEAD.unpack(head)[0] != _TRAILER_KIND or zlib.crc32(payload) != _CRC.unpack_from(rest, _TRAILER.size)[0]:
        return None
    return Totals(**dict(zip(Totals.__struct_fields__, _TRAILER.unpack(payload)[:5], strict=True)))
