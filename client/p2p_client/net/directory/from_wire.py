"""From the directory's messages to our values.

What comes in is hostile until shown otherwise: durations, counts and limits are clamped, texts made
printable, and listed items that break a rule of the contract are dropped, so nothing past this file
needs to ask whether a path, digest or address is well-formed.
"""

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from p2p.v1 import directory_pb2 as pb
from p2p.v1 import types_pb2 as types
from p2p_client.content.digest import is_digest
from p2p_client.models import (
    Announced,
    Digest,
    DirectoryInfo,
    Endpoint,
    EndpointStatus,
    Granted,
    Happened,
    Holding,
    ListedPeer,
    ListedResource,
    ManifestDigest,
    PeerId,
    RejectedItem,
    Renewed,
    Resource,
    Revision,
    Source,
    Verdict,
    WatchEvent,
)
from p2p_client.net.checks import (
    LONGEST_GRANT,
    LONGEST_TOKEN,
    clamp,
    instant,
    is_bearer,
    is_epoch,
    is_lawful_path,
    is_media_type,
    is_peer_id,
    is_user,
    lawful_endpoint,
    parse_literal,
)
from p2p_client.net.identity import PEER_NAME, CertificateUnfit, check_profile
from p2p_client.net.status import printable

SHORTEST_LEASE_SECONDS = 0.5
LONGEST_LEASE_SECONDS = 3_600.0
SHORTEST_INTERVAL_SECONDS = 0.2
MOST_ENDPOINTS = 16
MOST_HOLDINGS_PER_PAGE = 10_000

_VERDICTS: Mapping[int, Verdict] = {
    pb.ENDPOINT_VERDICT_PENDING: Verdict.PENDING,
    pb.ENDPOINT_VERDICT_REACHABLE: Verdict.REACHABLE,
    pb.ENDPOINT_VERDICT_LOCAL_ONLY: Verdict.LOCAL_ONLY,
    pb.ENDPOINT_VERDICT_UNREACHABLE: Verdict.UNREACHABLE,
    pb.ENDPOINT_VERDICT_REFUSED: Verdict.REFUSED,
}


_HAPPENED: Mapping[int, Happened] = {
    pb.WATCH_EVENT_KIND_RESOURCE_APPEARED: Happened.APPEARED,
    pb.WATCH_EVENT_KIND_RESOURCE_CHANGED: Happened.CHANGED,
    pb.WATCH_EVENT_KIND_RESOURCE_GONE: Happened.GONE,
    pb.WATCH_EVENT_KIND_PEER_CAME: Happened.PEER_CAME,
    pb.WATCH_EVENT_KIND_PEER_LEFT: Happened.PEER_LEFT,
    pb.WATCH_EVENT_KIND_STARTED_ANEW: Happened.STARTED_ANEW,
    pb.WATCH_EVENT_KIND_CAUGHT_UP: Happened.CAUGHT_UP,
}
_OF_PEERS = frozenset({Happened.PEER_CAME, Happened.PEER_LEFT})
_OF_THE_WATCH = frozenset({Happened.STARTED_ANEW, Happened.CAUGHT_UP})


class WireInvalid(ValueError):
    """An answer that cannot be used at all; the text says what is wrong with it."""


def info(answer: pb.GetDirectoryInfoResponse) -> DirectoryInfo:
    """Raises WireInvalid where there is nothing to register with."""
    if not is_digest(answer.directory_id):
        raise WireInvalid("its directory_id is not 64 hexadecimal characters")
    if not 1 <= len(answer.challenge) <= 1_024:
        raise WireInvalid(f"its challenge has {len(answer.challenge)} bytes")
    if answer.transport_security not in (
        pb.TRANSPORT_SECURITY_TLS,
        pb.TRANSPORT_SECURITY_INSECURE,
    ):
        raise WireInvalid("it does not say whether its network uses TLS")
    limits = answer.limits
    return DirectoryInfo(
        directory_id=answer.directory_id,
        software_version=printable(answer.software_version, 128),
        insecure=answer.transport_security == pb.TRANSPORT_SECURITY_INSECURE,
        challenge=answer.challenge,
        max_announce_items=_limit(limits.max_announce_items, 5_000),
        max_request_bytes=_limit(limits.max_request_bytes, 1 << 20),
        max_page_size=_limit(limits.max_page_size, 1_000),
        max_locate_digests=_limit(limits.max_locate_digests, 1_000),
    )


def granted(answer: pb.RegisterResponse, info: DirectoryInfo) -> tuple[str, Granted]:
    """The session's token, and the rest. Raises WireInvalid for a token no call could carry."""
    token = answer.session_token
    if not is_bearer(token, LONGEST_TOKEN):
        raise WireInvalid("its session token is malformed")
    observed = parse_literal(answer.observed_host)
    return token, Granted(
        directory_id=info.directory_id,
        grant_key_der=answer.grant_key_der[:1_024],
        observed_host="" if observed is None else str(observed),
        max_announce_items=info.max_announce_items,
        max_request_bytes=info.max_request_bytes,
        renewed=renewed(answer),
    )


def renewed(answer: pb.RegisterResponse | pb.HeartbeatResponse) -> Renewed:
    lease_seconds = clamp(
        _seconds(answer.lease_duration), SHORTEST_LEASE_SECONDS, LONGEST_LEASE_SECONDS
    )
    return Renewed(
        lease_seconds=lease_seconds,
        heartbeat_interval_seconds=clamp(
            _seconds(answer.heartbeat_interval), SHORTEST_INTERVAL_SECONDS, lease_seconds
        ),
        directory_time=_instant(answer.directory_time),
        held=_revision(answer.held_revision),
        endpoint_statuses=tuple(_statuses(answer.endpoint_statuses)),
    )


def announced(answer: pb.AnnounceResponse) -> Announced:
    return Announced(
        held=_revision(answer.held_revision),
        rejected=tuple(
            RejectedItem(
                item=printable(item.item, 256),
                reason=types.ErrorReason.Name(item.reason).removeprefix("ERROR_REASON_")
                if item.reason in types.ErrorReason.values()
                else "UNSPECIFIED",
                message=printable(item.message),
            )
            for item in answer.rejected_items
        ),
    )


def resources(answer: pb.QueryResponse) -> list[ListedResource]:
    """What was found, without the items that break a rule or whose peer is missing."""
    owners = {peer.peer_id: peer for peer in peers(answer.peers)}
    found = []
    for listed in answer.listed_resources:
        peer = owners.get(PeerId(listed.peer_id))
        resource = _resource(listed.resource)
        if peer is not None and resource is not None:
            found.append(ListedResource(resource, peer))
    return found


def peers(listed: Iterable[pb.ListedPeer]) -> list[ListedPeer]:
    return [
        ListedPeer(
            peer_id=PeerId(peer.peer_id),
            user=peer.user,
            endpoints=_endpoints(peer.endpoints),
            online_since=_instant(peer.online_since_time),
            resource_count=max(0, peer.resource_count),
            size_bytes=max(0, peer.size_bytes),
        )
        for peer in listed
        if is_peer_id(peer.peer_id) and is_user(peer.user)
    ]


def watch_events(answer: pb.WatchResponse) -> list[WatchEvent]:
    """What was told, without the events that break a rule or are of no kind that we know."""
    owners = {peer.peer_id: peer for peer in peers(answer.peers)}
    found = []
    for event in answer.events:
        kind = _HAPPENED.get(event.kind)
        if kind in _OF_THE_WATCH:
            found.append(WatchEvent(kind))
            continue
        peer = owners.get(PeerId(event.peer_id))
        resource = _resource(event.resource) if event.HasField("resource") else None
        if kind is not None and peer is not None and (kind in _OF_PEERS) == (resource is None):
            found.append(WatchEvent(kind, peer, resource))
    return found


def holdings(
    answer: pb.LocateResponse, asked: Collection[Digest], *, insecure: bool
) -> list[Holding]:
    """The sources of what was asked for, without those that break a rule."""
    sources = {
        source.peer_id: source
        for wired in answer.sources
        if (source := _source(wired, insecure=insecure)) is not None
    }
    return [
        Holding(
            digest=Digest(holding.digest),
            source=sources[PeerId(holding.peer_id)],
            manifest_digest=ManifestDigest(holding.manifest_digest),
            size_bytes=holding.size_bytes,
            partial=holding.partial,
        )
        for holding in answer.holdings[:MOST_HOLDINGS_PER_PAGE]
        if holding.digest in asked
        and is_digest(holding.manifest_digest)
        and holding.size_bytes >= 0
        and holding.peer_id in sources
    ]


def page_token(token: str) -> str:
    """An absurd token ends the listing: what came so far is all there is to get."""
    return token if len(token) <= LONGEST_TOKEN else ""


def _resource(resource: types.Resource) -> Resource | None:
    if not (
        is_digest(resource.digest)
        and is_digest(resource.manifest_digest)
        and resource.size_bytes >= 0
        and is_lawful_path(resource.path)
    ):
        return None
    media_type = resource.media_type
    return Resource(
        path=resource.path,
        size_bytes=resource.size_bytes,
        digest=Digest(resource.digest),
        manifest_digest=ManifestDigest(resource.manifest_digest),
        modified_at=_instant(resource.modify_time),
        media_type=media_type if is_media_type(media_type) else "",
    )


def _source(source: pb.Source, *, insecure: bool) -> Source | None:
    if not (is_peer_id(source.peer_id) and is_user(source.user)):
        return None
    if not is_bearer(source.grant, LONGEST_GRANT):
        return None
    if not insecure:
        try:
            check_profile(source.certificate_der, PEER_NAME)
        except CertificateUnfit:
            return None
    return Source(
        peer_id=PeerId(source.peer_id),
        user=source.user,
        endpoints=_endpoints(source.endpoints),
        certificate_der=b"" if insecure else source.certificate_der,
        grant=source.grant,
        grant_expires_at=_instant(source.grant_expire_time),
    )


def _endpoints(endpoints: Iterable[types.Endpoint]) -> tuple[Endpoint, ...]:
    lawful = (lawful_endpoint(endpoint.host, endpoint.port) for endpoint in endpoints)
    return tuple(dict.fromkeys(at for at in lawful if at is not None))[:MOST_ENDPOINTS]


def _statuses(statuses: Iterable[pb.EndpointStatus]) -> Iterable[EndpointStatus]:
    """Verdicts are on our own candidates: also on those that nobody should dial."""
    for status in statuses:
        host = parse_literal(status.endpoint.host)
        if host is not None and 0 <= status.endpoint.port <= 65_535:
            verdict = _VERDICTS.get(status.verdict, Verdict.UNREACHABLE)
            yield EndpointStatus(Endpoint(str(host), status.endpoint.port), verdict)


def _revision(revision: types.Revision) -> Revision:
    """A malformed one counts as nothing held: then a snapshot mends it."""
    if revision.counter < 0 or not is_epoch(revision.epoch):
        return Revision()
    return Revision(revision.epoch, revision.counter)


def _limit(told: int, ours: int) -> int:
    """Zero or less: not told."""
    return min(told, ours) if told > 0 else ours


def _seconds(duration: Duration) -> float:
    return duration.seconds + duration.nanos / 1e9


def _instant(timestamp: Timestamp) -> datetime:
    return instant(timestamp.seconds, timestamp.nanos)
