"""The directory's own keys: who it is, what it signs grants with, what it seals tokens with.

Made once and kept in the store, so that all instances of one directory are one and the same.
"""

import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from p2p_server.directory.trust.certificates import (
    DIRECTORY_NAME,
    fingerprint,
    make_certificate,
)

_IDENTITY_KEY = "identity_key.pem"
_CERTIFICATE = "identity_certificate.der"
_GRANT_KEY = "grant_key.pem"
_SEALING_SECRET = "sealing_secret"
_SECRET_BYTES = 32


class KeyringBroken(Exception):
    """What the store keeps as the directory's keys cannot be used."""


@dataclass(frozen=True, slots=True)
class Keyring:
    identity_key_pem: bytes
    certificate_pem: bytes
    directory_id: str
    grant_key: ec.EllipticCurvePrivateKey
    challenge_secret: bytes
    page_secret: bytes


def make_secrets(entropy: Callable[[int], bytes]) -> Mapping[str, bytes]:
    """New keys, by the names under which they are kept."""
    identity = ec.generate_private_key(ec.SECP256R1())
    return {
        _IDENTITY_KEY: _pem(identity),
        _CERTIFICATE: make_certificate(identity, DIRECTORY_NAME),
        _GRANT_KEY: _pem(ec.generate_private_key(ec.SECP256R1())),
        _SEALING_SECRET: entropy(_SECRET_BYTES),
    }


def open_keyring(secrets: Mapping[str, bytes]) -> Keyring:
    """Raises KeyringBroken."""
    try:
        identity = _private_key(secrets[_IDENTITY_KEY])
        certificate = x509.load_der_x509_certificate(secrets[_CERTIFICATE])
        grant_key = _private_key(secrets[_GRANT_KEY])
        sealing_secret = secrets[_SEALING_SECRET]
    except KeyError as error:
        raise KeyringBroken(f"{error.args[0]} is missing") from None
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise KeyringBroken("a key or the certificate cannot be read") from None
    if certificate.public_key() != identity.public_key() or len(sealing_secret) < _SECRET_BYTES:
        raise KeyringBroken("key and certificate do not belong together")
    return Keyring(
        identity_key_pem=secrets[_IDENTITY_KEY],
        certificate_pem=certificate.public_bytes(Encoding.PEM),
        directory_id=fingerprint(identity.public_key()),
        grant_key=grant_key,
        challenge_secret=hmac.digest(sealing_secret, b"challenges", "sha256"),
        page_secret=hmac.digest(sealing_secret, b"page tokens", "sha256"),
    )


def _private_key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    key = load_pem_private_key(pem, password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise TypeError("not a P-256 key")
    return key


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
