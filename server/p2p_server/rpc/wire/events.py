"""Events of a watch, from the directory's values to the wire."""

from p2p.v1 import directory_pb2 as pb
from p2p_server.directory.answers import ShownEvents
from p2p_server.directory.watching.log import Happening, Kind
from p2p_server.rpc.wire.pages import listed_peer, resource

_KINDS = {
    Kind.APPEARED: pb.WATCH_EVENT_KIND_RESOURCE_APPEARED,
    Kind.CHANGED: pb.WATCH_EVENT_KIND_RESOURCE_CHANGED,
    Kind.GONE: pb.WATCH_EVENT_KIND_RESOURCE_GONE,
    Kind.PEER_CAME: pb.WATCH_EVENT_KIND_PEER_CAME,
    Kind.PEER_LEFT: pb.WATCH_EVENT_KIND_PEER_LEFT,
    Kind.STARTED_ANEW: pb.WATCH_EVENT_KIND_STARTED_ANEW,
    Kind.CAUGHT_UP: pb.WATCH_EVENT_KIND_CAUGHT_UP,
}


def shown(found: ShownEvents) -> pb.WatchResponse:
    return pb.WatchResponse(
        events=map(_event, found.events),
        peers=map(listed_peer, found.peers.values()),
        resume_token=found.resume_token,
    )


def _event(happening: Happening) -> pb.WatchEvent:
    return pb.WatchEvent(
        kind=_KINDS[happening.kind],
        peer_id="" if happening.peer is None else happening.peer.peer_id,
        resource=None if happening.resource is None else resource(happening.resource),
    )
