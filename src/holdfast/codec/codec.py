"""Seals what is stored, and opens it: compressed and encrypted as its owner wishes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final
from zlib import crc32

import msgspec

from ..model.errors import Corrupt, KeyMissing, Misused
from ..model.ids import redacted
from ..model.session import Record
from .envelope import (
    COMPRESSED,
    CRC_BYTES,
    FORM_1,
    HEADER_1_BYTES,
    NUMBER_BYTES,
    BrokenError,
    joined,
    parts_of,
    start_of,
)
from .keys import KeyRing

if TYPE_CHECKING:
    from .compress import Compression
    from .seal import Seals

_RECORD: Final = b"record\0"
_BYTES: Final = b"bytes\0"
_CRC_AT: Final = len(FORM_1)

_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Record).decode


def _no_dictionary(number: int) -> bytes | None:
    return None


class Codec:
    """How a store seals what it keeps: with the current key of `keys`, and compressed where that makes it smaller.

    Whatever a codec is told, it opens everything for which it has the key. By itself it neither encrypts nor
    compresses. It may be used by several threads. A store binds the one it is given to itself, with `of_store`.
    """

    __slots__ = ("_compression", "_find", "_is_plain", "_seals", "_start", "compress", "keys")

    def __init__(self, *, keys: KeyRing | None = None, compress: bool = False) -> None:
        """Take the key ring, None to encrypt nothing, and whether to compress.

        Raises:
            Misused: What it needs is not installed, or `keys` is no key ring.
        """
        if keys is not None and not isinstance(keys, KeyRing):
            raise Misused(f"keys is a KeyRing, not {type(keys).__name__}; pass KeyRing.read(FILE)")
        self._settle(keys, compress, _no_dictionary)

    def of_store(self, find: Callable[[int], bytes | None]) -> Codec:
        """Return the same with the dictionaries of one store, which `find` returns by number, on any thread."""
        bound = Codec.__new__(Codec)
        bound._settle(self.keys, self.compress, find)
        return bound

    def _settle(self, keys: KeyRing | None, compress: bool, find: Callable[[int], bytes | None]) -> None:
        self.keys: KeyRing | None = keys
        self.compress: bool = compress
        self._is_plain = keys is None and not compress
        self._start = start_of("" if keys is None else keys.current)
        self._find = find
        self._seals: Seals | None = None if keys is None else _seals_of(keys)
        self._compression: Compression | None = _compression_of(find) if compress else None

    @property
    def is_plain(self) -> bool:
        """Whether it neither encrypts nor compresses."""
        return self._is_plain

    @property
    def start(self) -> bytes:
        """How everything begins that it encrypts now; what begins otherwise is to be sealed anew."""
        return self._start

    def seal(self, record: Record) -> bytes:
        """Return the sealed form of `record`, bound to its id."""
        body = _encode(record)
        if self._is_plain:
            return FORM_1 + crc32(body).to_bytes(CRC_BYTES, "big") + body
        return self._sealed(body, _RECORD + record.id.encode(), is_record=True)

    def open(self, sealed: bytes, session_id: str) -> Record:
        """Return the record that was sealed under `session_id`.

        Raises:
            Corrupt: It is damaged, it is the record of another session, or the key ring has another key of that id.
            KeyMissing: The key ring has not the key that it is sealed under.
            Misused: A newer version of Holdfast wrote it, or it is compressed and zstandard is not installed.
        """
        try:
            record = _decode(self._body(sealed, session_id))
        except (BrokenError, msgspec.DecodeError) as error:
            raise _damaged(session_id, str(error)) from error
        if record.id != session_id:
            raise _damaged(session_id, "it holds the record of another session")
        return record

    def sample(self, sealed: bytes, session_id: str) -> bytes:
        """Return what dictionaries are trained on: the record before it was compressed and encrypted.

        Raises:
            Corrupt, KeyMissing, Misused: As `open`.
        """
        try:
            return bytes(self._body(sealed, session_id))
        except BrokenError as error:
            raise _damaged(session_id, str(error)) from error

    def reseal(self, sealed: bytes, session_id: str) -> bytes:
        """Return the same record as `seal` would seal it now.

        Raises:
            Corrupt, KeyMissing, Misused: As `open`.
        """
        return self._sealed(self.sample(sealed, session_id), _RECORD + session_id.encode(), is_record=True)

    def seal_bytes(self, data: bytes, context: bytes) -> bytes:
        """Return the sealed form of `data`, which opens with the same `context` only: what it is, and whose."""
        return self._sealed(data, _BYTES + context, is_record=False)

    def open_bytes(self, sealed: bytes, context: bytes, *, what: str = "what is stored") -> bytes:
        """Return what was sealed with `context`; `what` names it in errors.

        Raises:
            Corrupt, KeyMissing, Misused: As `open`.
        """
        try:
            return self._opened(sealed, _BYTES + context, what)
        except BrokenError as error:
            raise Corrupt(f"{what} is damaged: {error}; restore it or delete it") from error

    def learn(self, number: int, dictionary: bytes) -> None:
        """Compress records with the dictionary of that number from now on, if it compresses at all."""
        if self._compression is not None:
            self._compression.learn(number, dictionary)

    @property
    def dictionary(self) -> int:
        """The number of the dictionary that records are compressed with, 0 for none."""
        return 0 if self._compression is None else self._compression.newest

    def _sealed(self, body: bytes, context: bytes, *, is_record: bool) -> bytes:
        flags, number = 0, b""
        if self.compress and self._compression is not None:
            packed = self._compression.compress(body, small=is_record)
            if packed is not None:
                flags, number, body = COMPRESSED, packed[0].to_bytes(NUMBER_BYTES, "big"), packed[1]
        if is_record and not flags and self._seals is None:
            return FORM_1 + crc32(body).to_bytes(CRC_BYTES, "big") + body
        header = self._start + bytes((flags,))
        if self._seals is not None:
            body = self._seals.seal(body, header + number + context)
        return joined(header, number + body, context)

    def _body(self, sealed: bytes, session_id: str) -> bytes | memoryview:
        if not sealed.startswith(FORM_1):
            return self._opened(sealed, _RECORD + session_id.encode(), f"session {redacted(session_id)}")
        body = memoryview(sealed)[HEADER_1_BYTES:]
        if crc32(body) != int.from_bytes(sealed[_CRC_AT:HEADER_1_BYTES], "big"):
            raise BrokenError("its checksum does not match")
        return body

    def _opened(self, sealed: bytes, context: bytes, what: str) -> bytes:
        header, key_id, number, body = parts_of(sealed, context, what)
        if key_id:
            body = self._decrypted(key_id, body, header + number + context, what)
        if not number:
            return body
        if self._compression is None:
            self._compression = _compression_of(self._find)
        from .compress import DamagedError

        try:
            return self._compression.decompress(int.from_bytes(number, "big"), body)
        except DamagedError as error:
            raise BrokenError(f"it cannot be decompressed: {error}") from error

    def _decrypted(self, key_id: str, body: bytes, bound: bytes, what: str) -> bytes:
        if self._seals is None or self.keys is None or key_id not in self.keys.keys:
            raise KeyMissing(
                f"{what} is sealed under key {key_id!r}, which is not in the key ring; add it there and open the store "
                "again",
                key_id=key_id,
            )
        from .seal import NotOpenedError

        try:
            return self._seals.open(key_id, body, bound)
        except NotOpenedError as error:
            raise BrokenError(
                f"it does not open with key {key_id!r}: that may be the wrong key, or it was changed on purpose"
            ) from error


def _damaged(session_id: str, why: str) -> Corrupt:
    return Corrupt(f"the stored record of session {redacted(session_id)} is damaged: {why}; restore it or delete it")


PLAIN: Final = Codec()
"""Neither encrypts nor compresses."""


def _seals_of(keys: KeyRing) -> Seals:
    try:
        from .seal import Seals
    except ImportError as error:
        raise Misused(
            "encryption needs cryptography, which is not installed; pip install 'holdfast[encryption]'"
        ) from error
    return Seals(keys)


def _compression_of(find: Callable[[int], bytes | None]) -> Compression:
    try:
        from .compress import Compression
    except ImportError as error:
        raise Misused("compression needs zstandard, which is not installed; pip install 'holdfast[zstd]'") from error
    return Compression(find)
