"""How values and records become bytes and come back exactly, how damage is noticed, and what keeps them secret."""

from .codec import PLAIN, Codec
from .keys import KeyRing
from .values import BYTES_MAX, decode, encode

__all__ = ["BYTES_MAX", "PLAIN", "Codec", "KeyRing", "decode", "encode"]
