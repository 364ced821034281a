"""The bytes of one stream on their way to disk: cut into pieces, hashed and written in a thread.

Which stream may write what is the plan's to say; what a piece must be is the manifest's.
"""

import asyncio
from collections.abc import Callable
from functools import partial

from blake3 import blake3

from p2p_client.content.manifest import PieceIndex
from p2p_client.download.part.assembly import BATCH_BYTES, Assembly
from p2p_client.errors import SourceMisbehaved

_MOST_VIEWS = 512  # below IOV_MAX, and a bound on what tiny chunks cost


class PieceWriter:
    """Takes the consecutive bytes of one stream and hands them, a piece or a batch at a time, to a
    thread that hashes and writes them while the next ones come.

    `verified` is called for each piece, in order. Raises SourceMisbehaved at a bad piece.
    """

    def __init__(
        self, assembly: Assembly, offset: int, verified: Callable[[PieceIndex], None]
    ) -> None:
        self._assembly = assembly
        self._manifest = assembly.manifest
        self._verified = verified
        self._offset = offset
        self._batch: list[memoryview] = []
        self._batch_bytes = 0
        self._hasher = blake3()
        self._job: asyncio.Future[bool] | None = None
        self._uncounted: PieceIndex | None = None  # the piece that the job brings to its end

    async def take(self, view: memoryview) -> None:
        while view:
            index = PieceIndex(self._offset // self._manifest.piece_size_bytes)
            piece_end = sum(self._manifest.span(index))
            some = view[: min(piece_end - self._offset, BATCH_BYTES - self._batch_bytes)]
            view = view[len(some) :]
            self._batch.append(some)
            self._batch_bytes += len(some)
            self._offset += len(some)
            if self._offset == piece_end:
                await self._hand_over(index)
            elif self._batch_bytes == BATCH_BYTES or len(self._batch) == _MOST_VIEWS:
                await self._hand_over(None)

    async def settle(self) -> None:
        """Waits for the thread, if one works for it, and judges what it did."""
        if self._job is None:
            return
        await asyncio.wait({self._job})
        job, self._job = self._job, None
        if not job.result():
            raise SourceMisbehaved("it served a bad piece", reason="BAD_PIECE")
        self._count(self._uncounted, job)

    def leave(self) -> None:
        """The stream is over: what was not judged by now does not count."""
        self._uncounted = None

    def _count(self, ended: PieceIndex | None, job: asyncio.Future[bool]) -> None:
        """Counts the piece once, as soon as it is known to be good: not only when more comes."""
        if ended is None or ended != self._uncounted or job.cancelled() or job.exception():
            return
        if job.result():
            self._uncounted = None
            self._verified(ended)

    async def _hand_over(self, ended: PieceIndex | None) -> None:
        await self.settle()
        start = self._offset - self._batch_bytes
        self._job = self._assembly.write(start, self._batch, self._hasher, ended is not None)
        self._uncounted = ended
        self._job.add_done_callback(partial(self._count, ended))
        self._batch, self._batch_bytes = [], 0
        if ended is not None:
            self._hasher = blake3()
