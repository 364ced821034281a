"""A directory's hand in grants: signs what the directory would, and what it never would."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

DIRECTORY_ID = "d" * 64
NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)  # no machine's: who checks grants is told the time


class GrantSigner:
    """One directory's grant key."""

    def __init__(self, directory_id: str = DIRECTORY_ID) -> None:
        self.directory_id = directory_id
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.key_der = self.key.public_key().public_bytes(
            Encoding.DER, PublicFormat.SubjectPublicKeyInfo
        )

    def grant(
        self,
        peer_id: str,
        *,
        user: str = "bob",
        digests: Sequence[str] | None = None,
        issued_at: datetime = NOW,
        lifetime: timedelta = timedelta(hours=12),
        **claims: object,
    ) -> str:
        """A grant for these contents; None: for all. `claims` override, None leaves one out."""
        content: dict[str, object] = {"all": True} if digests is None else {"digests": [*digests]}
        lawful: dict[str, object] = {
            "iss": self.directory_id,
            "aud": peer_id,
            "sub": user,
            "iat": int(issued_at.timestamp()),
            "exp": int((issued_at + lifetime).timestamp()),
        }
        merged = lawful | content | claims
        kept = {name: value for name, value in merged.items() if value is not None}
        return self.sign(kept)

    def sign(self, claims: dict[str, object]) -> str:
        """Whatever they claim."""
        return jwt.encode(claims, self.key, algorithm="ES256")
