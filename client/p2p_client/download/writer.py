"""The bytes of one stream on their way to disk: cut into pieces, hashed and written in a thread.

Which stream may write what is the plan's to say; what a piece must be is the manifest's.
"""

import asyncio
from collections import deque
from collections.abc import Callable

from blake3 import blake3

from p2p_client.content.manifest import PieceIndex
from p2p_client.download.part.assembly import BATCH_BYTES, Assembly
from p2p_client.errors import BadPiece
from p2p_client.records import dataclass

_OWN_JOBS = 2
"""Of each stream, whatever others do: one thread waits for the disk while another hashes."""
_MOST_JOBS = 6
"""Of all streams of a download together, beyond their own: one stream alone takes more threads."""
_MOST_VIEWS = 512  # below IOV_MAX, and a bound on what tiny chunks cost


@dataclass(frozen=True, slots=True)
class _Job:
    """What a thread hashes and writes; `ended` is the piece that it brings to its end."""

    done: asyncio.Future[bool]
    ended: PieceIndex | None

    def is_good(self) -> bool:
        done = self.done
        return done.done() and not done.cancelled() and not done.exception() and done.result()


class PieceWriter:
    """Takes the consecutive bytes of one stream and hands them, a piece or a batch at a time, to a
    thread that hashes and writes them while the next ones come.

    `verified` is called for each piece, in order. Raises BadPiece.
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
        self._jobs: deque[_Job] = deque()  # oldest first
        self._has_left = False

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
        """Waits for the threads that work for it, and judges what they did.

        Raises BadPiece, and what writing raises, but not before all have stopped: their pieces
        may be another stream's the moment this one is over.
        """
        try:
            while self._jobs:
                await self._settle_oldest()
        finally:
            if left := {job.done for job in self._jobs if not job.done.done()}:
                await asyncio.wait(left)

    def leave(self) -> None:
        """The stream is over: what was not judged by now does not count."""
        self._has_left = True

    async def _settle_oldest(self) -> None:
        oldest = self._jobs[0]
        await asyncio.wait({oldest.done})
        if not oldest.done.result():
            assert oldest.ended is not None, "only the end of a piece is judged"
            raise BadPiece(oldest.ended)
        self._count()

    def _count(self, _: object = None) -> None:
        """Counts pieces as soon as they and all before them are known to be good."""
        while self._jobs and not self._has_left and self._jobs[0].is_good():
            ended = self._jobs.popleft().ended
            if ended is not None:
                self._verified(ended)

    def _is_busy(self) -> bool:
        return len(self._jobs) >= _OWN_JOBS and self._assembly.writing_count >= _MOST_JOBS

    async def _hand_over(self, ended: PieceIndex | None) -> None:
        while self._jobs and (self._is_busy() or self._jobs[-1].ended is None):
            await self._settle_oldest()
        start = self._offset - self._batch_bytes
        done = self._assembly.write(start, self._batch, self._hasher, ended is not None)
        self._jobs.append(_Job(done, ended))
        done.add_done_callback(self._count)
        self._batch, self._batch_bytes = [], 0
        if ended is not None:
            self._hasher = blake3()
