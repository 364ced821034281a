"""A directory that lies gets no bad name, digest, size or address past the wire."""

import contextlib
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from google.protobuf.message import DecodeError, Message
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.certificates import key_pair, peer_key_pair

from p2p.v1 import directory_pb2 as pb
from p2p.v1 import types_pb2 as types
from p2p_client.content.digest import is_digest
from p2p_client.models import (
    AnnounceBatch,
    Digest,
    DirectoryInfo,
    ManifestDigest,
    Query,
    Resource,
    Revision,
    Verdict,
)
from p2p_client.net.checks import is_lawful_path, lawful_endpoint
from p2p_client.net.directory import from_wire, to_wire
from p2p_client.net.directory.from_wire import WireInvalid

PEER_ID = "p" * 22
DIGEST, MANIFEST = "d" * 64, "e" * 64
CERTIFICATE_DER = peer_key_pair().certificate_der
INFO = DirectoryInfo("f" * 64, "", False, b"c", 1, 1, 1, 1)


def query_answer() -> pb.QueryResponse:
    answer = pb.QueryResponse()
    answer.listed_resources.add(
        peer_id=PEER_ID,
        resource=types.Resource(
            path="a/b.png",
            size_bytes=5,
            digest=DIGEST,
            manifest_digest=MANIFEST,
            media_type="image/png",
        ),
    )
    answer.peers.add(
        peer_id=PEER_ID, user="bob", endpoints=[types.Endpoint(host="192.0.2.1", port=7)]
    )
    return answer


def locate_answer() -> pb.LocateResponse:
    answer = pb.LocateResponse()
    answer.holdings.add(
        digest=DIGEST, peer_id=PEER_ID, manifest_digest=MANIFEST, size_bytes=5, partial=True
    )
    answer.sources.add(
        peer_id=PEER_ID,
        user="bob",
        endpoints=[types.Endpoint(host="192.0.2.1", port=7)],
        certificate_der=CERTIFICATE_DER,
        grant="a.b.c",
    )
    return answer


def test_an_honest_answer_comes_through_whole() -> None:
    [found] = from_wire.resources(query_answer())
    [holding] = from_wire.holdings(locate_answer(), {Digest(DIGEST)}, insecure=False)

    assert (found.resource.path, found.resource.size_bytes) == ("a/b.png", 5)
    assert found.resource.media_type == "image/png"
    assert str(found.peer.endpoint) == "192.0.2.1:7"
    assert holding.source.certificate_der == CERTIFICATE_DER
    assert holding.partial


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("path", "../../x"),
        ("path", "/etc/passwd"),
        ("path", "a\x1b[2J"),
        ("path", "a\u202eb"),
        ("path", ""),
        ("path", "x" * 5_000),
        ("size_bytes", -1),
        ("digest", "D" * 64),
        ("digest", "../" + "d" * 61),
        ("digest", ""),
        ("manifest_digest", "e" * 63),
    ],
)
def test_a_resource_that_breaks_a_rule_is_dropped(field: str, value: object) -> None:
    answer = query_answer()
    setattr(answer.listed_resources[0].resource, field, value)

    assert from_wire.resources(answer) == []


@pytest.mark.parametrize("user", ["", "a b", "\x1b[2J", "-", "b" * 65, "böb"])
def test_a_peer_with_such_a_name_is_dropped_with_what_it_shares(user: str) -> None:
    answer = query_answer()
    answer.peers[0].user = user

    assert from_wire.resources(answer) == []
    assert from_wire.peers(answer.peers) == []


def test_a_resource_of_nobody_is_dropped() -> None:
    answer = query_answer()
    del answer.peers[:]

    assert from_wire.resources(answer) == []


def test_an_odd_media_type_is_forgotten_not_shown() -> None:
    answer = query_answer()
    answer.listed_resources[0].resource.media_type = "a/\x1b[2J"

    assert from_wire.resources(answer)[0].resource.media_type == ""


def _set(field: str, value: object) -> Callable[[Message], None]:
    return lambda message: setattr(message, field, value)


@pytest.mark.parametrize(
    "spoil",
    [
        _set("digest", "0" * 64),
        _set("manifest_digest", "x"),
        _set("size_bytes", -1),
        _set("peer_id", "q" * 22),
    ],
    ids=["not asked for", "manifest", "size", "nobody"],
)
def test_a_holding_that_breaks_a_rule_is_dropped(spoil: Callable[[Message], None]) -> None:
    answer = locate_answer()
    spoil(answer.holdings[0])

    assert from_wire.holdings(answer, {Digest(DIGEST)}, insecure=False) == []


@pytest.mark.parametrize(
    "spoil",
    [
        _set("user", ""),
        _set("peer_id", "short"),
        _set("grant", ""),
        _set("grant", "a\r\nx-evil: 1"),
        _set("grant", "x" * 9_000),
        _set("certificate_der", b""),
        _set("certificate_der", b"junk"),
        _set("certificate_der", key_pair("bank.example").certificate_der),
    ],
    ids=["user", "peer_id", "no grant", "header", "huge", "no certificate", "junk", "other name"],
)
def test_a_source_that_breaks_a_rule_is_dropped(spoil: Callable[[Message], None]) -> None:
    answer = locate_answer()
    spoil(answer.sources[0])

    assert from_wire.holdings(answer, {Digest(DIGEST)}, insecure=False) == []


def test_in_an_insecure_network_certificates_mean_nothing() -> None:
    answer = locate_answer()
    answer.sources[0].certificate_der = b"junk"

    [holding] = from_wire.holdings(answer, {Digest(DIGEST)}, insecure=True)

    assert holding.source.certificate_der == b""


def test_endpoints_are_checked_made_unique_and_counted() -> None:
    answer = locate_answer()
    endpoints = answer.sources[0].endpoints
    endpoints.add(host="169.254.169.254", port=80)
    endpoints.add(host="::ffff:192.0.2.1", port=7)
    endpoints.extend(types.Endpoint(host="192.0.2.2", port=port) for port in range(1, 100))

    [holding] = from_wire.holdings(answer, {Digest(DIGEST)}, insecure=False)

    assert len(holding.source.endpoints) == from_wire.MOST_ENDPOINTS
    assert [at.host for at in holding.source.endpoints[:2]] == ["192.0.2.1", "192.0.2.2"]


@pytest.mark.parametrize(
    ("lease", "interval", "kept"),
    [
        (30, 10, (30.0, 10.0)),
        (0, 0, (0.5, 0.2)),
        (-5, -1, (0.5, 0.2)),
        (1 << 60, 1 << 60, (3_600.0, 3_600.0)),
        (10, 1_000, (10.0, 10.0)),
    ],
)
def test_leases_and_intervals_are_kept_within_reason(
    lease: int, interval: int, kept: tuple[float, float]
) -> None:
    answer = pb.HeartbeatResponse()
    answer.lease_duration.seconds, answer.heartbeat_interval.seconds = lease, interval

    renewed = from_wire.renewed(answer)

    assert (renewed.lease_seconds, renewed.heartbeat_interval_seconds) == kept


@pytest.mark.parametrize(
    "revision",
    [
        types.Revision(epoch="e", counter=-1),
        types.Revision(epoch="a b", counter=1),
        types.Revision(epoch="e" * 65, counter=1),
        types.Revision(counter=7),
    ],
)
def test_a_malformed_revision_is_nothing_held(revision: types.Revision) -> None:
    answer = pb.HeartbeatResponse(held_revision=revision)

    assert from_wire.renewed(answer).held == Revision()


def test_a_verdict_of_tomorrow_is_not_reachable() -> None:
    answer = pb.HeartbeatResponse()
    answer.ParseFromString(
        answer.SerializeToString()
        + b"\x2a\x0f\x0a\x0b\x0a\x07\x31\x2e\x32\x2e\x33\x2e\x34\x10\x01\x10\x63"
    )

    [status] = from_wire.renewed(answer).endpoint_statuses

    assert (str(status.endpoint), status.verdict) == ("1.2.3.4:1", Verdict.UNREACHABLE)


def test_limits_of_the_directory_only_ever_lower_ours() -> None:
    answer = pb.GetDirectoryInfoResponse(
        directory_id="f" * 64,
        challenge=b"c",
        transport_security=pb.TRANSPORT_SECURITY_TLS,
        limits=types.Limits(
            max_announce_items=-1, max_request_bytes=0, max_page_size=7, max_locate_digests=1 << 30
        ),
    )

    info = from_wire.info(answer)

    assert (info.max_announce_items, info.max_request_bytes) == (5_000, 1 << 20)
    assert (info.max_page_size, info.max_locate_digests) == (7, 1_000)


@pytest.mark.parametrize(
    "spoil",
    [
        _set("directory_id", "x"),
        _set("challenge", b""),
        _set("challenge", bytes(5_000)),
        _set("transport_security", pb.TRANSPORT_SECURITY_UNSPECIFIED),
    ],
    ids=["id", "no challenge", "huge challenge", "neither"],
)
def test_what_cannot_be_registered_with_is_said(spoil: Callable[[Message], None]) -> None:
    answer = pb.GetDirectoryInfoResponse(
        directory_id="f" * 64,
        challenge=b"c",
        transport_security=pb.TRANSPORT_SECURITY_TLS,
    )
    spoil(answer)

    with pytest.raises(WireInvalid):
        from_wire.info(answer)


def test_texts_of_rejected_items_are_made_safe() -> None:
    answer = pb.AnnounceResponse()
    answer.rejected_items.add(item="a\x1b[2J", reason=types.ERROR_REASON_PATH_INVALID, message="\n")

    [item] = from_wire.announced(answer).rejected

    assert (item.item, item.reason, item.message) == ("a [2J", "PATH_INVALID", "")


MESSAGES = [
    (pb.QueryResponse, from_wire.resources),
    (pb.HeartbeatResponse, from_wire.renewed),
    (pb.AnnounceResponse, from_wire.announced),
    (pb.LocateResponse, lambda at: from_wire.holdings(at, {Digest(DIGEST)}, insecure=True)),
    (pb.RegisterResponse, lambda at: from_wire.granted(at, INFO)),
    (pb.GetDirectoryInfoResponse, from_wire.info),
]


@settings(max_examples=200, deadline=None)
@given(
    path=st.text(max_size=40),
    digest=st.one_of(st.just(DIGEST), st.text("0123456789abcdefG", max_size=70)),
    size_bytes=st.integers(-(1 << 63), (1 << 63) - 1),
    host=st.one_of(st.text(max_size=20), st.ip_addresses().map(str)),
    port=st.integers(-(1 << 31), (1 << 31) - 1),
    seconds=st.integers(-(1 << 63), (1 << 63) - 1),
)
def test_what_gets_past_keeps_to_every_rule(
    path: str, digest: str, size_bytes: int, host: str, port: int, seconds: int
) -> None:
    answer = query_answer()
    resource, peer = answer.listed_resources[0].resource, answer.peers[0]
    resource.path, resource.digest, resource.size_bytes = path, digest, size_bytes
    resource.modify_time.seconds = peer.online_since_time.seconds = seconds
    peer.endpoints[0].host, peer.endpoints[0].port = host, port

    for found in from_wire.resources(answer):
        assert is_lawful_path(found.resource.path)
        assert is_digest(found.resource.digest)
        assert found.resource.size_bytes >= 0
        assert all(lawful_endpoint(at.host, at.port) == at for at in found.peer.endpoints)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.sampled_from(MESSAGES))
def test_no_bytes_at_all_break_the_conversion(
    encoded: bytes, kind: tuple[type[Message], Callable[..., object]]
) -> None:
    message, convert = kind[0](), kind[1]
    with contextlib.suppress(DecodeError, WireInvalid):
        message.ParseFromString(encoded)
        convert(message)


@settings(deadline=None)
@given(
    path=st.text(max_size=30),
    counter=st.integers(0, 1 << 62),
    modified_at=st.datetimes(datetime(1970, 1, 1), datetime(9000, 1, 1)),
)
def test_a_batch_says_on_the_wire_what_it_says_here(
    path: str, counter: int, modified_at: datetime
) -> None:
    resource = Resource(
        path, 7, Digest(DIGEST), ManifestDigest(MANIFEST), modified_at.replace(tzinfo=UTC), "a/b"
    )
    request = to_wire.announce(
        AnnounceBatch(Revision("e", counter + 1), [resource], ["gone"], base=Revision("e", counter))
    )

    [sent] = request.resources
    assert sent.modify_time.ToDatetime(UTC) == resource.modified_at
    assert (sent.path, sent.size_bytes, sent.digest) == (path, 7, DIGEST)
    assert (request.base.counter, request.revision.counter) == (counter, counter + 1)
    assert list(request.withdrawn_paths) == ["gone"]
    assert not request.HasField("snapshot")


def test_sizes_of_a_query_are_absent_or_sent() -> None:
    assert not to_wire.query(Query(), 0, "").HasField("min_size_bytes")
    assert to_wire.query(Query(min_size_bytes=0), 0, "").HasField("min_size_bytes")
