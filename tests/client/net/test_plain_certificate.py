"""Certificates known by their bytes: told as the library tells them, and believed no sooner."""

from collections.abc import Callable

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.support.certificates import peer_key_pair

from p2p_client.net.identity import (
    DIRECTORY_NAME,
    PEER_NAME,
    CertificateUnfit,
    _make,
    check_profile,
    fingerprint_of,
    pem_of,
)
from p2p_client.net.plain_certificate import read_plain
from p2p_server.directory.trust.certificates import make_certificate

NAMES = (PEER_NAME, DIRECTORY_NAME)
MAKERS: dict[str, Callable[[], bytes]] = {
    PEER_NAME: lambda: _make().certificate_der,
    DIRECTORY_NAME: lambda: make_certificate(
        ec.generate_private_key(ec.SECP256R1()), DIRECTORY_NAME
    ),
}


def with_serial(serial: int) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    made = x509.load_der_x509_certificate(make_certificate(key, PEER_NAME))
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, PEER_NAME)])
    builder = x509.CertificateBuilder(name, name, key.public_key(), serial)
    builder = builder.not_valid_before(made.not_valid_before_utc)
    builder = builder.not_valid_after(made.not_valid_after_utc)
    for extension in made.extensions:
        builder = builder.add_extension(extension.value, extension.critical)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


@pytest.mark.parametrize("name", NAMES)
def test_what_our_programs_write_is_told_as_the_library_tells_it(name: str) -> None:
    for _ in range(20):  # serial numbers and signatures are not all of one length
        certificate_der = MAKERS[name]()
        certificate = x509.load_der_x509_certificate(certificate_der)

        plain = read_plain(certificate_der, name)

        assert plain is not None
        assert plain.signed == certificate.tbs_certificate_bytes
        assert plain.signature == certificate.signature
        assert plain.spki_der == certificate.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        assert pem_of(certificate_der) == certificate.public_bytes(serialization.Encoding.PEM)


@pytest.mark.parametrize("serial", [1, 127, 128, 255, 256, 2**151, 2**158, 2**159 - 1])
def test_serial_numbers_of_any_length_are_known(serial: int) -> None:
    certificate_der = with_serial(serial)

    assert read_plain(certificate_der, PEER_NAME) is not None
    check_profile(certificate_der, PEER_NAME)


def test_a_certificate_for_another_name_is_not_known() -> None:
    assert read_plain(MAKERS[PEER_NAME](), DIRECTORY_NAME) is None
    with pytest.raises(CertificateUnfit, match="not for"):
        check_profile(MAKERS[PEER_NAME](), DIRECTORY_NAME)


def test_a_certificate_written_in_another_way_is_for_the_library() -> None:
    other = peer_key_pair()

    assert read_plain(other.certificate_der, PEER_NAME) is None
    check_profile(other.certificate_der, PEER_NAME)


def test_no_bit_of_it_can_be_another() -> None:
    certificate_der = MAKERS[PEER_NAME]()
    known = 0

    for bit in range(8 * len(certificate_der)):
        changed = bytearray(certificate_der)
        changed[bit // 8] ^= 1 << bit % 8
        if read_plain(bytes(changed), PEER_NAME) is not None:
            known += 1
            with pytest.raises(CertificateUnfit, match="self-signed"):
                check_profile(bytes(changed), PEER_NAME)

    assert known > 8 * 64, "changed keys and signatures are still written as ours are"


def test_bytes_that_the_library_chokes_on_are_unfit() -> None:
    of_no_version = MAKERS[PEER_NAME]().replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x03")

    for judge in (fingerprint_of, pem_of, lambda der: check_profile(der, PEER_NAME)):
        with pytest.raises(CertificateUnfit):
            judge(of_no_version)


def test_none_is_missing_and_none_too_much() -> None:
    certificate_der = MAKERS[PEER_NAME]()

    for length in range(len(certificate_der)):
        assert read_plain(certificate_der[:length], PEER_NAME) is None
    assert read_plain(certificate_der + b"\0", PEER_NAME) is None


def test_one_signed_by_another_key_is_refused() -> None:
    certificate_der = MAKERS[PEER_NAME]()
    swapped = certificate_der.replace(_spki(certificate_der), _spki(MAKERS[PEER_NAME]()))

    assert read_plain(swapped, PEER_NAME) is not None
    with pytest.raises(CertificateUnfit, match="self-signed"):
        check_profile(swapped, PEER_NAME)


def test_a_key_that_is_no_point_of_the_curve_is_refused() -> None:
    certificate_der = MAKERS[PEER_NAME]()
    spki_der = _spki(certificate_der)
    swapped = certificate_der.replace(spki_der, spki_der[:-64] + bytes(64))

    assert read_plain(swapped, PEER_NAME) is not None
    with pytest.raises(CertificateUnfit):
        check_profile(swapped, PEER_NAME)
    with pytest.raises(CertificateUnfit):
        fingerprint_of(swapped)


def _spki(certificate_der: bytes) -> bytes:
    plain = read_plain(certificate_der, PEER_NAME)
    assert plain is not None
    return plain.spki_der
