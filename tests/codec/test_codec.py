"""What is sealed comes back, under the same id and context only, whatever the codec is told (R-STO-6)."""

from __future__ import annotations

import threading
from typing import Any
from zlib import crc32

import msgspec
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given
from hypothesis import strategies as st

from holdfast.codec import Codec, KeyRing, encode
from holdfast.codec.envelope import key_of
from holdfast.codec.seal import Seals
from holdfast.model import Corrupt, KeyMissing, Misused, Record
from holdfast.testing.records import record_of

from .sealing import NEW, OLD, every_codec

CODECS = every_codec()
NAMES = [pytest.param(name, id=name.replace(" ", "-")) for name in CODECS]
LONG = {"text": "all work and no play " * 60, "n": list(range(200))}
RECORD = record_of("golden", version=7, term=3, owner="iss|ada", tags=frozenset({"x"}), metadata=encode(LONG))
DATA = b'{"jsonrpc":"2.0","method":"notifications/message","params":{"data":"' + b"so it goes " * 80 + b'"}}'

ids = st.text(min_size=1, max_size=40).filter(lambda text: text.isprintable())


@st.composite
def records(draw: st.DrawFn) -> Record:
    metadata: dict[str, Any] = draw(
        st.dictionaries(st.text(max_size=9), st.one_of(st.integers(0, 2**60), st.binary(max_size=400), st.none()))
    )
    return record_of(
        draw(ids),
        version=draw(st.integers(1, 2**40)),
        term=draw(st.integers(0, 2**40)),
        owner=draw(st.none() | st.text(max_size=20)),
        metadata=encode(metadata),
    )


@pytest.mark.parametrize("name", NAMES)
@given(record=records())
def test_a_record_comes_back_as_it_was_sealed(name: str, record: Record) -> None:
    codec = CODECS[name]
    assert codec.open(codec.seal(record), record.id) == record


@pytest.mark.parametrize("name", NAMES)
@given(data=st.binary(max_size=5000) | st.binary(max_size=50).map(lambda part: part * 100), context=st.binary())
def test_bytes_come_back_as_they_were_sealed(name: str, data: bytes, context: bytes) -> None:
    codec = CODECS[name]
    assert codec.open_bytes(codec.seal_bytes(data, context), context) == data


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
def test_any_changed_byte_is_told(name: str, data: st.DataObject) -> None:
    """R-STO-2: never another value, and never "the key is missing" where nothing but damage is."""
    codec = CODECS[name]
    for sealed, opened in (
        (codec.seal(RECORD), lambda it: codec.open(it, "golden")),
        (codec.seal_bytes(DATA, b"c"), lambda it: codec.open_bytes(it, b"c", what="session gold…")),
    ):
        changed = bytearray(sealed)
        changed[data.draw(st.integers(0, len(sealed) - 1))] ^= data.draw(st.integers(1, 255))
        with pytest.raises((Corrupt, Misused), match="gold…"):
            opened(bytes(changed))


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
def test_what_is_cut_off_is_told(name: str, data: st.DataObject) -> None:
    codec = CODECS[name]
    sealed, sealed_bytes = codec.seal(RECORD), codec.seal_bytes(DATA, b"c")
    with pytest.raises(Corrupt, match="gold…"):
        codec.open(sealed[: data.draw(st.integers(0, len(sealed) - 1))], "golden")
    with pytest.raises(Corrupt):
        codec.open_bytes(sealed_bytes[: data.draw(st.integers(0, len(sealed_bytes) - 1))], b"c")


@pytest.mark.parametrize("name", NAMES)
def test_what_lies_in_anothers_place_is_refused(name: str) -> None:
    codec = CODECS[name]
    with pytest.raises(Corrupt, match=r"golx…|silv…"):
        codec.open(codec.seal(RECORD), "silver")
    with pytest.raises(Corrupt):
        codec.open_bytes(codec.seal_bytes(DATA, b"here"), b"there")
    with pytest.raises(Corrupt):  # a record is no message
        codec.open_bytes(codec.seal(RECORD), b"golden")


@pytest.mark.parametrize("name", ["encrypted", "both", "both with a dictionary"])
def test_a_changed_place_or_content_is_found_also_when_its_checksum_was_made_anew(name: str) -> None:
    """Whoever can write the file can write a checksum, too, but not without the key what opens under another id."""
    codec = CODECS[name]
    sealed = codec.seal(RECORD)
    at = 5 + len("2027")
    for context, changed in ((b"record\0silver", sealed), (b"record\0golden", sealed[:-1] + bytes([sealed[-1] ^ 1]))):
        crc = crc32(changed[at + 4 :], crc32(changed[:at], crc32(context)))
        with pytest.raises(Corrupt, match="wrong key, or it was changed on purpose"):
            codec.open(changed[:at] + crc.to_bytes(4, "big") + changed[at + 4 :], context[7:].decode())


def test_what_does_not_get_smaller_stays_as_it_is() -> None:
    """Without a dictionary a small record is written in form 1, byte for byte as without compression."""
    small = record_of("golden")
    assert CODECS["compressed"].seal(small) == Codec().seal(small)
    assert len(CODECS["compressed"].seal(RECORD)) < len(Codec().seal(RECORD)) / 2
    noise = msgspec.structs.replace(
        RECORD, metadata=encode({"noise": b"".join(bytes([i * i % 251]) for i in range(99))})
    )
    for codec in CODECS.values():
        assert codec.open(codec.seal(noise), "golden") == noise


def test_a_dictionary_makes_small_records_smaller() -> None:
    record = record_of("f" * 32, owner="issuer|7")
    with_dictionary = CODECS["compressed with a dictionary"].seal(record)
    assert len(with_dictionary) < 0.7 * len(Codec().seal(record))


def test_nothing_of_the_content_is_left_in_clear() -> None:
    secret = msgspec.structs.replace(RECORD, metadata=encode({"name": "Grace Hopper"}))
    for name, codec in CODECS.items():
        sealed = codec.seal(secret), codec.seal_bytes(b"Grace Hopper", b"c")
        assert any(b"Grace" in each for each in sealed) == (codec.keys is None), name


def test_the_same_record_never_looks_the_same_twice() -> None:
    codec = CODECS["encrypted"]
    assert len({codec.seal(RECORD)[-60:] for _ in range(1000)}) == 1000
    assert len({codec.seal_bytes(b"", b"") for _ in range(1000)}) == 1000


def test_copies_of_a_machine_that_both_go_on_use_no_nonce_for_two_contents() -> None:
    """As two virtual machines started from one image do: salt and counter are the same in both."""
    one, two = Seals(NEW), Seals(NEW)
    one.seal(b"", b"")
    two._salt, two._uses_left = one._salt, one._uses_left
    sealed = [each.seal(data, bound) for each, data, bound in ((one, b"a", b"x"), (two, b"b", b"x"))]
    two._uses_left = one._uses_left = 7
    sealed += [one.seal(b"a", b"x"), two.seal(b"a", b"y")]
    assert len({each[:8] for each in sealed}) == 1
    assert len({each[8:20] for each in sealed}) == 4


@pytest.mark.parametrize("more", [-1, 0, 1, 2**20])
def test_what_is_long_is_sealed_piece_by_piece_and_is_the_same(more: int) -> None:
    """R-PER-5: and read by whoever does it at once, with every changed byte found."""
    codec, data = CODECS["encrypted"], b"hold fast " * 104_858
    data = data[: 2**20 + more] if more < 2**20 else data + data[: 2**20]
    sealed = codec.seal_bytes(data, b"c")
    assert codec.open_bytes(sealed, b"c") == data
    at = len(codec.start) + 5
    salt, nonce, rest = sealed[at : at + 8], sealed[at + 8 : at + 20], sealed[at + 20 :]
    key = HKDF(SHA256(), 32, salt, b"holdfast codec 2").derive(NEW.keys["2027"])
    assert AESGCM(key).decrypt(nonce, rest, sealed[: len(codec.start) + 1] + b"bytes\0c") == data
    header, body = sealed[: at - 4], sealed[at:-1] + bytes([sealed[-1] ^ 1])
    crc = crc32(body, crc32(header, crc32(b"bytes\0c"))).to_bytes(4, "big")
    with pytest.raises(Corrupt, match="wrong key, or it was changed"):
        codec.open_bytes(header + crc + body, b"c")


def test_every_key_of_the_ring_opens_and_the_current_one_seals() -> None:
    before, after = Codec(keys=OLD), Codec(keys=NEW)
    sealed = before.seal(RECORD)
    assert after.open(sealed, "golden") == RECORD
    assert (key_of(sealed), key_of(after.seal(RECORD)), key_of(Codec().seal(RECORD))) == ("2026", "2027", "")
    assert not sealed.startswith(after.start)
    assert after.seal(RECORD).startswith(after.start)


@pytest.mark.parametrize("codec", [Codec(), Codec(keys=OLD), Codec(compress=True)])
def test_a_missing_key_is_neither_damage_nor_absence(codec: Codec) -> None:
    sealed = Codec(keys=NEW).seal(RECORD)
    with pytest.raises(
        KeyMissing, match="session gold… is sealed under key '2027', which is not in the key ring"
    ) as told:
        codec.open(sealed, "golden")
    assert told.value.key_id == "2027"
    with pytest.raises(Corrupt):  # damage is told without the key
        codec.open(sealed[:-1] + bytes([sealed[-1] ^ 1]), "golden")


def test_another_key_of_the_same_id_says_that_it_may_be_the_wrong_one() -> None:
    with pytest.raises(Corrupt, match="does not open with key '2027': that may be the wrong key"):
        Codec(keys=KeyRing({"2027": b"x" * 32})).open(Codec(keys=NEW).seal(RECORD), "golden")


def test_a_codec_that_is_told_nothing_opens_what_is_compressed() -> None:
    assert Codec().open(CODECS["compressed"].seal(RECORD), "golden") == RECORD


def test_a_dictionary_that_is_gone_is_told() -> None:
    with pytest.raises(Corrupt, match="dictionary 1 is not in the store"):
        Codec().open(CODECS["compressed with a dictionary"].seal(record_of("a" * 32)), "a" * 32)


def test_a_newer_form_is_not_called_damage() -> None:
    codec = CODECS["encrypted"]
    with pytest.raises(Misused, match=r"session gold….*format 3.*upgrade"):
        codec.open(b"HF\x03" + codec.seal(RECORD)[3:], "golden")
    header = codec.start + b"\x80"
    sealed = header + crc32(b"body", crc32(header, crc32(b"record\0golden"))).to_bytes(4, "big") + b"body"
    with pytest.raises(Misused, match=r"flags 128.*upgrade"):
        codec.open(sealed, "golden")


def test_one_codec_serves_many_threads_at_once() -> None:
    codec = CODECS["both with a dictionary"]
    wrong: list[object] = []

    def work(number: int) -> None:
        record = record_of(f"{number:032x}", owner=f"issuer|{number}")
        opened = (codec.open(codec.seal(record), record.id) for _ in range(300))
        wrong.extend(each for each in opened if each != record)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
