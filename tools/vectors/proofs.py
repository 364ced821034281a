"""Certificates, and what Register and ProveIdentity sign."""

from datetime import timedelta
from hashlib import sha256
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.serialization import Encoding
from tools.vectors.base import (
    CHALLENGE,
    DIRECTORY_KEY,
    NONCE,
    NOT_AFTER,
    NOT_BEFORE,
    OTHER_PEER_KEY,
    PEER_ID,
    PEER_KEY,
    Case,
    Key,
    certificate,
    certificate_with,
    fingerprint,
    len32,
    pkcs8_pem,
    sign,
)


def register_bytes(directory: str, challenge: bytes, user: str, peer: str, der: bytes) -> bytes:
    fields = bytes.fromhex(directory), challenge, user.encode(), peer.encode(), sha256(der).digest()
    return b"p2p.v1.Register\0" + len32(*fields)


def register_case(name: str, expect: str, **changes: Any) -> Case:
    """A Register; `signed_…` among the changes is what was signed instead of what is sent."""
    key: Key = changes.pop("key", PEER_KEY)
    sent: dict[str, Any] = {
        "directory_id": fingerprint(DIRECTORY_KEY),
        "challenge": CHALLENGE,
        "user": "ann",
        "peer_id": PEER_ID,
        "certificate_der": certificate(PEER_KEY),
    }
    signed = sent | changes
    right, signed_bytes = (register_bytes(*case.values()) for case in (sent, signed))
    return {
        "name": name,
        **{k: v.hex() if isinstance(v, bytes) else v for k, v in sent.items()},
        "signed_bytes": right.hex(),
        "proof": sign(key, signed_bytes).hex(),
        "expect": expect,
    }


def proofs() -> Case:
    der = certificate(PEER_KEY)
    right = register_case("right", "good")
    tail = bytes.fromhex(str(right["proof"]))
    r, s = decode_dss_signature(tail)
    raw = r.to_bytes(32, "big") + s.to_bytes(32, "big")
    no_prefix = bytes.fromhex(str(right["signed_bytes"])).removeprefix(b"p2p.v1.Register\0")
    wrong = "PROOF_INVALID"
    identity = b"p2p.v1.ProveIdentity\0" + len32(NONCE, PEER_ID.encode())
    swapped = b"p2p.v1.ProveIdentity\0" + len32(PEER_ID.encode(), NONCE)
    return {
        "about": "Byte strings are hex. Verify each `proof` with the certificate's key over the "
        "bytes that you put together yourself from the fields; `signed_bytes` are these. "
        "ECDSA signatures are random: make your own, and verify these.",
        "private_key_pem": pkcs8_pem(PEER_KEY),
        "certificate_der": der.hex(),
        "certificate_fingerprint": fingerprint(PEER_KEY),
        "directory_certificate_der": certificate(DIRECTORY_KEY, "directory.p2p.invalid").hex(),
        "directory_id": fingerprint(DIRECTORY_KEY),
        "register": [
            right,
            register_case("another key", wrong, key=OTHER_PEER_KEY),
            register_case("signed for another directory", wrong, directory_id="00" * 32),
            register_case("signed another challenge", wrong, challenge=bytes(48)),
            register_case("signed another user", wrong, user="bob"),
            register_case("signed another peer", wrong, peer_id=PEER_ID[::-1]),
            register_case(
                "signed another certificate", wrong, certificate_der=certificate(OTHER_PEER_KEY)
            ),
            register_case("field border moved", wrong, user="annv", peer_id=PEER_ID[1:]),
            right | {"name": "signature as r and s", "proof": raw.hex(), "expect": wrong},
            right
            | {
                "name": "signed without the leading words",
                "proof": sign(PEER_KEY, no_prefix).hex(),
                "expect": wrong,
            },
            right | {"name": "empty", "proof": "", "expect": wrong},
        ],
        "prove_identity": [
            {
                "name": name,
                "nonce": NONCE.hex(),
                "peer_id": PEER_ID,
                "signed_bytes": identity.hex(),
                "signature": sign(key, data).hex(),
                "expect": expect,
            }
            for name, key, data, expect in (
                ("right", PEER_KEY, identity, "good"),
                ("another key", OTHER_PEER_KEY, identity, "bad"),
                ("fields exchanged", PEER_KEY, swapped, "bad"),
            )
        ],
    }


def certificates() -> Case:
    good, invalid = "good", "CERTIFICATE_INVALID"
    year = timedelta(days=365)
    usage = x509.KeyUsage(True, *[False] * 8)
    p384 = ec.derive_private_key(0x1003, ec.SECP384R1())
    ed = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    right = certificate(PEER_KEY)
    cases = [
        ("of the profile", good, right),
        ("no subject, no issuer", good, certificate_with(PEER_KEY, names=(None, None))),
        ("any subject", good, certificate_with(PEER_KEY, names=("ann", "ann"))),
        ("ECDSA P-384", invalid, certificate_with(p384)),
        ("Ed25519", invalid, certificate_with(ed)),
        ("signed with SHA-384", invalid, certificate_with(PEER_KEY, digest=SHA384())),
        ("signed by another key", invalid, certificate_with(PEER_KEY, signed_by=OTHER_PEER_KEY)),
        ("issued by another name", invalid, certificate_with(PEER_KEY, names=("ann", "bob"))),
        ("for a directory", invalid, certificate(PEER_KEY, "directory.p2p.invalid")),
        ("for a host", invalid, certificate(PEER_KEY, "example.com")),
        ("no alternative name", invalid, certificate_with(PEER_KEY, alternatives=None)),
        (
            "two alternative names",
            invalid,
            certificate_with(PEER_KEY, alternatives=("peer.p2p.invalid", "example.com")),
        ),
        (
            "valid later",
            invalid,
            certificate_with(PEER_KEY, dates=(NOT_BEFORE + year, NOT_AFTER)),
        ),
        (
            "valid not so long",
            invalid,
            certificate_with(PEER_KEY, dates=(NOT_BEFORE, NOT_AFTER - year)),
        ),
        ("key usages", invalid, certificate_with(PEER_KEY, extensions=(usage,))),
        (
            "over 4 KiB",
            invalid,
            certificate_with(PEER_KEY, extensions=(x509.SubjectKeyIdentifier(bytes(4_096)),)),
        ),
        ("a byte behind it", invalid, right + b"\0"),
        ("cut off", invalid, right[:-1]),
        ("PEM", invalid, certificate_pem(right)),
        ("empty", invalid, b""),
    ]
    return {
        "about": "Certificates (DER, hex) as Register brings them, and whether a directory takes "
        "them. For who makes one: yours must come out as the good ones do. `fingerprint` "
        "is the SHA-256 of the SubjectPublicKeyInfo; empty where there is none to take.",
        "cases": [
            {
                "name": name,
                "certificate_der": der.hex(),
                "fingerprint": fingerprint(PEER_KEY) if expect == good else "",
                "expect": expect,
            }
            for name, expect, der in cases
        ],
    }


def certificate_pem(der: bytes) -> bytes:
    return x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM)
