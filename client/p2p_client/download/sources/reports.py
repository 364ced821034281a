"""Telling sources of the bad pieces that they sent, beside everything else.

A source whose disk rots does not know; told once, it looks for itself. Best effort: a download
never waits for it, and what cannot be told soon is not told.
"""

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Never

import grpc

from p2p.v1 import peer_pb2
from p2p.v1.peer_pb2_grpc import PeerServiceStub
from p2p_client.content.manifest import PieceIndex
from p2p_client.errors import SourceError
from p2p_client.models import Digest, Holding, PeerId

if TYPE_CHECKING:
    from p2p_client.net.channels import PeerChannels

REPORT_SECONDS = 2.0
MOST_WAITING = 32
MOST_OF_ONE_SOURCE = 4
_MOST_REMEMBERED = 4_096


class Reports:
    """Of all downloads of a peer. Nothing is told before `run` is."""

    def __init__(self, channels: "PeerChannels") -> None:
        self._channels = channels
        self._waiting: asyncio.Queue[tuple[Holding, PieceIndex]] = asyncio.Queue(MOST_WAITING)
        self._told: dict[tuple[PeerId, Digest], set[PieceIndex]] = {}

    def add(self, holding: Holding, piece: PieceIndex) -> None:
        """The piece came from the source of the holding and does not fit the manifest. Again, or
        where there is too much to tell, nothing happens."""
        told = self._told.setdefault((holding.source.peer_id, holding.digest), set())
        if piece in told or len(told) >= MOST_OF_ONE_SOURCE:
            return
        with suppress(asyncio.QueueFull):
            self._waiting.put_nowait((holding, piece))
            told.add(piece)
        if len(self._told) > _MOST_REMEMBERED:
            del self._told[next(iter(self._told))]

    async def run(self) -> Never:
        """Tells one after another, until cancelled."""
        while True:
            holding, piece = await self._waiting.get()
            try:
                # Whatever goes wrong is the source's loss.
                with suppress(TimeoutError, SourceError, grpc.aio.AioRpcError, grpc.aio.UsageError):
                    async with asyncio.timeout(REPORT_SECONDS):
                        await self._tell(holding, piece)
            finally:
                self._waiting.task_done()

    async def settle(self, seconds: float) -> None:
        """Returns when everything is told, after so many seconds at the latest."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._waiting.join()

    async def _tell(self, holding: Holding, piece: PieceIndex) -> None:
        channel = await self._channels.channel(holding.source)  # not closed while we hold it
        stub = PeerServiceStub(channel)
        request = peer_pb2.ReportBadPieceRequest(
            digest=holding.digest, manifest_digest=holding.manifest_digest, piece_index=piece
        )
        grant = holding.source.grant
        metadata = (("authorization", f"Bearer {grant}"),) if grant else ()
        await stub.ReportBadPiece(request, metadata=metadata, timeout=REPORT_SECONDS)
