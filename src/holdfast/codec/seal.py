"""AES-256-GCM under the keys of a ring (NIST SP 800-38D, RFC 5869).

A random nonce of 96 bits may be used 2**32 times with a key, which a busy store reaches within days. So no key of the
ring seals anything itself: from it and a random salt one is derived for each opening of a store, and another after
2**28 uses. A nonce is a keyed hash of a counter and of all that is sealed: asking the system for 12 random bytes hands
the interpreter over and costs a third of all writes, and where a machine is copied and both go on, the counter alone
would repeat with other contents. This repeats with the same ones at most, which gives nothing away.
"""

from __future__ import annotations

import hashlib
import os
from typing import Final, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import GCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from .keys import KEY_BYTES, KeyRing

SALT_BYTES: Final = 8
NONCE_BYTES: Final = 12
TAG_BYTES: Final = 16
_START_BYTES: Final = SALT_BYTES + NONCE_BYTES
_AT_ONCE_BYTES: Final = 2**20  # the interpreter is kept from all other threads meanwhile
_USES_MAX: Final = 2**28
_DERIVED_MAX: Final = 1024
_INFO: Final = b"holdfast codec 2"


class NotOpenedError(Exception):
    """The key does not fit what is sealed, or it was changed, or it is not bound to what it was opened with."""


class _Derived(NamedTuple):
    """A key that seals, quickly or piece by piece what is long, and one that makes nonces."""

    quick: AESGCM
    cipher: AES
    nonces: hashlib.blake2b

    def nonce(self, count: int, data: bytes, bound: bytes) -> bytes:
        made = self.nonces.copy()
        made.update(b"%d %d " % (count, len(bound)))
        made.update(bound)
        made.update(data)
        return made.digest()

    def encrypted(self, nonce: bytes, data: bytes, bound: bytes) -> bytes:
        if len(data) <= _AT_ONCE_BYTES:
            return self.quick.encrypt(nonce, data, bound)
        encryptor = Cipher(self.cipher, GCM(nonce)).encryptor()
        encryptor.authenticate_additional_data(bound)
        done = [encryptor.update(piece) for piece in _pieces(data)]
        return b"".join((*done, encryptor.finalize(), encryptor.tag))

    def decrypted(self, nonce: bytes, data: bytes, bound: bytes) -> bytes:
        if len(data) <= _AT_ONCE_BYTES:
            return self.quick.decrypt(nonce, data, bound)
        decryptor = Cipher(self.cipher, GCM(nonce)).decryptor()
        decryptor.authenticate_additional_data(bound)
        done = [decryptor.update(piece) for piece in _pieces(data[:-TAG_BYTES])]
        return b"".join((*done, decryptor.finalize_with_tag(data[-TAG_BYTES:])))


def _pieces(data: bytes) -> list[memoryview]:
    view = memoryview(data)
    return [view[at : at + _AT_ONCE_BYTES] for at in range(0, len(data), _AT_ONCE_BYTES)]


class Seals:
    """Seals with the current key of a ring, and opens with all of them. May be used by several threads."""

    def __init__(self, ring: KeyRing) -> None:
        self._ring = ring
        self._derived: dict[tuple[str, bytes], _Derived] = {}
        self._salt = b""
        self._uses_left = 0

    def seal(self, data: bytes, bound: bytes) -> bytes:
        """Return salt, nonce and sealed data, which opens only together with `bound`."""
        if self._uses_left <= 0:
            self._salt, self._uses_left = os.urandom(SALT_BYTES), _USES_MAX
        self._uses_left -= 1
        salt = self._salt
        key = self._key(self._ring.current, salt)
        nonce = key.nonce(self._uses_left, data, bound)
        return salt + nonce + key.encrypted(nonce, data, bound)

    def open(self, key_id: str, sealed: bytes, bound: bytes) -> bytes:
        """Return what was sealed with `bound` under a key of the ring.

        Raises:
            NotOpenedError: It does not open.
        """
        if len(sealed) < _START_BYTES + TAG_BYTES:
            raise NotOpenedError
        salt, nonce = sealed[:SALT_BYTES], sealed[SALT_BYTES:_START_BYTES]
        try:
            return self._key(key_id, salt).decrypted(nonce, sealed[_START_BYTES:], bound)
        except InvalidTag as error:
            raise NotOpenedError from error

    def _key(self, key_id: str, salt: bytes) -> _Derived:
        derived = self._derived.get((key_id, salt))
        if derived is None:
            if len(self._derived) >= _DERIVED_MAX:
                self._derived.clear()
            both = HKDF(SHA256(), 2 * KEY_BYTES, salt, _INFO).derive(self._ring.keys[key_id])
            key, nonces = both[:KEY_BYTES], hashlib.blake2b(key=both[KEY_BYTES:], digest_size=NONCE_BYTES)
            derived = self._derived[key_id, salt] = _Derived(AESGCM(key), AES(key), nonces)
        return derived
