"""Grants say who may fetch what from whom, and until when."""

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_public_key

from p2p_server.directory.models import Digest, PeerId
from p2p_server.directory.trust.grants import Grants

NOW = 1_700_000_000.9


@pytest.fixture
def grants() -> Grants:
    return Grants(ec.generate_private_key(ec.SECP256R1()), "d" * 64, lifetime_seconds=600)


def claims(grants: Grants, token: str) -> dict[str, object]:
    key = load_der_public_key(grants.verification_key_der)
    assert isinstance(key, ec.EllipticCurvePublicKey)
    found: dict[str, object] = jwt.decode(
        token,
        key,
        algorithms=["ES256"],
        audience="source",
        options={"verify_exp": False, "verify_iat": False},
    )
    return found


def test_a_grant_for_some_contents_lists_them(grants: Grants) -> None:
    digests = [Digest(f"{i:064x}") for i in range(16)]

    grant = grants.issue(PeerId("source"), "alice", digests, NOW)

    assert claims(grants, grant.token) == {
        "iss": "d" * 64,
        "aud": "source",
        "sub": "alice",
        "iat": 1_700_000_000,
        "exp": 1_700_000_600,
        "digests": digests,
    }
    assert grant.expires_at == 1_700_000_600
    assert len(grant.token) < 4_096, "it has to fit into metadata"


def test_a_grant_for_many_contents_is_for_all(grants: Grants) -> None:
    digests = [Digest(f"{i:064x}") for i in range(17)]

    found = claims(grants, grants.issue(PeerId("source"), "alice", digests, NOW).token)

    assert found["all"] is True
    assert "digests" not in found
