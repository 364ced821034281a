"""Certificates: the profile of docs/protocol.md, checked and made.

A certificate here is a public key with a wrapping that TLS libraries accept. Trust never comes from
its names or dates, so these are the same for everybody.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtensionOID, NameOID, SignatureAlgorithmOID

from p2p_server.directory.errors import CertificateInvalid

PEER_NAME: Final = "peer.p2p.invalid"
DIRECTORY_NAME: Final = "directory.p2p.invalid"
MAX_CERTIFICATE_BYTES: Final = 4096

_NOT_BEFORE: Final = datetime(2000, 1, 1, tzinfo=UTC)
_NOT_AFTER: Final = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
_KEY_USAGES: Final = (ExtensionOID.KEY_USAGE, ExtensionOID.EXTENDED_KEY_USAGE)


@dataclass(frozen=True, slots=True)
class PeerCertificate:
    der: bytes
    public_key: ec.EllipticCurvePublicKey
    fingerprint: str  # SHA-256 of the DER SPKI, 64 lower-case hex


def fingerprint(public_key: ec.EllipticCurvePublicKey) -> str:
    spki = public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return sha256(spki).hexdigest()


def checked_peer_certificate(der: bytes) -> PeerCertificate:
    """The certificate, if it keeps the profile for peers. Raises CertificateInvalid."""
    if not 0 < len(der) <= MAX_CERTIFICATE_BYTES:
        raise CertificateInvalid(f"is empty or longer than {MAX_CERTIFICATE_BYTES} bytes")
    try:
        certificate = x509.load_der_x509_certificate(der)
        public_key = certificate.public_key()
        fault = _fault(certificate, public_key)
    except Exception:  # at bytes of others the library's errors have no common class
        raise CertificateInvalid("cannot be read") from None
    if fault or not isinstance(public_key, ec.EllipticCurvePublicKey):
        raise CertificateInvalid(fault)
    return PeerCertificate(der, public_key, fingerprint(public_key))


def _fault(certificate: x509.Certificate, public_key: object) -> str:
    if not isinstance(public_key, ec.EllipticCurvePublicKey) or not isinstance(
        public_key.curve, ec.SECP256R1
    ):
        return "has a key other than ECDSA P-256"
    if certificate.signature_algorithm_oid != SignatureAlgorithmOID.ECDSA_WITH_SHA256:
        return "is not signed with ECDSA and SHA-256"
    if certificate.issuer != certificate.subject or not _is_signed_by(certificate, public_key):
        return "is not self-signed"
    if certificate.version is not x509.Version.v3 or certificate.serial_number <= 0:
        return "is not of version 3 with a positive serial number"
    dates = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if dates != (_NOT_BEFORE, _NOT_AFTER):
        return "is not valid from 2000-01-01 00:00:00 to 9999-12-31 23:59:59"
    return _extension_fault(certificate)


def _extension_fault(certificate: x509.Certificate) -> str:
    extensions = {extension.oid: extension.value for extension in certificate.extensions}
    names = extensions.get(ExtensionOID.SUBJECT_ALTERNATIVE_NAME)
    if not isinstance(names, x509.SubjectAlternativeName) or list(names) != [
        x509.DNSName(PEER_NAME)
    ]:
        return f"does not have {PEER_NAME} as its only alternative name"
    if any(oid in extensions for oid in _KEY_USAGES):
        return "restricts the usage of its key"
    return ""


def _is_signed_by(certificate: x509.Certificate, public_key: ec.EllipticCurvePublicKey) -> bool:
    try:
        public_key.verify(
            certificate.signature, certificate.tbs_certificate_bytes, ec.ECDSA(SHA256())
        )
    except InvalidSignature:
        return False
    return True


def make_certificate(key: ec.EllipticCurvePrivateKey, dns_name: str) -> bytes:
    """A self-signed certificate of the profile, DER."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, dns_name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_NOT_BEFORE)
        .not_valid_after(_NOT_AFTER)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(dns_name)]), critical=False)
    )
    return builder.sign(key, SHA256()).public_bytes(Encoding.DER)
