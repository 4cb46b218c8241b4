"""Addresses of the web."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.model import Misused
from holdfast.model.urls import Url, secure_url, split_url


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("https://a.example", Url("https", "a.example", None, "", "")),
        ("http://127.0.0.1:80/x/y?z=1", Url("http", "127.0.0.1", 80, "/x/y", "?z=1")),
        ("https://[::1]:8443/", Url("https", "[::1]", 8443, "/", "")),
        ("https://a.example?z", Url("https", "a.example", None, "", "?z")),
    ],
)
def test_an_address_is_taken_apart_and_nothing_is_lost(text: str, parts: Url) -> None:
    assert split_url(text) == parts
    assert parts.root + parts.path + parts.query == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a.example",
        "ftp://a.example",
        "https://",
        "https:///x",
        "https://user@a.example",
        "https://user:pass@a.example",
        "https://a.example/#x",
        "https://a.example:99999",
        "https://a.example:",
        "https://a b.example",
        "https://a.example/ä",
        "https://a.example/\r\nHost: b",
        "https://a.example\n",
        "https://a.example/" + "x" * 500,
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(Misused, match="is not a URL"):
        split_url(text)


@pytest.mark.parametrize(
    "text", ["https://a.example/x", "http://localhost:1", "http://127.0.0.1", "http://127.9.9.9", "http://[::1]/x"]
)
def test_nobody_on_the_way_can_answer_for_a_secure_address(text: str) -> None:
    assert secure_url(text) == text


@pytest.mark.parametrize(
    "text", ["http://a.example", "http://192.0.2.1", "http://localhost.example", "http://127.0.0.1.example"]
)
def test_anybody_could_answer_for_others(text: str) -> None:
    with pytest.raises(Misused, match="over http"):
        secure_url(text)


@given(st.text(max_size=40), st.sampled_from(["", "https://", "http://a"]))
def test_any_text_is_an_address_or_is_refused(text: str, begin: str) -> None:
    """R-SEC-3."""
    try:
        assert split_url(begin + text).scheme in ("http", "https")
    except Misused as error:
        assert "is not a URL" in str(error)
