"""A source as any client in another language may be one: the basics, and nothing beyond them."""

import grpc
import grpc.aio

from p2p.v1 import peer_pb2
from p2p.v1.peer_pb2_grpc import PeerServiceServicer

_Context = grpc.aio.ServicerContext[object, object]


class BasicSource(PeerServiceServicer):
    """Answers UNIMPLEMENTED to what a source need not have."""

    async def FetchPacked(  # type: ignore[override]  # the stub allows only generators
        self, request: peer_pb2.FetchPackedRequest, context: _Context
    ) -> None:
        await context.abort(grpc.StatusCode.UNIMPLEMENTED)

    async def WatchPieces(  # type: ignore[override]  # the stub allows only generators
        self, request: peer_pb2.WatchPiecesRequest, context: _Context
    ) -> None:
        await context.abort(grpc.StatusCode.UNIMPLEMENTED)

    async def ReportBadPiece(
        self, request: peer_pb2.ReportBadPieceRequest, context: _Context
    ) -> peer_pb2.ReportBadPieceResponse:
        await context.abort(grpc.StatusCode.UNIMPLEMENTED)
        raise AssertionError("abort raises")
