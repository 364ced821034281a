"""Following which pieces a partial source has: WatchPieces, asked and bounded.

What it says is a claim: the pieces themselves are verified like any other.
"""

import asyncio
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

import grpc

from p2p.v1 import peer_pb2
from p2p.v1.peer_pb2_grpc import PeerServiceStub
from p2p_client.content.manifest import PieceIndex
from p2p_client.content.piece_map import PieceMap
from p2p_client.download.picker.pieces import Pieces, held_pieces
from p2p_client.errors import SourceMisbehaved, SourceUnavailable
from p2p_client.models import Holding
from p2p_client.net.status import source_error

if TYPE_CHECKING:
    from p2p.v1.peer_pb2_grpc import PeerServiceAsyncStub
    from p2p_client.net.channels import PeerChannels

    WatchCall = grpc.aio.UnaryStreamCall[peer_pb2.WatchPiecesRequest, peer_pb2.WatchPiecesResponse]

MOST_PIECES_TOLD = 65_536
TOLD_AGAIN = 64
"""How much of what it says may be nothing new, in messages and pieces."""


async def watch_pieces(
    holding: Holding, channels: "PeerChannels", piece_count: int, patience_seconds: float
) -> AsyncGenerator[Pieces, None]:
    """The pieces that the source has, then those that it comes to have; ends when it has all.

    The first answer comes within the patience. After it silence is lawful, for nothing may happen
    for long; that the connection lives is seen by its keepalive.

    Raises:
        SourceMisbehaved: what it says cannot be, or is said again and again: every piece is told
            once, so a stream ends after as many messages as there are pieces.
        SourceUnavailable, SourceStale: it does not tell, or not any more.
    """
    channel = await channels.channel(holding.source)  # not closed as long as we hold it
    call = _call(PeerServiceStub(channel), holding)
    try:
        patience: float | None = patience_seconds
        left = 2 * piece_count + TOLD_AGAIN  # each piece once, each message with one at least
        while True:
            async with asyncio.timeout(patience):
                message = await call.read()
            if not isinstance(message, peer_pb2.WatchPiecesResponse):
                return
            left -= 1 + len(message.added_pieces)
            if left < 0:
                raise SourceMisbehaved("it tells its pieces over and over", reason="TOO_MUCH")
            yield _told(message, piece_count, is_first=patience is not None)
            patience = None
    except TimeoutError:
        seconds = f"{patience_seconds:g} s"
        raise SourceUnavailable(f"it told no pieces for {seconds}", reason="STALLED") from None
    except grpc.aio.AioRpcError as error:
        raise source_error(error) from None
    except (grpc.aio.UsageError, asyncio.InvalidStateError) as error:
        raise SourceUnavailable("the connection was closed", reason="UNREACHABLE") from error
    finally:
        call.cancel()


def _call(stub: "PeerServiceAsyncStub", holding: Holding) -> "WatchCall":
    request = peer_pb2.WatchPiecesRequest(
        digest=holding.digest, manifest_digest=holding.manifest_digest
    )
    grant = holding.source.grant
    return stub.WatchPieces(
        request, metadata=(("authorization", f"Bearer {grant}"),) if grant else ()
    )


def _told(message: peer_pb2.WatchPiecesResponse, piece_count: int, *, is_first: bool) -> Pieces:
    if len(message.added_pieces) > MOST_PIECES_TOLD or (message.bitmap and not is_first):
        raise _nonsense()
    pieces = 0
    if is_first:
        try:
            pieces = held_pieces(PieceMap.from_bytes(piece_count, message.bitmap))
        except ValueError:
            raise _nonsense() from None
    added = PieceMap(piece_count)
    for piece in message.added_pieces:
        if not 0 <= piece < piece_count:
            raise _nonsense()
        added.add(PieceIndex(piece))
    return pieces | held_pieces(added)


def _nonsense() -> SourceMisbehaved:
    return SourceMisbehaved("it names pieces that the content does not have", reason="BAD_PIECES")
