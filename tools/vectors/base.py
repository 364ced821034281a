"""What all vectors are made of: keys that everybody knows, certificates, contents, wire bytes.

Nothing of our programs is imported by this folder: what both must agree on is reckoned here
once more. Keys and signatures are fixed (RFC 6979), so that every run writes the same bytes.
"""

from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.hashes import SHA256, SHA384
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cryptography.x509.oid import NameOID

MIB = 1 << 20
NOW = 1_893_499_200  # 2030-01-01T12:00:00Z
PEER_ID = "vector-peer-0000"
CHALLENGE = bytes(range(48))
NONCE = bytes(range(32))
DIGESTS = ["aa" * 32, "bb" * 32]
OTHER_DIGEST = DIGESTS[1]

Case = dict[str, Any]
Key = ec.EllipticCurvePrivateKey
AnyKey = Key | ed25519.Ed25519PrivateKey
NOT_BEFORE = datetime(2000, 1, 1, tzinfo=UTC)
NOT_AFTER = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)


def key_of(number: int) -> Key:
    """A key that everybody knows: for vectors only."""
    return ec.derive_private_key(number, ec.SECP256R1())


PEER_KEY, OTHER_PEER_KEY = key_of(0x1001), key_of(0x1002)
DIRECTORY_KEY, GRANT_KEY, FOREIGN_KEY = key_of(0x2001), key_of(0x3001), key_of(0x3002)


def spki(key: Key) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def pkcs8_pem(key: Key) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def fingerprint(key: Key) -> str:
    return sha256(spki(key)).hexdigest()


def sign(key: Key, data: bytes) -> bytes:
    return key.sign(data, ec.ECDSA(SHA256(), deterministic_signing=True))


def certificate(key: Key, dns_name: str = "peer.p2p.invalid") -> bytes:
    return certificate_with(key, alternatives=(dns_name,))


def certificate_with(
    key: AnyKey,
    *,
    alternatives: tuple[str, ...] | None = ("peer.p2p.invalid",),
    dates: tuple[datetime, datetime] = (NOT_BEFORE, NOT_AFTER),
    signed_by: AnyKey | None = None,
    names: tuple[str | None, str | None] | None = None,
    extensions: tuple[x509.ExtensionType, ...] = (),
    digest: SHA256 | SHA384 | None = None,
) -> bytes:
    """A certificate of the profile, or whatever else it is told to be. `names`: subject, issuer."""
    dns_name = (alternatives or ("peer.p2p.invalid",))[0]
    subject, issuer = (
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)] if name else [])
        for name in names or (dns_name, dns_name)
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(dates[0])
        .not_valid_after(dates[1])
    )
    if alternatives is not None:
        san = x509.SubjectAlternativeName([x509.DNSName(name) for name in alternatives])
        builder = builder.add_extension(san, critical=False)
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    signer = signed_by or key
    if isinstance(signer, ed25519.Ed25519PrivateKey):
        return builder.sign(signer, None).public_bytes(Encoding.DER)
    made = builder.sign(signer, digest or SHA256(), ecdsa_deterministic=True)
    return made.public_bytes(Encoding.DER)


def len32(*fields: bytes) -> bytes:
    return b"".join(len(field).to_bytes(4, "big") + field for field in fields)


def content(size_bytes: int) -> bytes:
    period = bytes((i * 31 + 7) % 251 for i in range(251))
    return (period * (size_bytes // 251 + 1))[:size_bytes]


# --- protobuf, by hand: no runtime between a vector and the contract ------------------------------


def varint(number: int) -> bytes:
    """Negative numbers as protobuf has them: 64 bits, two's complement."""
    number &= (1 << 64) - 1
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def number(field: int, value: int) -> bytes:
    """A number, or an enum value; zero is left out."""
    return varint(field << 3) + varint(value) if value else b""


def chunk(field: int, value: bytes | str) -> bytes:
    """Bytes, a text, or an encoded message; kept when it is empty, as a message may be."""
    data = value.encode() if isinstance(value, str) else value
    return varint(field << 3 | 2) + varint(len(data)) + data
