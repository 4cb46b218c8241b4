"""JSON Web Tokens: what is accepted, and everything an attacker or a careless issuer may send."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from holdfast.identity import Principal
from holdfast.identity.jwks import OFFLINE_S_MAX, UNKNOWN_KEY_S, JwtSettings
from holdfast.identity.jwt import KNOWN_MAX, JwtVerifier, usable_keys
from holdfast.identity.rules import ALGORITHMS, DEFAULT_ALGORITHMS, LEEWAY_S
from holdfast.model import Misused, Unavailable
from holdfast.testing import ManualClock
from tests.kit import LoopWatch, eventually_async

from .issuer import AUDIENCE, Answer, Issuer, Pair, ec_pair, ed_pair, issuing, jwks, rsa_pair, signed

RSA = rsa_pair("r1")
EC = ec_pair("e1")
ED = ed_pair("d1")
NOW = 1_800_000_000.0


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with issuing() as running:
        running.publish(RSA, EC, ED)
        yield running


@asynccontextmanager
async def verifying(issuer: Issuer, clock: ManualClock | None = None, **changed: Any) -> AsyncIterator[JwtVerifier]:
    asked = JwtSettings(**({"issuer": issuer.url, "audience": AUDIENCE} | changed))
    async with JwtVerifier.open(asked, clock or ManualClock(NOW)) as verifier:
        yield verifier


def claims(issuer: Issuer, **changed: Any) -> dict[str, Any]:
    return issuer.claims(NOW, **changed)


@pytest.mark.parametrize("pair", [RSA, EC, ED], ids=lambda pair: pair.algorithm)
async def test_a_token_of_the_issuer_names_its_subject(issuer: Issuer, pair: Pair) -> None:
    """R-SEC-1. The keys are found by the metadata of the issuer."""
    async with verifying(issuer) as verifier:
        assert await verifier.verify(signed(pair, claims(issuer))) == Principal(issuer.url, "ann")
    assert issuer.asked == ["/.well-known/openid-configuration", "/keys"]


async def test_a_refreshed_token_names_the_same_principal(issuer: Issuer) -> None:
    """R-MCP-4: sessions belong to issuer and subject, not to bytes."""
    async with verifying(issuer) as verifier:
        one = await verifier.verify(signed(RSA, claims(issuer)))
        two = await verifier.verify(signed(EC, claims(issuer, exp=NOW + 900, jti="other", aud=[AUDIENCE, "x"])))
    assert one == two
    assert isinstance(one, Principal)


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"exp": NOW - 40}, "it has expired"),
        ({"exp": None}, "it has no expiry time (exp)"),
        ({"nbf": NOW + 40}, "it is not valid yet"),
        ({"aud": "https://other.example"}, "it is for another audience"),
        ({"iss": "https://other.example"}, "it is from another issuer"),
        ({"sub": None}, "it has no usable subject (sub)"),
    ],
)
async def test_a_token_with_a_wrong_claim_is_refused(issuer: Issuer, changed: dict[str, Any], why: str) -> None:
    async with verifying(issuer) as verifier:
        assert await verifier.verify(signed(RSA, claims(issuer, **changed))) == why


def segment(value: Any) -> str:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def by_hmac(secret: bytes, header: dict[str, Any], body: dict[str, Any]) -> str:
    text = f"{segment(header)}.{segment(body)}"
    return f"{text}.{segment(hmac.digest(secret, text.encode(), 'sha256'))}"


async def test_a_public_key_is_never_a_shared_secret(issuer: Issuer) -> None:
    """RFC 8725, 2.1: signed by HS256 with what everybody can read."""
    public = RSA.private.public_key()
    secrets = [public.public_bytes(form, PublicFormat.SubjectPublicKeyInfo) for form in (Encoding.PEM, Encoding.DER)]
    secrets.append(json.dumps(RSA.public).encode())
    async with verifying(issuer) as verifier:
        for secret in secrets:
            for algorithm in ("HS256", "RS256"):
                token = by_hmac(secret, {"alg": algorithm, "kid": "r1", "typ": "JWT"}, claims(issuer))
                assert isinstance(await verifier.verify(token), str)


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "", None, 0, ["RS256"], {"RS256": 1}, "HS256", "RS384"])
async def test_what_the_token_says_of_its_algorithm_counts_for_nothing(issuer: Issuer, algorithm: Any) -> None:
    body = f"{segment({'alg': algorithm, 'kid': 'r1'})}.{segment(claims(issuer))}"
    async with verifying(issuer) as verifier:
        for token in (f"{body}.", f"{body}.{segment(b'x' * 256)}"):
            assert await verifier.verify(token) == "its algorithm is not accepted"


async def test_a_key_is_used_only_with_its_own_kind_of_algorithm(issuer: Issuer) -> None:
    async with verifying(issuer, algorithms=("RS256", "PS256", "ES256")) as verifier:
        token = signed(RSA._replace(algorithm="PS256"), claims(issuer))
        assert isinstance(await verifier.verify(token), Principal)  # an RSA key that names no algorithm may do both
        assert isinstance(await verifier.verify(signed(EC.named("r1"), claims(issuer))), str)
        assert isinstance(await verifier.verify(signed(ED, claims(issuer))), str)  # not among the algorithms
    issuer.publish(RSA._replace(public=RSA.public | {"alg": "RS256"}))
    async with verifying(issuer, algorithms=("RS256", "PS256")) as verifier:
        assert isinstance(await verifier.verify(token), str)
        assert isinstance(await verifier.verify(signed(RSA, claims(issuer))), Principal)


async def test_a_header_that_must_be_understood_is_not_passed_over(issuer: Issuer) -> None:
    """RFC 7515, 4.1.11."""
    async with verifying(issuer) as verifier:
        demands: list[dict[str, Any]] = [
            {"crit": ["exp"], "exp": 1},
            {"crit": ["b64"], "b64": True},
            {"crit": []},
            {"crit": 5},
        ]
        for header in demands:
            text = f"{segment({'alg': 'RS256', 'kid': 'r1'} | header)}.{segment(claims(issuer))}"
            token = f"{text}.{segment(rsa_signature(text.encode()))}"
            assert isinstance(await verifier.verify(token), str), header


def rsa_signature(data: bytes) -> bytes:
    return jwt.get_algorithm_by_name("RS256").sign(data, RSA.private)


async def test_a_token_of_another_key_is_refused_whatever_it_is_called(issuer: Issuer) -> None:
    async with verifying(issuer) as verifier:
        for name in ("r1", None):
            forged = signed(rsa_pair("x"), claims(issuer), kid=name)
            assert await verifier.verify(forged) == "no key of the issuer has signed it"
        changed = signed(RSA, claims(issuer)).split(".")
        changed[1] = segment(claims(issuer, sub="eve"))
        assert await verifier.verify(".".join(changed)) == "no key of the issuer has signed it"


async def test_a_token_without_the_name_of_its_key_is_tried_with_each(issuer: Issuer) -> None:
    other = rsa_pair("r2")
    issuer.publish(RSA, other)
    async with verifying(issuer) as verifier:
        for pair in (RSA, other):
            assert isinstance(await verifier.verify(signed(pair.named(None), claims(issuer))), Principal)


async def test_two_keys_of_one_name_are_both_the_issuers(issuer: Issuer) -> None:
    other = rsa_pair("r1")
    issuer.publish(RSA, other, EC.named("r1"))
    async with verifying(issuer) as verifier:
        for pair in (RSA, other, EC.named("r1")):
            assert isinstance(await verifier.verify(signed(pair, claims(issuer))), Principal)


def test_keys_nobody_should_use_are_left_out(caplog: pytest.LogCaptureFixture) -> None:
    weak = rsa_pair("weak", bits=1024)
    private = RSA.public | {"d": "AQAB"}
    secret = {"kty": "oct", "k": "c2VjcmV0", "kid": "s"}
    broken = [{"kty": "RSA", "n": 5, "e": []}, {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}, {"kty": "RSA"}, 7]
    body = json.dumps({"keys": [weak.public, private, secret, *broken]}).encode()
    assert usable_keys(body, tuple(ALGORITHMS)) == ()
    assert "has no key for" in caplog.text


VALUES = st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.lists(st.integers(), max_size=2)


@given(
    st.sampled_from([RSA, EC, ED]),
    st.dictionaries(st.sampled_from(["kty", "crv", "alg", "x", "y", "n", "e", "use", "key_ops", "kid"]), VALUES),
)
def test_a_key_of_any_kind_is_read_or_left_out(pair: Pair, changed: dict[str, Any]) -> None:
    """R-SEC-3."""
    body = json.dumps({"keys": [pair.public | changed]}).encode()
    assert len(usable_keys(body, DEFAULT_ALGORITHMS)) <= len(DEFAULT_ALGORITHMS)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.text(alphabet="eyJhbGciOiJ.._-=0A", max_size=80) | st.lists(st.binary(max_size=30), min_size=3, max_size=3))
async def test_a_token_of_any_kind_is_answered_in_words(parts: str | list[bytes]) -> None:
    """R-SEC-3."""
    token = parts if isinstance(parts, str) else ".".join(segment(part) for part in parts)
    verifier = JwtVerifier(JwtSettings("https://issuer.example", AUDIENCE), Fixed(), ManualClock(NOW))  # type: ignore[arg-type]  # as far as it is used
    assert isinstance(await verifier.verify(token), str)


class Fixed:
    """Keys that are there."""

    keys = usable_keys(jwks(RSA, EC), DEFAULT_ALGORITHMS)

    def kept(self, now: float) -> Any:
        return self.keys

    async def with_unknown(self) -> Any:
        return self.keys


# -- where the keys are


async def test_keys_are_found_by_the_metadata_of_an_authorization_server(issuer: Issuer) -> None:
    """RFC 8414."""
    documents = issuer.documents
    documents["/.well-known/oauth-authorization-server"] = documents.pop("/.well-known/openid-configuration")
    async with verifying(issuer) as verifier:
        assert isinstance(await verifier.verify(signed(RSA, claims(issuer))), Principal)


async def test_keys_are_read_from_where_they_are_said_to_be(issuer: Issuer, tmp_path: Any) -> None:
    file = tmp_path / "keys.json"
    file.write_bytes(jwks(RSA))
    for place in (issuer.keys_url, str(file)):
        async with verifying(issuer, jwks=place) as verifier:
            assert isinstance(await verifier.verify(signed(RSA, claims(issuer))), Principal)
    assert issuer.asked == ["/keys"]


async def test_a_rotated_key_is_found_and_an_old_one_forgotten(issuer: Issuer) -> None:
    clock = ManualClock(NOW)
    async with verifying(issuer, clock) as verifier:
        old, new = signed(RSA, claims(issuer)), rsa_pair("r2")
        assert isinstance(await verifier.verify(old), Principal)
        issuer.publish(new)
        clock.advance(UNKNOWN_KEY_S)
        assert isinstance(await verifier.verify(signed(new, claims(issuer))), Principal)
        assert await verifier.verify(old) == "its key (kid) is unknown"  # although it was known a moment ago


async def test_unknown_keys_are_asked_for_once_in_a_while(issuer: Issuer) -> None:
    """Whoever makes up names of keys must not make us flood the issuer."""
    clock = ManualClock(NOW)
    async with verifying(issuer, clock, jwks=issuer.keys_url) as verifier:
        assert isinstance(await verifier.verify(signed(RSA, claims(issuer))), Principal)
        for round_ in range(1, 4):
            clock.advance(UNKNOWN_KEY_S)
            for number in range(20):
                token = signed(RSA.named(f"made up {number}"), claims(issuer))
                assert await verifier.verify(token) == "its key (kid) is unknown"
            assert len(issuer.asked) == 1 + round_


async def test_one_fetch_serves_all_who_wait(issuer: Issuer) -> None:
    issuer.documents["/keys"] = Answer(200, None)
    async with verifying(issuer, jwks=issuer.keys_url) as verifier:
        asking = [asyncio.ensure_future(verifier.verify(signed(RSA, claims(issuer)))) for _ in range(20)]
        await eventually_async(lambda: issuer.asked, within_s=60)
        issuer.let_go.set()
        outcomes = await asyncio.gather(*asking, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {Unavailable}  # the body broke off
    assert len(issuer.asked) == 1


BAD = [
    Answer(500, b"oh"),
    Answer(200, b"<html>"),
    Answer(200, b"[" * 100_000),
    Answer(200, b'{"keys":{}}'),
    Answer(200, b" " * 2**20),
    Answer(302, b"", "https://elsewhere.example/keys"),
    Answer(404, b""),
]


@pytest.mark.parametrize("answer", BAD, ids=lambda answer: f"{answer.status} {answer.body[:8]!r}")
async def test_without_keys_it_is_not_the_client_who_is_wrong(issuer: Issuer, answer: Answer) -> None:
    issuer.documents["/keys"] = answer
    clock = ManualClock(NOW)
    async with verifying(issuer, clock) as verifier:
        with pytest.raises(Unavailable, match="tokens cannot be checked now"):
            await verifier.verify(signed(RSA, claims(issuer)))
        issuer.publish(RSA)
        clock.advance(5)
        assert isinstance(await verifier.verify(signed(RSA, claims(issuer))), Principal)


@pytest.mark.parametrize("answer", BAD, ids=lambda answer: f"{answer.status} {answer.body[:8]!r}")
async def test_a_fetch_that_fails_changes_nothing_for_a_day(
    issuer: Issuer, answer: Answer, caplog: pytest.LogCaptureFixture
) -> None:
    clock = ManualClock(NOW)
    long = signed(RSA, claims(issuer, exp=NOW + 10 * OFFLINE_S_MAX))
    async with verifying(issuer, clock) as verifier:
        assert isinstance(await verifier.verify(long), Principal)
        issuer.documents["/keys"] = answer
        clock.advance(OFFLINE_S_MAX)
        await verifier._keys.fetch()
        assert "could not be fetched" in caplog.text
        assert isinstance(await verifier.verify(long), Principal)
        assert isinstance(await verifier.verify(signed(EC, claims(issuer, exp=NOW + 2 * OFFLINE_S_MAX))), Principal)
        clock.advance(1)
        with pytest.raises(Unavailable):
            await verifier.verify(long)


async def test_an_issuer_that_is_not_there_is_said_in_the_log_and_not_to_the_client(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with issuing() as issuer:
        pass
    clock = ManualClock(NOW)
    async with verifying(issuer, clock) as verifier:
        for _ in range(3):
            with pytest.raises(Unavailable) as refused:
                await verifier.verify(signed(RSA, claims(issuer)))
            clock.advance(5)
    assert issuer.url not in str(refused.value)
    said = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert ["name them with --jwt-jwks" in line for line in said] == [True]


@pytest.mark.slow
async def test_an_issuer_that_never_finishes_is_waited_for_a_moment_only(
    issuer: Issuer, caplog: pytest.LogCaptureFixture
) -> None:
    """It sends a byte now and then, so no timeout of a socket ends it; the connection is closed all the same."""
    issuer.documents["/keys"] = Answer(200, None)
    async with verifying(issuer, jwks=issuer.keys_url) as verifier:
        with pytest.raises(Unavailable):
            await verifier.verify(signed(RSA, claims(issuer)))
        assert "did not answer within 5 s" in caplog.text
        try:
            await eventually_async(issuer.left.is_set, within_s=60)
        finally:
            issuer.let_go.set()


async def test_keys_from_elsewhere_are_not_fetched_in_the_clear(
    issuer: Issuer, caplog: pytest.LogCaptureFixture
) -> None:
    metadata = {"issuer": issuer.url, "jwks_uri": "http://192.0.2.1/keys"}
    issuer.documents["/.well-known/openid-configuration"] = Answer(200, json.dumps(metadata).encode())
    async with verifying(issuer) as verifier:
        with pytest.raises(Unavailable):
            await verifier.verify(signed(RSA, claims(issuer)))
    assert "over http anybody" in caplog.text


# -- what is known of a token


async def test_a_token_that_is_known_expires_all_the_same(issuer: Issuer) -> None:
    clock = ManualClock(NOW)
    async with verifying(issuer, clock) as verifier:
        token = signed(RSA, claims(issuer, exp=NOW + 60))
        for _ in range(2):
            assert isinstance(await verifier.verify(token), Principal)
        clock.advance(60 + LEEWAY_S)
        assert await verifier.verify(token) == "it has expired"


async def test_no_more_tokens_are_known_than_may(issuer: Issuer) -> None:
    async with verifying(issuer) as verifier:
        for number in range(KNOWN_MAX + 10):
            digest = hashlib.sha256(b"%d" % number).digest()
            await verifier._keys.current()
            verifier._known_by = await verifier._keys.current()
            verifier._remembered(digest, claims(issuer), verifier._known_by)
        assert len(verifier._known) == KNOWN_MAX
        assert isinstance(await verifier.verify(signed(RSA, claims(issuer))), Principal)
        assert len(verifier._known) == KNOWN_MAX


async def test_checking_a_token_blocks_no_loop(issuer: Issuer) -> None:
    """R-PER-5: discovery, fetch, signature."""
    token = signed(RSA, claims(issuer))
    for watch in LoopWatch.rounds():
        with watch:
            async with verifying(issuer) as verifier:
                assert isinstance(await verifier.verify(token), Principal)


async def test_no_token_is_ever_logged(issuer: Issuer, caplog: pytest.LogCaptureFixture) -> None:
    """R-SEC-2."""
    caplog.set_level(logging.DEBUG)
    tokens = [signed(RSA, claims(issuer)), signed(rsa_pair("x"), claims(issuer)), signed(EC, claims(issuer, aud="x"))]
    async with verifying(issuer) as verifier:
        said = [await verifier.verify(token) for token in tokens]
    for token in tokens:
        for part in token.split("."):
            assert part not in caplog.text + str(said)


async def test_algorithms_that_cannot_be_checked_are_said(issuer: Issuer) -> None:
    with pytest.raises(Misused, match="extra `jwt`"):
        async with verifying(issuer, algorithms=("RS256", "XY999")):
            pass
