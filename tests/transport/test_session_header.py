"""An id of any Unicode travels as visible ASCII, and comes back as it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast import SessionManager
from holdfast.gateway.contract import Handshake
from holdfast.model import new_session_id
from holdfast.stores import MemoryStore
from holdfast.transport.session_header import header_of, id_from

from .edges import ask, edge_on

IDS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=255)


@given(IDS)
def test_an_id_comes_back_as_it_was(session_id: str) -> None:
    """R-HIB-3: visible ASCII, nothing normalised."""
    header = header_of(session_id)
    assert all(0x21 <= byte <= 0x7E for byte in header)
    assert id_from(header) == session_id


def test_ids_of_our_own_look_the_same() -> None:
    """R-HIB-3."""
    made = new_session_id()
    assert header_of(made) == made.encode()


@pytest.mark.parametrize(
    ("session_id", "header"),
    [
        ("a b", b"a%20b"),
        ("100%", b"100%25"),
        ("%20", b"%2520"),
        ("é", b"%C3%A9"),
        ("e\u0301", b"e%CC%81"),
        ("~!#/?", b"~!#/?"),
        ("\x7f", b"%7F"),
    ],
)
def test_what_is_not_visible_and_the_percent_sign_are_encoded(session_id: str, header: bytes) -> None:
    """R-HIB-3."""
    assert header_of(session_id) == header
    assert id_from(header) == session_id


@pytest.mark.parametrize("header", [b"", b"a b", b"%", b"%2", b"%zz", b"%C3", b"\xc3\xa9", b"a\x7f", b"a\x00"])
def test_other_values_are_of_no_session(header: bytes) -> None:
    """R-SEC-3."""
    assert id_from(header) is None


@pytest.mark.parametrize("session_id", ["é %/☃", "%41"])
async def test_a_session_of_any_id_is_served_over_http(tmp_path: Path, session_id: str) -> None:
    """R-HIB-3."""
    store = MemoryStore()
    async with edge_on(store, tmp_path) as (edge, _):
        sessions: SessionManager[Any] = SessionManager(store)
        handshake = Handshake(params=b"{}", protocol="2025-11-25", initialized=True)
        await sessions.create({"mcp": msgspec.structs.asdict(handshake)}, id=session_id)
        ping = b'{"jsonrpc":"2.0","id":2,"method":"ping"}'
        header = header_of(session_id).decode()
        assert (await ask(edge, "POST", ping, mcp_session_id=header)).status == 200
        for other in (header.lower() if header != header.lower() else header + "x", "%zz", "A"):
            assert (await ask(edge, "POST", ping, mcp_session_id=other)).status == (
                200 if id_from(other.encode()) == session_id else 404
            )
        assert (await ask(edge, "DELETE", mcp_session_id=header)).status == 204
        assert await sessions.delete(session_id) is False
