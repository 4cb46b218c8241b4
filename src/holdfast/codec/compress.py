"""Zstandard (RFC 8878), with dictionaries for what is small: plain, it makes small records bigger."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Final

import zstandard

from ..model.errors import Corrupt

LEVEL: Final = 3
PLAIN_FROM_BYTES: Final = 512
DICTIONARY_FROM_BYTES: Final = 64
DATA_BYTES_MAX: Final = 128 * 2**20
DICTIONARY_BYTES: Final = 16 * 2**10
_FRAME: Final = zstandard.ZstdCompressionParameters.from_level(
    LEVEL, write_content_size=True, write_checksum=False, write_dict_id=False
)


class DamagedError(Exception):
    """What was compressed cannot be had again."""


class _OfThread(threading.local):
    """Compressors are used by one thread at a time."""

    def __init__(self) -> None:
        self.compressors: dict[int, zstandard.ZstdCompressor] = {}
        self.decompressors: dict[int, zstandard.ZstdDecompressor] = {}


class Compression:
    """Compresses with the dictionary learnt last, 0 being none. May be used by several threads.

    `find` returns a dictionary by its id, or None; it is asked for each once, on whichever thread needs it.
    """

    def __init__(self, find: Callable[[int], bytes | None]) -> None:
        self._find = find
        self._dictionaries: dict[int, zstandard.ZstdCompressionDict] = {}
        self._of_thread = _OfThread()
        self.newest = 0

    def learn(self, number: int, dictionary: bytes) -> None:
        """Compress with `dictionary` from now on."""
        learnt = zstandard.ZstdCompressionDict(dictionary)
        learnt.precompute_compress(LEVEL)
        self._dictionaries[number] = learnt
        self.newest = number

    def compress(self, data: bytes, *, small: bool) -> tuple[int, bytes] | None:
        """Return the dictionary's number and the compressed data, or None where that would not be smaller.

        Only what is `small`, like what dictionaries are trained on, is compressed with one.
        """
        number = self.newest if small else 0
        if not (DICTIONARY_FROM_BYTES if number else PLAIN_FROM_BYTES) <= len(data) <= DATA_BYTES_MAX:
            return None
        compressors = self._of_thread.compressors
        compressor = compressors.get(number)
        if compressor is None:
            compressor = compressors[number] = zstandard.ZstdCompressor(
                dict_data=self._dictionaries.get(number), compression_params=_FRAME
            )
        packed = compressor.compress(data)
        return (number, packed) if len(packed) + 4 < len(data) else None

    def decompress(self, number: int, packed: bytes) -> bytes:
        """Return what was compressed.

        Raises:
            DamagedError: It is no such thing, or says that it is larger than anything that is compressed here.
            Corrupt: Its dictionary is not there any more.
        """
        try:
            if not 0 <= zstandard.frame_content_size(packed) <= DATA_BYTES_MAX:
                raise DamagedError("its size is not known")
            decompressors = self._of_thread.decompressors
            decompressor = decompressors.get(number)
            if decompressor is None:
                decompressor = decompressors[number] = zstandard.ZstdDecompressor(dict_data=self._dictionary(number))
            return decompressor.decompress(packed)
        except zstandard.ZstdError as error:
            raise DamagedError(str(error)) from error

    def _dictionary(self, number: int) -> zstandard.ZstdCompressionDict | None:
        if number == 0:
            return None
        found = self._dictionaries.get(number)
        if found is None:
            stored = self._find(number)
            if stored is None:
                raise Corrupt(f"compression dictionary {number} is not in the store; restore it from a backup")
            found = self._dictionaries[number] = zstandard.ZstdCompressionDict(stored)
        return found


def train(samples: Sequence[bytes]) -> bytes | None:
    """Return a dictionary for data like `samples`, or None where they have too little in common. Takes a second."""
    size_bytes = min(DICTIONARY_BYTES, sum(map(len, samples)) // 8)
    try:
        return zstandard.train_dictionary(size_bytes, list(samples)).as_bytes()
    except zstandard.ZstdError:
        return None
