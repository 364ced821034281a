"""Grants to honour and to refuse."""

import base64
import hmac
import json
from collections.abc import Iterator
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from tools.vectors.base import (
    DIGESTS,
    DIRECTORY_KEY,
    FOREIGN_KEY,
    GRANT_KEY,
    NOW,
    OTHER_DIGEST,
    PEER_ID,
    Case,
    Key,
    fingerprint,
    pkcs8_pem,
    sign,
    spki,
)


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def jwt(claims: object, key: Key, **header: str) -> str:
    """A JWT as ES256 has it: the signature is r and s, 32 bytes each."""
    signed = jwt_head(claims, **header)
    r, s = decode_dss_signature(sign(key, signed.encode()))
    return f"{signed}.{b64(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


def jwt_head(claims: object, **header: str) -> str:
    parts = {"alg": "ES256", "typ": "JWT"} | header, claims
    return ".".join(b64(json.dumps(part, separators=(",", ":")).encode()) for part in parts)


@dataclass(frozen=True)
class Granting:
    """What makes a grant good for one source: its directory, itself, a content, the time."""

    directory_id: str = fingerprint(DIRECTORY_KEY)
    key: Key = GRANT_KEY
    peer_id: str = PEER_ID
    digest: str = DIGESTS[0]
    now: int = NOW

    def claims(self, **changes: object) -> Case:
        """Good claims; None leaves one out."""
        good = {
            "iss": self.directory_id,
            "aud": self.peer_id,
            "sub": "bob",
            "iat": self.now - 60,
            "exp": self.now + 43_200,
            "digests": [self.digest],
        }
        return {name: value for name, value in (good | changes).items() if value is not None}

    def jwt(self, claims: object, **header: str) -> str:
        return jwt(claims, self.key, **header)

    def cases(self) -> Iterator[tuple[str, str, str]]:
        """Name, what is expected, and the grant."""
        good, invalid, expired, mismatch = (
            "good",
            "GRANT_INVALID",
            "GRANT_EXPIRED",
            "GRANT_MISMATCH",
        )
        yield "names the content", good, self.jwt(self.claims())
        yield (
            "names several contents",
            good,
            self.jwt(self.claims(digests=[OTHER_DIGEST, self.digest])),
        )
        yield "covers all", good, self.jwt(self.claims(digests=None, all=True))
        yield (
            "unknown claims are ignored",
            good,
            self.jwt(self.claims(nbf=self.now, jti="x", color="blue")),
        )
        yield "ran out within the leeway", good, self.jwt(self.claims(exp=self.now - 115))
        yield "issued within the leeway ahead", good, self.jwt(self.claims(iat=self.now + 115))

        yield "ran out", expired, self.jwt(self.claims(iat=self.now - 9_000, exp=self.now - 125))
        yield "ran out long ago", expired, self.jwt(self.claims(iat=1, exp=2))
        yield "issued in the future", expired, self.jwt(self.claims(iat=self.now + 125))

        yield "another source", mismatch, self.jwt(self.claims(aud=self.peer_id[::-1]))
        yield (
            "another source, all contents",
            mismatch,
            self.jwt(self.claims(aud="x" * 16, digests=None, all=True)),
        )
        yield "other contents", mismatch, self.jwt(self.claims(digests=[OTHER_DIGEST]))
        yield "no contents", mismatch, self.jwt(self.claims(digests=[]))

        yield "another directory", invalid, self.jwt(self.claims(iss="00" * 32))
        yield "signed with another key", invalid, jwt(self.claims(), FOREIGN_KEY)
        # Malformed, or for no content at all: a source may see it either way.
        either = f"{invalid}|{mismatch}"
        yield "neither digests nor all", either, self.jwt(self.claims(digests=None))
        yield "all is false", either, self.jwt(self.claims(digests=None, all=False))
        yield "all is text", either, self.jwt(self.claims(digests=None, all="true"))
        yield "digests is text", either, self.jwt(self.claims(digests=self.digest))
        for name in ("iss", "aud", "sub", "iat", "exp"):
            yield f"without {name}", invalid, self.jwt(self.claims(**{name: None}))
        yield "exp is text that is no number", invalid, self.jwt(self.claims(exp="tomorrow"))
        yield "not an object", invalid, self.jwt(["aud", self.peer_id])

        for algorithm in ("none", "None", "NONE"):
            yield f"alg {algorithm}", invalid, f"{jwt_head(self.claims(), alg=algorithm)}."
        yield "alg none with a signature", invalid, self.jwt(self.claims(), alg="none")
        yield "alg ES384 with an ES256 signature", invalid, self.jwt(self.claims(), alg="ES384")
        for name, secret in (("DER", spki(self.key)), ("PEM", public_pem(self.key))):
            head = jwt_head(self.claims(), alg="HS256")
            mac = b64(hmac.digest(secret, head.encode(), "sha256"))
            yield f"HS256 with the public key as {name}", invalid, f"{head}.{mac}"
        head, body, signature = self.jwt(self.claims()).split(".")
        other_body = self.jwt(self.claims(sub="eve")).split(".")[1]
        der = b64(sign(self.key, f"{head}.{body}".encode()))
        yield "claims exchanged", invalid, f"{head}.{other_body}.{signature}"
        yield "signature cut", invalid, f"{head}.{body}.{signature[:-4]}"
        yield "signature left out", invalid, f"{head}.{body}."
        yield "signature as ASN.1", invalid, f"{head}.{body}.{der}"
        yield "signature of zeros", invalid, f"{head}.{body}.{b64(bytes(64))}"
        yield "two parts", invalid, f"{head}.{body}"
        yield "four parts", invalid, f"{head}.{body}.{signature}.{signature}"
        yield "not a token", invalid, "session"


def public_pem(key: Key) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def grants() -> Case:
    return {
        "about": "Judge each grant as the source `peer_id`, registered at `directory_id`, asked "
        "for `digest` when the directory's clock says `now`. `expect`: good, or the reason, or two "
        "reasons with a bar between them where either will do.",
        "directory_id": fingerprint(DIRECTORY_KEY),
        "grant_key_der": spki(GRANT_KEY).hex(),
        "grant_private_key_pem": pkcs8_pem(GRANT_KEY),
        "peer_id": PEER_ID,
        "digest": DIGESTS[0],
        "now": NOW,
        "leeway_seconds": 120,
        "cases": [
            {"name": name, "expect": expect, "grant": grant}
            for name, expect, grant in Granting().cases()
        ],
    }
