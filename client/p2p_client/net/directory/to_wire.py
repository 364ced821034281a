"""From our values to the directory's messages."""

from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp

from p2p.v1 import directory_pb2 as pb
from p2p.v1 import types_pb2 as types
from p2p_client.models import (
    AnnounceBatch,
    Endpoint,
    Order,
    PartialContent,
    Query,
    Resource,
    Revision,
)

MOST_PER_PAGE = 1_000
_LARGEST_INT64 = (1 << 63) - 1

_ORDERS = {
    Order.PATH: pb.RESOURCE_ORDER_PATH,
    Order.LARGEST: pb.RESOURCE_ORDER_LARGEST,
    Order.SMALLEST: pb.RESOURCE_ORDER_SMALLEST,
    Order.NEWEST: pb.RESOURCE_ORDER_NEWEST,
}


def revision(revision: Revision) -> types.Revision:
    return types.Revision(epoch=revision.epoch, counter=revision.counter)


def endpoint(endpoint: Endpoint) -> types.Endpoint:
    return types.Endpoint(host=endpoint.host, port=endpoint.port)


def resource(resource: Resource) -> types.Resource:
    return types.Resource(
        path=resource.path,
        size_bytes=resource.size_bytes,
        digest=resource.digest,
        manifest_digest=resource.manifest_digest,
        modify_time=_timestamp(resource.modified_at),
        media_type=resource.media_type,
    )


def partial(partial: PartialContent) -> types.PartialContent:
    return types.PartialContent(
        digest=partial.digest,
        manifest_digest=partial.manifest_digest,
        size_bytes=partial.size_bytes,
    )


def announce(batch: AnnounceBatch) -> pb.AnnounceRequest:
    request = pb.AnnounceRequest(
        revision=revision(batch.revision),
        resources=map(resource, batch.resources),
        withdrawn_paths=batch.withdrawn_paths,
        partial_contents=map(partial, batch.partials),
        withdrawn_partial_digests=batch.withdrawn_partials,
    )
    if batch.base is not None:
        request.base.CopyFrom(revision(batch.base))
    if batch.snapshot_id:
        request.snapshot.snapshot_id = batch.snapshot_id
        request.snapshot.batch_index = batch.batch_index
        request.snapshot.last = batch.last
    return request


def query(query: Query, page_size: int, page_token: str) -> pb.QueryRequest:
    return pb.QueryRequest(
        text=_text(query.text),
        glob=_text(query.glob),
        path=_text(query.path),
        name=_text(query.name),
        owner=_text(query.owner),
        digest_prefix=_text(query.digest_prefix),
        min_size_bytes=_size(query.min_size_bytes),
        max_size_bytes=_size(query.max_size_bytes),
        media_type=_text(query.media_type),
        order=_ORDERS[query.order],
        page_size=min(max(page_size, 0), MOST_PER_PAGE),
        page_token=page_token,
    )


def watch(query_: Query, resume_token: str, *, only_new: bool, with_peers: bool) -> pb.WatchRequest:
    return pb.WatchRequest(
        query=query(query_, 0, ""),
        only_new=only_new,
        without_peers=not with_peers,
        resume_token=resume_token,
    )


def list_peers(user: str, page_token: str) -> pb.ListPeersRequest:
    return pb.ListPeersRequest(user=_text(user), page_size=MOST_PER_PAGE, page_token=page_token)


def _text(typed: str) -> str:
    """What a terminal may hand us that is no text (lone surrogates) becomes `?`."""
    return typed.encode("utf-8", "replace").decode()


def _size(size_bytes: int | None) -> int | None:
    return None if size_bytes is None else max(-1, min(size_bytes, _LARGEST_INT64))


def _timestamp(at: datetime) -> Timestamp:
    timestamp = Timestamp()
    timestamp.FromDatetime(at)
    return timestamp
