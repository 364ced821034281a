"""Our directory, and who talks to it, keep to the vectors of announces, queries, certificates and
errors."""

import json
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.json_format import ParseDict
from tests.support.certificates import peer_key_pair
from tests.support.directory.raw import RawSession
from tests.support.directory.refusals import refusal
from tests.support.directory.running import directory_running
from tools.generate_vectors import FOLDER

from p2p.v1 import directory_pb2 as pb
from p2p.v1 import types_pb2 as types
from p2p_client.library.catalog import Catalog
from p2p_client.membership.announcer import Announcer
from p2p_client.models import Digest, ManifestDigest, Resource, Revision
from p2p_client.net.identity import fingerprint_of
from p2p_client.net.status import refusal_of
from p2p_client.upload.refusals import SourceRefusal
from p2p_server.directory.checks.criteria import criteria_of
from p2p_server.directory.errors import CertificateInvalid, DirectoryError, FieldInvalid
from p2p_server.directory.models import Digest as ListedDigest
from p2p_server.directory.models import Limits
from p2p_server.directory.models import Resource as ListedResource
from p2p_server.directory.query import fold
from p2p_server.directory.trust.certificates import checked_peer_certificate
from p2p_server.directory.watching.matching import fulfils
from p2p_server.rpc.wire.requests import asked

ROOT = Path(__file__).resolve().parents[2]
ANNOUNCES, CERTIFICATES, ERRORS, QUERIES = (
    json.loads((FOLDER / f"{name}.json").read_text())
    for name in ("announces", "certificates", "errors", "queries")
)

Case = dict[str, Any]


def each(found: list[Case]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", found, ids=[case["name"] for case in found])


# --- announces ----------------------------------------------------------------------------------


@pytest.fixture
async def sharer(tmp_path: Path) -> AsyncIterator[RawSession]:
    """Listed under an address where somebody answers, so that it is in answers."""
    async with directory_running(tmp_path) as (_, raw):
        yield await raw.share("ann", peer_key_pair())


@pytest.mark.slow
@each(ANNOUNCES["cases"])
async def test_announces(case: Case, sharer: RawSession) -> None:
    for number, step in enumerate(case["steps"]):
        request = ParseDict(step["request"], pb.AnnounceRequest())
        if step["expect"] == "OK":
            answer = await sharer.send_announce(request)
            assert [at.item for at in answer.rejected_items] == step["rejected_items"], number
        else:
            assert (await refusal(sharer.send_announce(request))).reason == step["expect"], number
        held = (await sharer.heartbeat()).held_revision
        found = await sharer.query()
        assert (held.epoch, held.counter) == tuple(step["held_revision"].values()), number
        assert [at.resource.path for at in found.listed_resources] == step["listed"], number


@each(ANNOUNCES["next"])
def test_what_is_announced_next(case: Case) -> None:
    own, held, since = (Revision(**case[name]) for name in ("own", "held", "known_since"))
    catalog = Catalog(own.epoch, most_tombstones=0)  # forgets all before a withdrawal
    announcer = Announcer(catalog)
    for counter in range(own.counter):
        if Revision(own.epoch, counter) == held:
            assert announcer.next_batch(Revision("", 0)) is not None
            assert announcer.taken(held)
        change(catalog, is_withdrawal=counter < since.counter and counter % 2 == 1)
    assert catalog.revision == own

    batch = announcer.next_batch(held)

    sent = "nothing" if batch is None else "snapshot" if batch.snapshot_id else "delta"
    assert sent == case["send"]


def change(catalog: Catalog, *, is_withdrawal: bool) -> None:
    counter = catalog.revision.counter
    if is_withdrawal:
        catalog.withdraw(str(counter - 1))
        return
    digest, manifest_digest = Digest("00" * 32), ManifestDigest("00" * 32)
    modified_at = datetime(2030, 1, 1, tzinfo=UTC)
    catalog.put(Resource(str(counter), 0, digest, manifest_digest, modified_at))


# --- queries ------------------------------------------------------------------------------------


@each(QUERIES["cases"])
def test_queries(case: Case) -> None:
    resource = ListedResource(
        path=QUERIES["resource"]["path"],
        size_bytes=QUERIES["resource"]["size_bytes"],
        digest=ListedDigest(QUERIES["resource"]["digest"]),
        manifest_digest=ListedDigest(QUERIES["resource"]["digest"]),
        modified_at=0.0,
        media_type=QUERIES["resource"]["media_type"],
    )
    query = ParseDict(case["query"], pb.QueryRequest())
    try:
        criteria = criteria_of(asked(query), Limits())
    except FieldInvalid:
        assert case["matches"] is None
        return

    found = fulfils(criteria, resource, fold(resource.path), fold(QUERIES["owner"]))

    assert found is case["matches"]


# --- certificates and errors --------------------------------------------------------------------


@each(CERTIFICATES["cases"])
def test_certificates(case: Case) -> None:
    der = bytes.fromhex(case["certificate_der"])
    try:
        checked = checked_peer_certificate(der)
    except CertificateInvalid:
        assert case["expect"] == "CERTIFICATE_INVALID"
        return

    assert case["expect"] == "good"
    assert checked.fingerprint == fingerprint_of(der) == case["fingerprint"]


@each(ERRORS["cases"])
def test_errors(case: Case) -> None:
    code = grpc.StatusCode[case["code"]]

    read = refusal_of(code, "", bytes.fromhex(case["details_bin"]))

    assert (read.code, read.reason, dict(read.facts)) == (code, case["reason"], case["metadata"])


def test_every_reason_has_its_number_and_its_code() -> None:
    """In the vectors, in the enum and its comments, and in what our programs raise."""
    told = {at["reason"]: (at["number"], at["code"]) for at in ERRORS["reasons"]}
    ours = {
        error.reason: error.code
        for kind in (DirectoryError, SourceRefusal)
        for error in kind.__subclasses__()
    }
    text = (ROOT / "proto/p2p/v1/types.proto").read_text()
    pattern = r"  // ([A-Z_]+)\. (?:.*\n)(?:  //.*\n)*  ERROR_REASON_(\w+) = (\d+);"
    commented = {name: (int(number), code) for code, name, number in re.findall(pattern, text)}
    numbers = types.ErrorReason.items()

    assert {(f"ERROR_REASON_{name}", number) for name, (number, _) in told.items()} == (
        set(numbers) - {("ERROR_REASON_UNSPECIFIED", 0)}
    )
    assert commented == {name: at for name, at in told.items() if at[1]}
    assert {name: told[name][1] for name in ours} == ours
    assert {name for name, (_, code) in told.items() if code} == set(ours) | {"INTERNAL"}
