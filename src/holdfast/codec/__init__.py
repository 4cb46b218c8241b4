"""How values and records become bytes and come back exactly, and how damage is noticed."""

from .envelope import open_, seal
from .values import BYTES_MAX, decode, encode

__all__ = ["BYTES_MAX", "decode", "encode", "open_", "seal"]
