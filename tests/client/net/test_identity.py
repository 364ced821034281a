"""An identity is made once, moved whole, and never overwritten."""

import stat
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from tests.support.certificates import key_pair, peer_key_pair

from p2p_client.errors import LocalRefusal, TargetExists, TargetUnwritable, UsageError
from p2p_client.net.identity import (
    PEER_NAME,
    CertificateUnfit,
    check_profile,
    export_identity,
    fingerprint_of,
    import_identity,
    load,
    load_or_create,
    parse_fingerprint,
)


def test_the_second_start_finds_the_first_ones_identity(tmp_path: Path) -> None:
    file = tmp_path / "identity.pem"

    assert load(file) is None
    made = load_or_create(file)
    again = load_or_create(file)

    assert again.certificate_der == made.certificate_der
    assert again.fingerprint == made.fingerprint
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["identity.pem"]


def test_what_is_made_fits_the_profile(tmp_path: Path) -> None:
    made = load_or_create(tmp_path / "identity.pem")
    certificate = x509.load_der_x509_certificate(made.certificate_der)

    check_profile(made.certificate_der, PEER_NAME)
    assert certificate.not_valid_before_utc.year == 2000
    assert certificate.not_valid_after_utc.isoformat() == "9999-12-31T23:59:59+00:00"
    assert certificate.serial_number > 0
    assert [type(at.value) for at in certificate.extensions] == [x509.SubjectAlternativeName]


def test_a_signature_is_verified_by_the_certificates_key(tmp_path: Path) -> None:
    made = load_or_create(tmp_path / "identity.pem")
    key = x509.load_der_x509_certificate(made.certificate_der).public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)

    key.verify(made.sign(b"text"), b"text", ec.ECDSA(hashes.SHA256()))


def test_the_key_is_in_no_text_made_of_it(tmp_path: Path) -> None:
    made = load_or_create(tmp_path / "identity.pem")

    assert repr(made) == "Identity()"
    load_pem_private_key(made.key_pem, None)


@pytest.mark.parametrize("content", [b"", b"junk", b"-----BEGIN PRIVATE KEY-----\n"])
def test_a_damaged_identity_is_said_and_left_as_it_is(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "identity.pem"
    file.write_bytes(content)

    with pytest.raises(LocalRefusal, match="identity"):
        load_or_create(file)

    assert file.read_bytes() == content


def test_a_key_with_somebody_elses_certificate_is_no_identity(tmp_path: Path) -> None:
    file = tmp_path / "identity.pem"
    file.write_bytes(peer_key_pair().key_pem + peer_key_pair().certificate_pem)

    with pytest.raises(LocalRefusal, match="belong together"):
        load(file)


def test_an_export_is_private_and_goes_back_in(tmp_path: Path) -> None:
    made = load_or_create(tmp_path / "identity.pem")
    export = tmp_path / "mine.pem"

    export_identity(made, export)
    (tmp_path / "other").mkdir()
    taken = import_identity(export, tmp_path / "other" / "identity.pem")
    again = import_identity(export, tmp_path / "other" / "identity.pem")

    assert stat.S_IMODE(export.stat().st_mode) == 0o600
    assert taken.fingerprint == again.fingerprint == made.fingerprint


def test_an_export_overwrites_nothing(tmp_path: Path) -> None:
    made = load_or_create(tmp_path / "identity.pem")
    (tmp_path / "there").write_text("precious")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")

    for name in ("there", "link"):
        with pytest.raises(TargetExists):
            export_identity(made, tmp_path / name)
    with pytest.raises(TargetUnwritable):
        export_identity(made, tmp_path / "no such folder" / "file")

    assert (tmp_path / "there").read_text() == "precious"
    assert not (tmp_path / "nowhere").exists()


def test_an_import_never_replaces_another_identity(tmp_path: Path) -> None:
    file = tmp_path / "identity.pem"
    mine = load_or_create(file)
    export_identity(load_or_create(tmp_path / "theirs.pem"), tmp_path / "export.pem")

    with pytest.raises(LocalRefusal, match="already has another identity"):
        import_identity(tmp_path / "export.pem", file)

    assert load_or_create(file).fingerprint == mine.fingerprint


def test_an_import_of_nothing_is_said(tmp_path: Path) -> None:
    with pytest.raises(LocalRefusal, match="no identity"):
        import_identity(tmp_path / "missing.pem", tmp_path / "identity.pem")


@pytest.mark.parametrize(
    "certificate_der",
    [
        b"",
        b"junk",
        key_pair().certificate_der,
        key_pair("other.invalid").certificate_der,
        key_pair(PEER_NAME, "other.invalid").certificate_der,
        key_pair(PEER_NAME, key=ed25519.Ed25519PrivateKey.generate()).certificate_der,
        key_pair(PEER_NAME, key=ec.generate_private_key(ec.SECP384R1())).certificate_der,
        key_pair(PEER_NAME, signer=ec.generate_private_key(ec.SECP256R1())).certificate_der,
        key_pair(PEER_NAME, padding=5_000).certificate_der,
        peer_key_pair().certificate_der + b"more",
    ],
    ids=["empty", "junk", "nameless", "other", "two", "ed25519", "p384", "signed", "big", "tail"],
)
def test_a_certificate_out_of_profile_is_refused(certificate_der: bytes) -> None:
    with pytest.raises(CertificateUnfit):
        check_profile(certificate_der, PEER_NAME)


def test_an_identity_of_another_kind_of_key_is_no_identity(tmp_path: Path) -> None:
    file = tmp_path / "identity.pem"
    keys = key_pair(PEER_NAME, key=ed25519.Ed25519PrivateKey.generate())
    file.write_bytes(keys.key_pem + keys.certificate_pem)

    with pytest.raises(LocalRefusal):
        load(file)


def test_the_fingerprint_is_of_the_key_not_of_the_certificate() -> None:
    first = peer_key_pair()
    second = peer_key_pair(key=first.key)

    assert first.certificate_der != second.certificate_der
    assert fingerprint_of(first.certificate_der) == fingerprint_of(second.certificate_der)
    assert fingerprint_of(first.certificate_der) != peer_key_pair().fingerprint


@pytest.mark.parametrize("text", ["", "ab", "g" * 64, "a" * 65, "b3:" + "a" * 64])
def test_what_is_no_fingerprint_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError):
        parse_fingerprint(text)


def test_a_fingerprint_may_have_colons_blanks_and_capitals() -> None:
    assert parse_fingerprint("AB:CD " * 16) == "abcd" * 16
