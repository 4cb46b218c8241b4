"""What is decided about identity."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.identity import Principal
from holdfast.identity.rules import (
    LEEWAY_S,
    SUBJECT_BYTES_MAX,
    bearer_token,
    challenge,
    fits,
    is_subject,
    issuer_metadata_urls,
    jwks_url_in,
    keys_of,
    read_token_lines,
    resource_metadata,
    token_line,
    why_refused,
)
from holdfast.model import Misused, Unavailable
from holdfast.model.urls import URL_BYTES_MAX, secure_url
from holdfast.sessions.rules import OWNER_BYTES_MAX

NOW = 1_800_000_000.0
GOOD = {"iss": "https://issuer.example", "aud": "mcp", "sub": "ann", "exp": NOW + 60}


def refused(claims: Any) -> str | None:
    return why_refused(claims, "https://issuer.example", "mcp", NOW)


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({}, None),
        ({"aud": ["other", "mcp"]}, None),
        ({"nbf": NOW + LEEWAY_S}, None),
        ({"exp": NOW - LEEWAY_S + 1}, None),
        ({"exp": NOW - LEEWAY_S}, "has expired"),
        ({"exp": None}, "no expiry"),
        ({"exp": str(int(NOW + 60))}, "no expiry"),
        ({"exp": True}, "no expiry"),
        ({"exp": float("inf")}, "no expiry"),
        ({"exp": float("nan")}, "no expiry"),
        ({"exp": 10**400}, "no expiry"),
        ({"nbf": NOW + LEEWAY_S + 1}, "not valid yet"),
        ({"nbf": "soon"}, "not valid yet"),
        ({"iss": "https://issuer.example/"}, "another issuer"),
        ({"iss": None}, "another issuer"),
        ({"aud": "mcp2"}, "another audience"),
        ({"aud": []}, "another audience"),
        ({"aud": {"mcp": 1}}, "another audience"),
        ({"aud": None}, "another audience"),
        ({"sub": None}, "no usable subject"),
        ({"sub": ""}, "no usable subject"),
        ({"sub": 7}, "no usable subject"),
        ({"sub": "x" * 256}, "no usable subject"),
        ({"sub": "a\nb"}, "no usable subject"),
        ({"sub": "\ud800"}, "no usable subject"),
    ],
)
def test_a_token_is_accepted_only_when_every_claim_is_right(changed: dict[str, Any], why: str | None) -> None:
    """R-SEC-1: issuer, audience and expiry are exact, with 30 s of leeway for clocks."""
    said = refused(GOOD | changed)
    assert said is None if why is None else why in str(said)


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.integers() | st.text(), st.lists, max_leaves=5))
def test_claims_of_any_kind_are_answered_in_words(value: Any) -> None:
    """R-SEC-3."""
    for name in GOOD:
        assert isinstance(refused(GOOD | {name: value}), str | None)
    assert refused(value) == "its claims are no JSON object"


@pytest.mark.parametrize(
    ("headers", "token"),
    [
        ([], None),
        ([b"Bearer abc.d-e_f~+/=="], "abc.d-e_f~+/=="),
        ([b"bearer   abc "], "abc"),
        ([b"Basic dXNlcjpwYXNz"], None),
        ([b"Bearer"], ""),
        ([b"Bearer a b"], ""),
        ([b"Bearer t\xc3\xb6ken"], ""),
        ([b"Bearer a, Bearer b"], ""),
        ([b"Bearer a", b"Bearer a"], ""),
        ([b"Bearer " + b"a" * 20_000], ""),
    ],
)
def test_one_bearer_token_is_read(headers: list[bytes], token: str | None) -> None:
    assert bearer_token([(b"accept", b"*/*"), *((b"authorization", value) for value in headers)]) == token


def test_a_challenge_names_an_error_only_when_there_was_a_token() -> None:
    """RFC 6750, section 3: without authentication information there is no error code."""
    where = "https://mcp.example/.well-known/oauth-protected-resource/mcp"
    assert challenge(None) == 'Bearer realm="holdfast"'
    assert challenge(where) == f'Bearer resource_metadata="{where}"'
    assert challenge(where, "it has expired") == (
        f'Bearer resource_metadata="{where}", error="invalid_token", error_description="it has expired"'
    )


def test_a_line_of_a_token_file_lets_its_name_in() -> None:
    text = f"# comment\n\n {token_line('ann', 'secret')} \r\n{token_line('bob smith', 'other')}"
    assert set(read_token_lines(text, "tokens").values()) == {
        Principal("token", "ann"),
        Principal("token", "bob smith"),
    }
    assert "secret" not in text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ann:1234", "line 1: not NAME:SHA256"),
        ("\nann secret", "line 2: not NAME:SHA256"),
        (":" + "0" * 64, "line 1: not NAME:SHA256"),
        ("a:b:" + "0" * 64, "line 1: not NAME:SHA256"),
        ("ann:" + "0" * 64 + "\nann:" + "1" * 64, "line 2: the same as in line 1"),
        ("ann:" + "0" * 64 + "\nbob:" + "0" * 64, "line 2: the same as in line 1"),
    ],
)
def test_a_wrong_line_is_named_with_its_file(text: str, said: str) -> None:
    with pytest.raises(Misused, match=f"^--token-file x, {said}"):
        read_token_lines(text, "--token-file x")


@pytest.mark.parametrize("name", ["", " a", "a ", "a:b", "#a", "a\n", "x" * 256, "ä" * 128, "\ud800"])
def test_a_name_that_no_line_can_hold_is_refused(name: str) -> None:
    with pytest.raises(Misused, match="cannot name a token"):
        token_line(name, "secret")


@given(st.text(min_size=1))
def test_every_line_made_is_read_again(name: str) -> None:
    try:
        line = token_line(name, "secret")
    except Misused:
        return
    assert list(read_token_lines(line, "x").values()) == [Principal("token", name)]


@given(st.text(), st.text(), st.text(), st.text())
def test_two_principals_never_have_the_same_owner(issuer: str, subject: str, other: str, another: str) -> None:
    """R-MCP-4."""
    one, two = Principal(issuer, subject), Principal(other, another)
    assert (one.owner == two.owner) == (one == two)


def test_the_longest_principal_fits_into_a_record() -> None:
    longest = Principal("https://issuer.example/".ljust(URL_BYTES_MAX, "x"), '"' * SUBJECT_BYTES_MAX)
    assert secure_url(longest.issuer)
    assert is_subject(longest.subject)
    assert len(longest.owner.encode()) <= OWNER_BYTES_MAX


@pytest.mark.parametrize(
    ("base", "path", "where", "places"),
    [
        ("https://mcp.example", "/mcp", "/mcp", {"", "/mcp"}),
        ("https://mcp.example", "/", "", {""}),
        ("https://mcp.example/tools", "/mcp", "/tools/mcp", {"", "/mcp", "/tools/mcp"}),
        ("http://127.0.0.1:8000", "/a/b", "/a/b", {"", "/a/b"}),
    ],
)
def test_the_metadata_stand_where_clients_look(base: str, path: str, where: str, places: set[str]) -> None:
    """RFC 9728, section 3.1: the path of the resource comes behind the well-known one."""
    root = "/".join(base.split("/")[:3])
    url, documents = resource_metadata(base, path, "https://issuer.example")
    assert url == f"{root}/.well-known/oauth-protected-resource{where}"
    assert documents.keys() == {f"/.well-known/oauth-protected-resource{place}" for place in places}
    for document in documents.values():
        assert json.loads(document) == {
            "resource": root + where,
            "authorization_servers": ["https://issuer.example"],
            "bearer_methods_supported": ["header"],
        }


@pytest.mark.parametrize(
    ("issuer", "first", "second"),
    [
        ("https://a.example", "/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"),
        ("https://a.example/", "/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"),
        ("https://a.example/r", "/r/.well-known/openid-configuration", "/.well-known/oauth-authorization-server/r"),
    ],
)
def test_the_metadata_of_an_issuer_are_looked_for_where_they_are(issuer: str, first: str, second: str) -> None:
    assert issuer_metadata_urls(issuer) == (f"https://a.example{first}", f"https://a.example{second}")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"<html>",
        b"[" * 100_000,
        b'{"issuer":"https://other.example","jwks_uri":"https://other.example/keys"}',
        b'{"issuer":"https://issuer.example"}',
        b'{"issuer":"https://issuer.example","jwks_uri":7}',
    ],
)
def test_what_is_not_the_metadata_of_the_issuer_is_not_used(body: bytes) -> None:
    with pytest.raises(Unavailable):
        jwks_url_in(body, "https://issuer.example")


@pytest.mark.parametrize("body", [b"", b"null", b"{}", b'{"keys":{}}', b'{"keys":[' + b"{}," * 64 + b"{}]}"])
def test_what_is_no_set_of_keys_is_not_used(body: bytes) -> None:
    with pytest.raises(Unavailable):
        keys_of(body)


@pytest.mark.parametrize(
    ("key", "algorithm", "may"),
    [
        ({"kty": "RSA"}, "RS256", True),
        ({"kty": "RSA", "alg": "RS256", "use": "sig", "key_ops": ["verify"]}, "RS256", True),
        ({"kty": "RSA", "alg": "PS256"}, "RS256", False),
        ({"kty": "RSA", "use": "enc"}, "RS256", False),
        ({"kty": "RSA", "key_ops": ["encrypt"]}, "RS256", False),
        ({"kty": "RSA", "key_ops": 5}, "RS256", False),
        ({"kty": "RSA", "d": "private"}, "RS256", False),
        ({"kty": "oct", "k": "c2VjcmV0"}, "RS256", False),
        ({"kty": "EC", "crv": "P-256"}, "ES256", True),
        ({"kty": "EC", "crv": "P-384"}, "ES256", False),
        ({"kty": "OKP", "crv": "Ed25519"}, "EdDSA", True),
        ({"kty": "OKP", "crv": "X25519"}, "EdDSA", False),
    ],
)
def test_a_key_verifies_only_what_it_is_for(key: dict[str, Any], algorithm: str, may: bool) -> None:
    """R-SEC-1: the algorithm is pinned by the key, never by the token."""
    assert fits(key, algorithm) is may
