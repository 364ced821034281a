"""Requests, from the wire to what the directory understands.

Nothing is judged here but what cannot be said otherwise; numbers and names go on as they came.
"""

import math

from google.protobuf.timestamp_pb2 import Timestamp

from p2p.v1 import directory_pb2 as pb
from p2p.v1 import types_pb2 as types
from p2p_server.directory.answers import Wish
from p2p_server.directory.checks.criteria import Asked
from p2p_server.directory.checks.items import checked_revision
from p2p_server.directory.errors import FieldInvalid
from p2p_server.directory.models import (
    NOTHING_HELD,
    Batch,
    Digest,
    Endpoint,
    Order,
    PartialContent,
    Resource,
    Revision,
)
from p2p_server.directory.presence.registration import Application, PeerLoad

_ORDERS = {
    pb.RESOURCE_ORDER_UNSPECIFIED: Order.PATH,
    pb.RESOURCE_ORDER_PATH: Order.PATH,
    pb.RESOURCE_ORDER_LARGEST: Order.LARGEST,
    pb.RESOURCE_ORDER_SMALLEST: Order.SMALLEST,
    pb.RESOURCE_ORDER_NEWEST: Order.NEWEST,
}


def application(request: pb.RegisterRequest) -> Application:
    return Application(
        user=request.user,
        certificate_der=request.certificate_der,
        peer_id=request.peer_id,
        challenge=request.challenge,
        proof=request.proof,
        listed=request.listed,
        endpoints=tuple(Endpoint(e.host, e.port) for e in request.endpoints),
        listen_port=request.listen_port,
        client_software=request.client_software,
    )


def _load(message: pb.PeerLoad) -> PeerLoad:
    if message.active_uploads < 0 or message.max_uploads < 0:
        raise FieldInvalid("load", "must not be negative")
    return PeerLoad(message.active_uploads, message.max_uploads)


def batch(request: pb.AnnounceRequest) -> Batch:
    is_snapshot = request.HasField("snapshot")
    if is_snapshot and not request.snapshot.snapshot_id:
        raise FieldInvalid("snapshot.snapshot_id", "must be set")
    return Batch(
        revision=revision(request.revision),
        base=NOTHING_HELD if is_snapshot else revision(request.base),
        resources=tuple(map(_resource, request.resources)),
        withdrawn_paths=tuple(request.withdrawn_paths),
        partials=tuple(map(_partial, request.partial_contents)),
        withdrawn_partials=tuple(map(Digest, request.withdrawn_partial_digests)),
        snapshot_id=request.snapshot.snapshot_id,
        batch_index=request.snapshot.batch_index,
        last=request.snapshot.last,
    )


def revision(message: types.Revision) -> Revision:
    return Revision(message.epoch, message.counter)


def heartbeat(request: pb.HeartbeatRequest) -> PeerLoad:
    """The load. The revision serves the peer alone, who sees in the answer what is held."""
    checked_revision("revision", revision(request.revision))
    return _load(request.load)


def asked(request: pb.QueryRequest) -> Asked:
    order = _ORDERS.get(request.order)
    if order is None:
        raise FieldInvalid("order", "is none that this directory knows")
    return Asked(
        text=request.text,
        glob=request.glob,
        path=request.path,
        name=request.name,
        owner=request.owner,
        digest_prefix=request.digest_prefix,
        min_size_bytes=request.min_size_bytes if request.HasField("min_size_bytes") else None,
        max_size_bytes=request.max_size_bytes if request.HasField("max_size_bytes") else None,
        media_type=request.media_type,
        order=order,
    )


def wish(request: pb.WatchRequest) -> Wish:
    query = pb.QueryRequest()
    query.CopyFrom(request.query)
    query.ClearField("order")
    return Wish(asked(query), request.only_new, not request.without_peers, request.resume_token)


def _resource(message: types.Resource) -> Resource:
    return Resource(
        path=message.path,
        size_bytes=message.size_bytes,
        digest=Digest(message.digest),
        manifest_digest=Digest(message.manifest_digest),
        modified_at=_unix_seconds(message.modify_time),
        media_type=message.media_type,
    )


def _partial(message: types.PartialContent) -> PartialContent:
    return PartialContent(
        Digest(message.digest), Digest(message.manifest_digest), message.size_bytes
    )


def _unix_seconds(time: Timestamp) -> float:
    """Not a number when the Timestamp is malformed: the check of the item then refuses it."""
    nanos: int = time.nanos
    return time.seconds + nanos / 1e9 if 0 <= nanos < 1_000_000_000 else math.nan
