"""Our programs keep to the vectors that other languages are given."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from tools.generate_vectors import FOLDER, rendered
from tools.vectors.base import content

from p2p_client.content.manifest import Hashing, piece_size_of
from p2p_client.models import Digest, PeerId
from p2p_client.net import checks, identity
from p2p_client.upload.admission.grants import Trust, read_grant
from p2p_client.upload.refusals import SourceRefusal
from p2p_server.directory.checks import names
from p2p_server.directory.errors import DirectoryError
from p2p_server.directory.models import Limits
from p2p_server.directory.models import PeerId as ListedPeerId
from p2p_server.directory.query import fold, glob_matcher
from p2p_server.directory.trust import certificates, proofs

Case = dict[str, Any]


def load(name: str) -> Any:
    return json.loads((FOLDER / f"{name}.json").read_text())


def cases(file: str, group: str = "cases") -> pytest.MarkDecorator:
    """One test for each case, named after what stands first in it."""
    found: list[Case] = load(file)[group]
    ids = [f"{index}-{ascii(next(iter(case.values())))[:40]}" for index, case in enumerate(found)]
    return pytest.mark.parametrize("case", found, ids=ids)


@pytest.mark.parametrize("name", rendered())
def test_the_generator_reproduces_the_file(name: str) -> None:
    assert Path(FOLDER / name).read_text() == rendered()[name]


@cases("contents")
def test_contents(case: Case) -> None:
    data = case["text"].encode() if "text" in case else content(case["size_bytes"])
    hashing = Hashing(len(data))
    hashing.update(data)

    digest, manifest = hashing.finish()

    assert digest == case["digest"]
    assert manifest.piece_size_bytes == case["piece_size_bytes"]
    assert manifest.piece_digests.hex() == "".join(case["piece_digests"])
    assert manifest.canonical_bytes().hex() == case["canonical_hex"]
    assert manifest.digest() == case["manifest_digest"]


@cases("piece_sizes")
def test_piece_sizes(case: Case) -> None:
    size = int(case["size_bytes"])

    assert piece_size_of(size) == int(case["piece_size_bytes"])
    assert -(-size // piece_size_of(size)) == case["pieces"]


def test_certificate() -> None:
    vectors = load("proofs")
    peer, directory = (
        bytes.fromhex(vectors[name]) for name in ("certificate_der", "directory_certificate_der")
    )

    assert (
        certificates.checked_peer_certificate(peer).fingerprint
        == (vectors["certificate_fingerprint"])
    )
    identity.check_profile(peer, identity.PEER_NAME)
    identity.check_profile(directory, identity.DIRECTORY_NAME)
    assert identity.fingerprint_of(directory) == vectors["directory_id"]


@cases("proofs", "register")
def test_register_proofs(case: Case) -> None:
    der = bytes.fromhex(case["certificate_der"])
    signed = proofs.register_bytes(
        case["directory_id"], bytes.fromhex(case["challenge"]), case["user"], case["peer_id"], der
    )
    key = certificates.checked_peer_certificate(der).public_key

    assert signed.hex() == case["signed_bytes"]
    assert (
        verdict(lambda: proofs.check_proof(key, bytes.fromhex(case["proof"]), signed))
        == (case["expect"])
    )


@cases("proofs", "prove_identity")
def test_identity_proofs(case: Case) -> None:
    key = load_pem_private_key(load("proofs")["private_key_pem"].encode(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    signed = proofs.identity_bytes(bytes.fromhex(case["nonce"]), ListedPeerId(case["peer_id"]))

    assert signed.hex() == case["signed_bytes"]
    try:
        key.public_key().verify(bytes.fromhex(case["signature"]), signed, ec.ECDSA(SHA256()))
        assert case["expect"] == "good"
    except InvalidSignature:
        assert case["expect"] == "bad"


@cases("grants")
def test_grants(case: Case) -> None:
    vectors = load("grants")
    trust = Trust.of(vectors["directory_id"], bytes.fromhex(vectors["grant_key_der"]))
    now = datetime.fromtimestamp(vectors["now"], UTC)

    def judge() -> None:
        grant = read_grant(case["grant"], trust, PeerId(vectors["peer_id"]), now)
        grant.check(Digest(vectors["digest"]))

    assert verdict(judge) in case["expect"].split("|")


@cases("names", "paths")
def test_paths(case: Case) -> None:
    assert checks.is_lawful_path(case["text"]) is case["lawful"]
    assert (names.path_fault(case["text"], Limits()) == "") is case["lawful"]


@cases("names", "users")
def test_users(case: Case) -> None:
    assert checks.is_user(case["text"]) is case["lawful"]
    assert (verdict(lambda: names.checked_user(case["text"])) == "good") is case["lawful"]


@cases("names", "peer_ids")
def test_peer_ids(case: Case) -> None:
    assert checks.is_peer_id(case["text"]) is case["lawful"]
    assert (verdict(lambda: names.checked_peer_id(case["text"])) == "good") is case["lawful"]


@cases("names", "hosts")
def test_hosts(case: Case) -> None:
    assert (checks.lawful_endpoint(case["text"], 50051) is not None) is case["lawful"]


@cases("globs")
def test_globs(case: Case) -> None:
    matches = glob_matcher(fold(case["glob"]))

    assert matches(fold(case["path"])) is case["matches"]


def verdict(judge: Callable[[], object]) -> str:
    try:
        judge()
    except (DirectoryError, SourceRefusal) as refusal:
        return refusal.reason
    return "good"
