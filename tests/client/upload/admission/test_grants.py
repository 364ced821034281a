"""Only a grant of our directory, for us, for this content and for now lets anybody in."""

import base64
import json
from datetime import timedelta

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from tests.support.grants import NOW, GrantSigner

from p2p_client.models import Digest, PeerId
from p2p_client.upload.admission.grants import Trust, read_grant
from p2p_client.upload.refusals import (
    GrantExpired,
    GrantInvalid,
    GrantMismatch,
    SourceRefusal,
)

US = PeerId("us")
ONE, OTHER = Digest("1" * 64), Digest("2" * 64)
SIGNER = GrantSigner()
TRUST = Trust.of(SIGNER.directory_id, SIGNER.key_der)


def test_a_grant_for_some_contents_covers_these() -> None:
    grant = read_grant(SIGNER.grant(US, user="bob", digests=[ONE]), TRUST, US, NOW)

    assert grant.user == "bob"
    grant.check(ONE)
    with pytest.raises(GrantMismatch):
        grant.check(OTHER)


def test_a_grant_for_all_covers_all() -> None:
    grant = read_grant(SIGNER.grant(US), TRUST, US, NOW)
    grant.check(ONE)
    grant.check(OTHER)


def test_times_are_judged_by_the_given_clock_with_leeway() -> None:
    token = SIGNER.grant(US, lifetime=timedelta(hours=1))

    for good_minutes in (-1.9, 0, 61.9):
        read_grant(token, TRUST, US, NOW + timedelta(minutes=good_minutes))
    for bad_minutes in (-2.1, 62, 10_000):
        with pytest.raises(GrantExpired):
            read_grant(token, TRUST, US, NOW + timedelta(minutes=bad_minutes))


def unsigned(claims: dict[str, object], algorithm: str) -> str:
    parts = [{"alg": algorithm, "typ": "JWT"}, claims]
    encoded = [base64.urlsafe_b64encode(json.dumps(p).encode()).rstrip(b"=") for p in parts]
    return b".".join([*encoded, b""]).decode()


def claims_of(token: str) -> dict[str, object]:
    claims: dict[str, object] = jwt.decode(token, options={"verify_signature": False})
    return claims


def hostile_tokens() -> dict[str, str]:
    good = SIGNER.grant(US)
    claims = claims_of(good)
    header, body, signature = good.split(".")
    other_key = ec.generate_private_key(ec.SECP256R1())
    rsa_key = rsa.generate_private_key(65537, 2048)
    forged_body = base64.urlsafe_b64encode(json.dumps(claims | {"sub": "eve"}).encode())
    return {
        "another key": jwt.encode(claims, other_key, algorithm="ES256"),
        "another key kind": jwt.encode(claims, rsa_key, algorithm="RS256"),
        "the public key as a shared secret": jwt.encode(
            claims, SIGNER.key_der + bytes(64), algorithm="HS256"
        ),
        "alg none": unsigned(claims, "none"),
        "alg None": unsigned(claims, "None"),
        "alg ES256 without signature": unsigned(claims, "ES256"),
        "alg missing": unsigned(claims, ""),
        "altered claims": f"{header}.{forged_body.rstrip(b'=').decode()}.{signature}",
        "zero signature": f"{header}.{body}.{'A' * 86}",
        "cut": good[:-4],
        "another directory": GrantSigner("e" * 64).grant(US),
        "another issuer, our key": SIGNER.grant(US, iss="e" * 64),
        "no issuer": SIGNER.grant(US, iss=None),
        "no audience": SIGNER.grant(US, aud=None),
        "no user": SIGNER.grant(US, sub=None),
        "empty user": SIGNER.grant(US, sub=""),
        "no expiry": SIGNER.grant(US, exp=None),
        "no start": SIGNER.grant(US, iat=None),
        "expiry as text": SIGNER.grant(US, exp="tomorrow"),
        "expiry true": SIGNER.grant(US, exp=True),
        "expiry infinite": SIGNER.grant(US, exp=float("inf")),
        "neither digests nor all": SIGNER.grant(US, all=None),
        "all but not true": SIGNER.grant(US, all="yes"),
        "digests as text": SIGNER.sign(claims | {"all": None, "digests": ONE}),
        "digests of numbers": SIGNER.sign(claims | {"all": [1], "digests": [1]}),
        "empty": "",
        "dots": "..",
        "five parts": "a.b.c.d.e",
        "not ASCII": "é.é.é",
        "huge": good + "A" * 100_000,
    }


@pytest.mark.parametrize("name", hostile_tokens())
def test_a_grant_that_is_not_our_directorys_is_invalid(name: str) -> None:
    with pytest.raises(GrantInvalid):
        read_grant(hostile_tokens()[name], TRUST, US, NOW)


@pytest.mark.parametrize("audience", ["them", "", "US", ["them", "others"]])
def test_a_grant_for_another_source_does_not_match(audience: object) -> None:
    with pytest.raises((GrantMismatch, GrantInvalid)):
        read_grant(SIGNER.grant("us", aud=audience), TRUST, US, NOW)
    with pytest.raises(GrantMismatch):
        read_grant(SIGNER.grant("them"), TRUST, US, NOW)


@pytest.mark.parametrize(
    "key", [ec.generate_private_key(ec.SECP384R1()), ed25519.Ed25519PrivateKey.generate()]
)
def test_only_a_p256_key_is_trusted(
    key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey,
) -> None:
    der = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    for bad in (der, b"", b"\x30\x00"):
        with pytest.raises(ValueError):
            Trust.of("d", bad)


@given(st.text(max_size=200) | st.from_regex(r"[A-Za-z0-9_-]*\.[A-Za-z0-9_-]*\.[A-Za-z0-9_-]*"))
def test_no_text_makes_the_check_fail_in_another_way(token: str) -> None:
    with pytest.raises(SourceRefusal):
        read_grant(token, TRUST, US, NOW)


@given(st.integers(0, 400), st.characters(codec="ascii"))
def test_a_grant_with_any_character_altered_is_refused(at: int, character: str) -> None:
    good = SIGNER.grant(US)
    at %= len(good) - 1  # the very last character carries bits that base64 ignores
    altered = good[:at] + character + good[at + 1 :]
    if altered != good:
        with pytest.raises(SourceRefusal):
            read_grant(altered, TRUST, US, NOW)
