"""Who we are: a P-256 key and its self-signed certificate, one PEM file in the state folder.

Owns the certificate profile (docs/protocol.md) as far as a client needs it. Knows nothing of
directories; what we believe of them is in `trust.py`. `cryptography.x509` is loaded only for what
`plain_certificate.py` does not know: it takes 25 ms.
"""

import re
import ssl
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from hashlib import sha256
from pathlib import Path

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import (
    CertificatePublicKeyTypes,
    PublicKeyTypes,
)

from p2p_client.errors import LocalRefusal, TargetExists, TargetUnwritable, UsageError
from p2p_client.net.plain_certificate import PlainCertificate, read_plain
from p2p_client.state import create_private

PEER_NAME = "peer.p2p.invalid"
DIRECTORY_NAME = "directory.p2p.invalid"
LARGEST_CERTIFICATE_BYTES = 4_096
_LARGEST_FILE_BYTES = 64 << 10
_NOT_BEFORE = datetime(2000, 1, 1, tzinfo=UTC)
_NOT_AFTER = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
_FINGERPRINT = re.compile(r"[0-9a-f]{64}")
_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----\n.*?-----END CERTIFICATE-----\n", re.DOTALL)


class CertificateUnfit(ValueError):
    """Not a certificate of the profile; the text says why.

    Raised for whatever the library raises at bytes of others: its errors have no common class.
    """


@dataclass(frozen=True)
class Identity:
    """A user's key and certificate. The key is in no text made of it."""

    private_key: ec.EllipticCurvePrivateKey = field(repr=False)
    certificate_der: bytes = field(repr=False)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the DER SPKI, 64 lower-case hex."""
        return fingerprint_of(self.certificate_der)

    @property
    def certificate_pem(self) -> bytes:
        return pem_of(self.certificate_der)

    @property
    def key_pem(self) -> bytes:
        return self.private_key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )

    def sign(self, data: bytes) -> bytes:
        """ECDSA-SHA256, ASN.1 DER."""
        return self.private_key.sign(data, ec.ECDSA(hashes.SHA256()))


def load_or_create(file: Path) -> Identity:
    """The identity in the file, made on first use; of two makers at once, both get the first's.

    Raises LocalRefusal for a damaged or unusable file, which stays as it is.
    """
    found = load(file)
    if found is not None:
        return found
    try:
        create_private(file, _encode(_make()))
    except FileExistsError:
        pass
    except OSError as error:
        raise LocalRefusal(f"cannot keep a new identity: {file}: {error.strerror}") from error
    made = load(file)
    if made is None:
        raise LocalRefusal(f"the identity {file} was removed while it was made: try again")
    return made


def load(file: Path) -> Identity | None:
    """The identity in the file; None: there is no file. Raises LocalRefusal for a damaged one."""
    try:
        with file.open("rb") as stream:
            data = stream.read(_LARGEST_FILE_BYTES)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise LocalRefusal(f"cannot read the identity {file}: {error.strerror}") from error
    return _decode(data, file)


def export_identity(identity: Identity, file: Path) -> None:
    """Writes key and certificate to a new file that only its owner reads.

    Raises TargetExists, TargetUnwritable.
    """
    try:
        create_private(file, _encode(identity))
    except FileExistsError:
        raise TargetExists(
            f"{file} exists already: choose another name for the identity, or remove it"
        ) from None
    except OSError as error:
        raise TargetUnwritable(f"cannot write the identity {file}: {error.strerror}") from error


def import_identity(source_file: Path, state_file: Path) -> Identity:
    """Makes the identity of an export this folder's own; importing it again changes nothing.

    Raises LocalRefusal for a file that is missing or no identity, and where the folder already has
    another one, which stays as it is.
    """
    imported = load(source_file)
    if imported is None:
        raise LocalRefusal(f"there is no identity {source_file}: name a file made by the export")
    try:
        create_private(state_file, _encode(imported))
    except FileExistsError:
        pass
    except OSError as error:
        raise LocalRefusal(f"cannot keep the identity {state_file}: {error.strerror}") from error
    else:
        return imported
    present = load(state_file)
    if present is None or present.fingerprint != imported.fingerprint:
        raise LocalRefusal(
            f"the state folder already has another identity ({state_file}): import into an empty "
            "one with --state-dir, or move that file away if its user name is not needed any more"
        )
    return present


def fingerprint_of(certificate_der: bytes) -> str:
    """SHA-256 of the certificate's DER SPKI, 64 lower-case hex. Raises CertificateUnfit."""
    plain = _plain(certificate_der)
    try:
        if plain is not None:
            key = serialization.load_der_public_key(plain.spki_der)
        else:
            from cryptography import x509

            key = x509.load_der_x509_certificate(certificate_der).public_key()
        return _fingerprint(key)
    except Exception as error:
        raise CertificateUnfit("the certificate cannot be read") from error


def _fingerprint(key: PublicKeyTypes | CertificatePublicKeyTypes) -> str:
    spki = key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return sha256(spki).hexdigest()


def _plain(certificate_der: bytes) -> PlainCertificate | None:
    """A certificate of a peer or a directory, if it is written as ours are."""
    return read_plain(certificate_der, PEER_NAME) or read_plain(certificate_der, DIRECTORY_NAME)


def parse_fingerprint(text: str) -> str:
    """A fingerprint as people give it: any case, colons and blanks allowed. Raises UsageError."""
    plain = re.sub(r"[:\s]", "", text).lower()
    if not _FINGERPRINT.fullmatch(plain):
        raise UsageError(f"{text!r} is no fingerprint: 64 hexadecimal characters, colons allowed")
    return plain


def pem_of(certificate_der: bytes) -> bytes:
    """Raises CertificateUnfit."""
    if _plain(certificate_der) is not None:
        return ssl.DER_cert_to_PEM_cert(certificate_der).encode()
    from cryptography import x509

    try:
        certificate = x509.load_der_x509_certificate(certificate_der)
    except Exception as error:
        raise CertificateUnfit("the certificate cannot be read") from error
    return certificate.public_bytes(serialization.Encoding.PEM)


def check_profile(certificate_der: bytes, name: str) -> None:
    """Raises CertificateUnfit unless it is self-signed, P-256, and for that one DNS name."""
    if len(certificate_der) > LARGEST_CERTIFICATE_BYTES:
        raise CertificateUnfit(f"the certificate is over {LARGEST_CERTIFICATE_BYTES} bytes")
    plain = read_plain(certificate_der, name)
    if plain is not None:
        _check_signature(plain)
        return
    from cryptography import x509

    try:
        certificate = x509.load_der_x509_certificate(certificate_der)
        key = certificate.public_key()
        certificate.verify_directly_issued_by(certificate)
        alternatives = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        names = list(alternatives.value)
    except Exception as error:
        raise CertificateUnfit("the certificate is not self-signed with a DNS name") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise CertificateUnfit("the certificate's key is not ECDSA P-256")
    if names != [x509.DNSName(name)]:
        raise CertificateUnfit(f"the certificate is not for {name}")


def _check_signature(plain: PlainCertificate) -> None:
    try:
        key = serialization.load_der_public_key(plain.spki_der)
        assert isinstance(key, ec.EllipticCurvePublicKey), "its bytes say so"
        key.verify(plain.signature, plain.signed, ec.ECDSA(hashes.SHA256()))
    except Exception as error:
        raise CertificateUnfit("the certificate is not self-signed with a DNS name") from error


def _make() -> Identity:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, PEER_NAME)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_NOT_BEFORE)
        .not_valid_after(_NOT_AFTER)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(PEER_NAME)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Identity(key, certificate.public_bytes(serialization.Encoding.DER))


def _encode(identity: Identity) -> bytes:
    return identity.key_pem + identity.certificate_pem


def _decode(data: bytes, file: Path) -> Identity:
    try:
        key = serialization.load_pem_private_key(data, password=None)
        certificate_der = _certificate_in(data)
        check_profile(certificate_der, PEER_NAME)
        belong_together = _fingerprint(key.public_key()) == fingerprint_of(certificate_der)
    except Exception as error:
        raise LocalRefusal(
            f"{file} holds no identity: bring it back from an export or a backup "
            "(it was left as it is)"
        ) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not belong_together:
        raise LocalRefusal(f"{file} holds a key and a certificate that do not belong together")
    return Identity(key, certificate_der)


def _certificate_in(data: bytes) -> bytes:
    """The first certificate (DER) of a PEM file. Raises ValueError."""
    found = _PEM.search(data)
    if found is not None and found[0].isascii():
        certificate_der = ssl.PEM_cert_to_DER_cert(found[0].decode())
        if read_plain(certificate_der, PEER_NAME) is not None:
            return certificate_der
    from cryptography import x509

    return x509.load_pem_x509_certificate(data).public_bytes(serialization.Encoding.DER)
