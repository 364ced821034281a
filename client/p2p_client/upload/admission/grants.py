"""Grants as a source sees them: signed by its directory, checked without asking it. Pure.

A grant is a JWT; the claims are in docs/protocol.md. Signatures are compared by the library, in
constant time; the algorithm is ours to choose, never the token's.
"""

import math
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Self

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_public_key

from p2p_client.models import Digest, PeerId
from p2p_client.records import dataclass
from p2p_client.upload.refusals import GrantExpired, GrantInvalid, GrantMismatch

ALGORITHM = "ES256"
LEEWAY = timedelta(seconds=120)
LONGEST_GRANT = 8_192
_REQUIRED = ["iss", "aud", "sub", "iat", "exp"]


@dataclass(frozen=True, slots=True)
class Trust:
    """The directory whose grants let downloaders in."""

    directory_id: str
    key: ec.EllipticCurvePublicKey

    @classmethod
    def of(cls, directory_id: str, grant_key_der: bytes) -> Self:
        """Raises ValueError when it is no P-256 key."""
        key = load_der_public_key(grant_key_der)
        if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != "secp256r1":
            raise ValueError("the directory's grant key is no P-256 key")
        return cls(directory_id, key)


@dataclass(frozen=True, slots=True)
class Grant:
    """A grant that is good for this source now.

    `digests` is None when it covers all that the source shares.
    """

    user: str
    digests: frozenset[str] | None

    def check(self, digest: Digest) -> None:
        """Raises GrantMismatch when it does not cover this content."""
        if not self.covers(digest):
            raise GrantMismatch("other contents")

    def covers(self, digest: Digest) -> bool:
        return self.digests is None or digest in self.digests


def read_grant(token: str, trust: Trust, peer_id: PeerId, now: datetime) -> Grant:
    """The grant in a token.

    Args:
        peer_id: ours; the grant must be for us.
        now: by the directory's clock.
    Raises:
        GrantInvalid, GrantMismatch, GrantExpired.
    """
    if len(token) > LONGEST_GRANT:
        raise GrantInvalid()
    try:
        claims = jwt.decode(
            token,
            trust.key,
            algorithms=[ALGORITHM],
            audience=peer_id,
            issuer=trust.directory_id,
            # Times are judged below: the library would ask this machine's clock.
            options={
                "require": _REQUIRED,
                "verify_exp": False,
                "verify_iat": False,
                "verify_nbf": False,
            },
        )
    except jwt.InvalidAudienceError:
        raise GrantMismatch("another source") from None
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
        raise GrantInvalid() from None
    _check_times(claims, now)
    return _grant_of(claims)


def _check_times(claims: Mapping[str, object], now: datetime) -> None:
    seconds, leeway_seconds = now.timestamp(), LEEWAY.total_seconds()
    if _seconds(claims, "exp") + leeway_seconds <= seconds:
        raise GrantExpired()
    if _seconds(claims, "iat") - leeway_seconds > seconds:
        raise GrantExpired()


def _grant_of(claims: Mapping[str, object]) -> Grant:
    user = claims["sub"]
    if not isinstance(user, str) or not user:
        raise GrantInvalid()
    if claims.get("all") is True:
        return Grant(user, None)
    digests = claims.get("digests")
    if not isinstance(digests, list) or not all(isinstance(item, str) for item in digests):
        raise GrantInvalid()
    return Grant(user, frozenset(digests))


def _seconds(claims: Mapping[str, object], name: str) -> float:
    value = claims[name]
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise GrantInvalid()
    return value
