"""Certificates as directories and peers have them, and as they should not have them."""

from dataclasses import dataclass
from datetime import UTC, datetime

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import NameOID

from p2p_client.net.identity import DIRECTORY_NAME, PEER_NAME, fingerprint_of

Key = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


@dataclass(frozen=True)
class KeyPair:
    key: Key
    certificate_der: bytes

    @property
    def certificate_pem(self) -> bytes:
        certificate = x509.load_der_x509_certificate(self.certificate_der)
        return certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        return self.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )

    @property
    def fingerprint(self) -> str:
        return fingerprint_of(self.certificate_der)

    def server_credentials(self) -> grpc.ServerCredentials:
        return grpc.ssl_server_credentials([(self.key_pem, self.certificate_pem)])


def key_pair(
    *names: str, key: Key | None = None, signer: Key | None = None, padding: int = 0
) -> KeyPair:
    """A key and its certificate for these DNS names; signed by another key where one is given."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    signer = signer or key
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime(2000, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC))
    )
    if names:
        alternatives = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
        builder = builder.add_extension(alternatives, critical=False)
    if padding:
        bulk = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), bytes(padding))
        builder = builder.add_extension(bulk, critical=False)
    algorithm = None if isinstance(signer, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    certificate = builder.sign(signer, algorithm)
    return KeyPair(key, certificate.public_bytes(serialization.Encoding.DER))


def directory_key_pair(key: Key | None = None) -> KeyPair:
    return key_pair(DIRECTORY_NAME, key=key)


def peer_key_pair(key: Key | None = None) -> KeyPair:
    return key_pair(PEER_NAME, key=key)
