"""Pages of rows and the peers that they name, cut to a number of encoded bytes.

A page holds at least one row when there is one: a row is far smaller than a page.
"""

from collections.abc import Callable
from typing import Final, Protocol, TypeVar

from google.protobuf.message import Message

from p2p.v1 import directory_pb2 as pb
from p2p.v1 import types_pb2 as types
from p2p_server.directory.answers import Paged, Peer, ShownPeer, Source
from p2p_server.directory.models import HoldingRow, PeerId, PeerRow, Resource, ResourceRow
from p2p_server.rpc.wire.answers import endpoint, seconds_and_nanos, timestamp

_TOKEN_BYTES: Final = 8 * 1024  # kept free for the page token, which holds at most one path
_FIELD_BYTES: Final = 6  # tag and length of a row in its page, at most


class _NamesPeer(Protocol):
    @property
    def peer_id(self) -> PeerId: ...


Row = TypeVar("Row", bound=_NamesPeer)
RowMessage = TypeVar("RowMessage", bound=Message)
PeerMessage = TypeVar("PeerMessage", bound=Message)


def resources(found: Paged[ResourceRow, ShownPeer], most_bytes: int) -> pb.QueryResponse:
    rows, peers, token = _fill(found, most_bytes, _listed_resource, listed_peer)
    return pb.QueryResponse(listed_resources=rows, peers=peers, next_page_token=token)


def peers(found: Paged[PeerRow, ShownPeer], most_bytes: int) -> pb.ListPeersResponse:
    rows, _, token = _fill(
        found, most_bytes, lambda row: listed_peer(found.peers[row.peer_id]), listed_peer
    )
    return pb.ListPeersResponse(peers=rows, next_page_token=token)


def holdings(found: Paged[HoldingRow, Source], most_bytes: int) -> pb.LocateResponse:
    rows, sources, token = _fill(found, most_bytes, _holding, _source)
    return pb.LocateResponse(holdings=rows, sources=sources, next_page_token=token)


def _fill(
    found: Paged[Row, Peer],
    most_bytes: int,
    to_row: Callable[[Row], RowMessage],
    to_peer: Callable[[Peer], PeerMessage],
) -> tuple[list[RowMessage], list[PeerMessage], str]:
    """As many rows as fit with the peers they name, and the token of what follows them."""
    rows: list[RowMessage] = []
    peers: dict[PeerId, PeerMessage] = {}
    left = most_bytes - _TOKEN_BYTES
    for at, row in enumerate(found.rows):
        message = to_row(row)
        left -= message.ByteSize() + _FIELD_BYTES
        peer = peers.get(row.peer_id)
        if peer is None:
            peer = to_peer(found.peers[row.peer_id])
            left -= peer.ByteSize() + _FIELD_BYTES
        if left < 0 and rows:
            return rows, list(peers.values()), found.token_after(found.rows[at - 1])
        rows.append(message)
        peers[row.peer_id] = peer
    return rows, list(peers.values()), found.next_token


def _listed_resource(row: ResourceRow) -> pb.ListedResource:
    """Filled in place: a message that is given to another one is copied, and rows are many."""
    listed, found = pb.ListedResource(peer_id=row.peer_id), row.resource
    filled = listed.resource
    filled.path, filled.size_bytes, filled.digest = found.path, found.size_bytes, found.digest
    filled.manifest_digest, filled.media_type = found.manifest_digest, found.media_type
    modified, (seconds, nanos) = filled.modify_time, seconds_and_nanos(found.modified_at)
    modified.seconds, modified.nanos = seconds, nanos
    return listed


def resource(found: Resource) -> types.Resource:
    return types.Resource(
        path=found.path,
        size_bytes=found.size_bytes,
        digest=found.digest,
        manifest_digest=found.manifest_digest,
        modify_time=timestamp(found.modified_at),
        media_type=found.media_type,
    )


def listed_peer(found: ShownPeer) -> pb.ListedPeer:
    return pb.ListedPeer(
        peer_id=found.row.peer_id,
        user=found.row.user,
        endpoints=map(endpoint, found.endpoints),
        online_since_time=timestamp(found.row.online_since),
        resource_count=found.row.resource_count,
        size_bytes=found.row.size_bytes,
        load=pb.PeerLoad(
            active_uploads=found.load.active_uploads, max_uploads=found.load.max_uploads
        ),
    )


def _holding(row: HoldingRow) -> pb.Holding:
    return pb.Holding(
        digest=row.digest,
        peer_id=row.peer_id,
        manifest_digest=row.manifest_digest,
        size_bytes=row.size_bytes,
        partial=row.partial,
    )


def _source(found: Source) -> pb.Source:
    return pb.Source(
        peer_id=found.row.peer_id,
        user=found.row.user,
        endpoints=map(endpoint, found.endpoints),
        certificate_der=found.row.certificate_der,
        grant=found.grant.token,
        grant_expire_time=timestamp(found.grant.expires_at),
    )
