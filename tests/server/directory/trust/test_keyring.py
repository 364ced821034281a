"""The directory's own keys come back from the store as they were, or are said to be broken."""

import os
from collections.abc import Mapping

import pytest
from cryptography import x509

from p2p_server.directory.trust.certificates import DIRECTORY_NAME, fingerprint
from p2p_server.directory.trust.keyring import KeyringBroken, make_secrets, open_keyring


def test_what_was_made_can_be_opened() -> None:
    keyring = open_keyring(make_secrets(os.urandom))

    certificate = x509.load_pem_x509_certificate(keyring.certificate_pem)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [DIRECTORY_NAME]
    assert fingerprint(certificate.public_key()) == keyring.directory_id  # type: ignore[arg-type]  # P-256, as made
    assert certificate.not_valid_before_utc.year == 2000
    assert certificate.not_valid_after_utc.year == 9999
    assert certificate.serial_number > 0
    assert keyring.challenge_secret != keyring.page_secret


def test_the_same_secrets_are_the_same_keyring() -> None:
    secrets = make_secrets(os.urandom)

    first, second = open_keyring(secrets), open_keyring(secrets)

    assert first.directory_id == second.directory_id
    assert first.page_secret == second.page_secret


@pytest.mark.parametrize("name", sorted(make_secrets(os.urandom)))
@pytest.mark.parametrize("value", [None, b"", b"nonsense"])
def test_a_missing_or_broken_secret_is_said(name: str, value: bytes | None) -> None:
    secrets: dict[str, bytes] = dict(make_secrets(os.urandom))
    del secrets[name]
    if value is not None:
        secrets[name] = value

    with pytest.raises(KeyringBroken):
        open_keyring(secrets)


def test_keys_that_do_not_belong_together_are_said() -> None:
    ours, others = make_secrets(os.urandom), make_secrets(os.urandom)
    mixed: Mapping[str, bytes] = {**ours, "identity_key.pem": others["identity_key.pem"]}

    with pytest.raises(KeyringBroken, match="together"):
        open_keyring(mixed)
