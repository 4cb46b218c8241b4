"""AES-256-GCM under the keys of a ring (NIST SP 800-38D, RFC 5869).

A random nonce of 96 bits may be used 2**32 times with a key, which a busy store reaches within days. So no key of the
ring seals anything itself: from it and a random salt one is derived for each opening of a store, and another after
2**28 uses. The nonces stay random, so that copies of a machine that go on from the same moment repeat none either.
"""

from __future__ import annotations

import os
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from .keys import KEY_BYTES, KeyRing

SALT_BYTES: Final = 8
NONCE_BYTES: Final = 12
TAG_BYTES: Final = 16
_START_BYTES: Final = SALT_BYTES + NONCE_BYTES
_USES_MAX: Final = 2**28
_DERIVED_MAX: Final = 1024
_INFO: Final = b"holdfast codec 2"


class NotOpenedError(Exception):
    """The key does not fit what is sealed, or it was changed, or it is not bound to what it was opened with."""


class Seals:
    """Seals with the current key of a ring, and opens with all of them. May be used by several threads."""

    def __init__(self, ring: KeyRing) -> None:
        self._ring = ring
        self._derived: dict[tuple[str, bytes], AESGCM] = {}
        self._salt = b""
        self._uses_left = 0

    def seal(self, data: bytes, bound: bytes) -> bytes:
        """Return salt, nonce and sealed data, which opens only together with `bound`."""
        if self._uses_left <= 0:
            self._salt, self._uses_left = os.urandom(SALT_BYTES), _USES_MAX
        self._uses_left -= 1
        salt, nonce = self._salt, os.urandom(NONCE_BYTES)
        return salt + nonce + self._key(self._ring.current, salt).encrypt(nonce, data, bound)

    def open(self, key_id: str, sealed: bytes, bound: bytes) -> bytes:
        """Return what was sealed with `bound` under a key of the ring.

        Raises:
            NotOpenedError: It does not open.
        """
        if len(sealed) < _START_BYTES + TAG_BYTES:
            raise NotOpenedError
        salt, nonce = sealed[:SALT_BYTES], sealed[SALT_BYTES:_START_BYTES]
        try:
            return self._key(key_id, salt).decrypt(nonce, sealed[_START_BYTES:], bound)
        except InvalidTag as error:
            raise NotOpenedError from error

    def _key(self, key_id: str, salt: bytes) -> AESGCM:
        derived = self._derived.get((key_id, salt))
        if derived is None:
            if len(self._derived) >= _DERIVED_MAX:
                self._derived.clear()
            key = HKDF(SHA256(), KEY_BYTES, salt, _INFO).derive(self._ring.keys[key_id])
            derived = self._derived[key_id, salt] = AESGCM(key)
        return derived
