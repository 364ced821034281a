"""Answers, from the directory's values to the wire. Pages are in `pages.py`."""

from collections.abc import Iterable

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from p2p.v1 import directory_pb2 as pb
from p2p.v1 import types_pb2 as types
from p2p_server.directory.answers import Description, Taken
from p2p_server.directory.models import Endpoint, EndpointStatus, Limits, Revision, Verdict
from p2p_server.directory.presence.registration import Granted, Renewed
from p2p_server.version import software_version

_VERDICTS = {
    Verdict.PENDING: pb.ENDPOINT_VERDICT_PENDING,
    Verdict.REACHABLE: pb.ENDPOINT_VERDICT_REACHABLE,
    Verdict.LOCAL_ONLY: pb.ENDPOINT_VERDICT_LOCAL_ONLY,
    Verdict.UNREACHABLE: pb.ENDPOINT_VERDICT_UNREACHABLE,
    Verdict.REFUSED: pb.ENDPOINT_VERDICT_REFUSED,
}
_REJECTIONS = {
    "PATH_INVALID": types.ERROR_REASON_PATH_INVALID,
    "ITEM_INVALID": types.ERROR_REASON_ITEM_INVALID,
}
_CAPABILITIES = (
    types.CAPABILITY_GRANTS,
    types.CAPABILITY_SNAPSHOTS,
    types.CAPABILITY_PARTIAL_CONTENTS,
    types.CAPABILITY_WATCH,
)


def description(found: Description, *, insecure: bool) -> pb.GetDirectoryInfoResponse:
    return pb.GetDirectoryInfoResponse(
        directory_id=found.directory_id,
        software_version=software_version(),
        capabilities=_CAPABILITIES,
        limits=_limits(found.limits),
        transport_security=(
            pb.TRANSPORT_SECURITY_INSECURE if insecure else pb.TRANSPORT_SECURITY_TLS
        ),
        challenge=found.challenge,
        directory_time=timestamp(found.directory_time),
    )


def _limits(limits: Limits) -> types.Limits:
    return types.Limits(
        max_announce_items=limits.max_announce_items,
        max_request_bytes=limits.max_request_bytes,
        max_page_size=limits.max_page_size,
        max_locate_digests=limits.max_locate_digests,
        max_resources_per_user=limits.max_resources_per_user,
        max_peers_per_user=limits.max_peers_per_user,
        max_path_bytes=limits.max_path_bytes,
        max_path_levels=limits.max_path_levels,
    )


def granted(found: Granted, grant_key_der: bytes) -> pb.RegisterResponse:
    lease = found.lease
    return pb.RegisterResponse(
        session_token=found.token,
        lease_duration=_duration(lease.lease_seconds),
        heartbeat_interval=_duration(lease.heartbeat_seconds),
        directory_time=timestamp(lease.directory_time),
        held_revision=_revision(lease.held),
        grant_key_der=grant_key_der,
        observed_host=found.observed_host,
        endpoint_statuses=_statuses(lease.endpoint_statuses),
    )


def renewed(lease: Renewed) -> pb.HeartbeatResponse:
    return pb.HeartbeatResponse(
        lease_duration=_duration(lease.lease_seconds),
        heartbeat_interval=_duration(lease.heartbeat_seconds),
        directory_time=timestamp(lease.directory_time),
        held_revision=_revision(lease.held),
        endpoint_statuses=_statuses(lease.endpoint_statuses),
    )


def taken(found: Taken) -> pb.AnnounceResponse:
    return pb.AnnounceResponse(
        held_revision=_revision(found.held),
        rejected_items=[
            pb.RejectedItem(item=item.item, reason=_REJECTIONS[item.reason], message=item.message)
            for item in found.rejected
        ],
    )


def endpoint(found: Endpoint) -> types.Endpoint:
    return types.Endpoint(host=found.host, port=found.port)


def timestamp(unix_seconds: float) -> Timestamp:
    seconds, nanos = seconds_and_nanos(unix_seconds)
    return Timestamp(seconds=seconds, nanos=nanos)


def seconds_and_nanos(unix_seconds: float) -> tuple[int, int]:
    seconds, fraction = divmod(unix_seconds, 1)
    return int(seconds), min(int(fraction * 1e9), 999_999_999)


def _duration(seconds: float) -> Duration:
    whole, fraction = divmod(seconds, 1)
    return Duration(seconds=int(whole), nanos=int(fraction * 1e9))


def _revision(found: Revision) -> types.Revision:
    return types.Revision(epoch=found.epoch, counter=found.counter)


def _statuses(found: Iterable[EndpointStatus]) -> list[pb.EndpointStatus]:
    return [
        pb.EndpointStatus(endpoint=endpoint(s.endpoint), verdict=_VERDICTS[s.verdict])
        for s in found
    ]
