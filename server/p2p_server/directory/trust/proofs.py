"""What is signed to prove that one holds a key. The bytes are laid down in docs/protocol.md."""

import struct
from hashlib import sha256

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

from p2p_server.directory.errors import ProofInvalid
from p2p_server.directory.models import PeerId

_REGISTER = b"p2p.v1.Register\0"
_PROVE_IDENTITY = b"p2p.v1.ProveIdentity\0"


def register_bytes(
    directory_id: str, challenge: bytes, user: str, peer_id: str, certificate_der: bytes
) -> bytes:
    """What a Register signs, for the directory whose certificate the client saw in TLS."""
    return _REGISTER + _length_prefixed(
        bytes.fromhex(directory_id),
        challenge,
        user.encode(),
        peer_id.encode(),
        sha256(certificate_der).digest(),
    )


def identity_bytes(nonce: bytes, peer_id: PeerId) -> bytes:
    """What a peer signs when a directory without TLS dials it back."""
    return _PROVE_IDENTITY + _length_prefixed(nonce, peer_id.encode())


def check_proof(key: ec.EllipticCurvePublicKey, proof: bytes, signed: bytes) -> None:
    """Raises ProofInvalid."""
    try:
        key.verify(proof, signed, ec.ECDSA(SHA256()))
    except InvalidSignature:
        raise ProofInvalid() from None


def _length_prefixed(*fields: bytes) -> bytes:
    return b"".join(struct.pack(">I", len(field)) + field for field in fields)
