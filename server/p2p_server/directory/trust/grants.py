"""Grants: permissions to fetch from a source, signed here and checked there without asking us."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from p2p_server.directory.models import Digest, PeerId

MOST_LISTED_DIGESTS: Final = 16  # a grant travels in metadata, of which there is little
LIFETIME_SECONDS: Final = 12 * 3600


@dataclass(frozen=True, slots=True)
class Grant:
    token: str
    expires_at: int  # Unix seconds


class Grants:
    def __init__(
        self,
        key: ec.EllipticCurvePrivateKey,
        directory_id: str,
        lifetime_seconds: int = LIFETIME_SECONDS,
    ) -> None:
        self._key = key
        self._directory_id = directory_id
        self._lifetime_seconds = lifetime_seconds
        self.verification_key_der = key.public_key().public_bytes(
            Encoding.DER, PublicFormat.SubjectPublicKeyInfo
        )

    def issue(self, source: PeerId, user: str, digests: Sequence[Digest], now: float) -> Grant:
        """Lets `user` fetch these contents from the source; of many, all that it shares."""
        expires_at = int(now) + self._lifetime_seconds
        claims: dict[str, object] = {
            "iss": self._directory_id,
            "aud": source,
            "sub": user,
            "iat": int(now),
            "exp": expires_at,
        }
        if len(digests) <= MOST_LISTED_DIGESTS:
            claims["digests"] = list(digests)
        else:
            claims["all"] = True
        return Grant(jwt.encode(claims, self._key, algorithm="ES256"), expires_at)
