"""A peer's certificate is a stranger's bytes: whatever they are, they are told to be unfit."""

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from p2p_server.directory.errors import CertificateInvalid
from p2p_server.directory.trust.certificates import (
    PEER_NAME,
    checked_peer_certificate,
    make_certificate,
)


def test_a_certificate_of_no_known_version_is_refused() -> None:
    certificate_der = make_certificate(ec.generate_private_key(ec.SECP256R1()), PEER_NAME)
    of_no_version = certificate_der.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x03")

    with pytest.raises(CertificateInvalid, match="cannot be read"):
        checked_peer_certificate(of_no_version)
