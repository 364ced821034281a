"""A content as it comes together: bytes in, verified pieces on disk, the digest of the whole out.

Promises:
    A piece counts as held only when its bytes hash to what the manifest says and are written.
    The whole is hashed while it comes, in order: from memory where the next piece just came, else
    read back from disk. So the end does not read it all again.
    The journal never claims more than what was made durable before.

Hashing and disk happen in `threads`; memory is bounded by three batches a stream, and a few more of
all streams together (`writer.py`). Whoever uses this keeps two streams from being in one piece at
once.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from typing import TypeVar

from blake3 import blake3

from p2p_client.content.manifest import Manifest, PieceIndex
from p2p_client.content.piece_map import PieceMap
from p2p_client.download.part.part_file import PartFile
from p2p_client.download.part.whole import Whole
from p2p_client.download.threads import settled
from p2p_client.errors import TransferFailed
from p2p_client.models import Digest

BATCH_BYTES = 4 << 20
"""Most bytes that go to a thread at once; whole pieces wherever they are not larger."""
_READ_BYTES = 1 << 20
_READ_BACK_BYTES = 16 << 20
_T = TypeVar("_T")


class Assembly:
    """One content under one manifest in one part file. Of the event loop, but for `_…_here`."""

    def __init__(
        self, part: PartFile, manifest: Manifest, held: PieceMap, threads: Executor
    ) -> None:
        self.manifest = manifest
        self.held = held
        self.unsaved_bytes = 0
        self.is_doubtful = False  # some of the whole was hashed from what the disk gave back
        self.is_shown = False  # others read what is held
        self.writing_count = 0  # batches that are with threads
        self._part = part
        self._manifest_digest = manifest.digest()
        self._threads = threads
        self._whole = Whole()
        self._hashing: asyncio.Future[None] | None = None
        self._news = asyncio.Event()

    @property
    def verified_bytes(self) -> int:
        short = 0
        if self.manifest.piece_count:
            last = PieceIndex(self.manifest.piece_count - 1)
            if self.held.has(last):
                short = self.manifest.piece_size_bytes - self.manifest.span(last)[1]
        return self.held.held_count * self.manifest.piece_size_bytes - short

    def hold(self, index: PieceIndex) -> None:
        """The piece was verified and written."""
        self.held.add(index)
        self.unsaved_bytes += self.manifest.span(index)[1]
        if self._whole.is_waiting_for_disk():
            self._news.set()

    async def reserve(self) -> None:
        """Makes room for all of it. Raises DiskFull."""
        await self._in_thread(self._part.allocate, self.manifest.size_bytes)

    async def keep(self) -> None:
        """Makes all that is held so far survive a crash. Raises DiskFull, TransferFailed."""
        held = PieceMap.from_bytes(self.held.piece_count, self.held.to_bytes())
        self.unsaved_bytes = 0
        await self._in_thread(
            self._part.keep, self._manifest_digest, self.manifest.size_bytes, held
        )

    def trim(self) -> None:
        """Gives the disk back what lies behind the last verified piece."""
        ends = (sum(self.manifest.span(index)) for index in self._held_indices())
        self._part.trim(max(ends, default=0))

    def write(
        self, offset: int, views: Sequence[memoryview], hasher: blake3, ends_piece: bool
    ) -> asyncio.Future[bool]:
        """Hashes and writes the next bytes of one piece; once at a time for each piece.

        Yields False where the piece ends and is bad, else True; `hold` is the caller's. Raises
        DiskFull, TransferFailed. Wait for it with `settled`.
        """
        loop = asyncio.get_running_loop()
        writing = loop.run_in_executor(
            self._threads, self._write_here, offset, views, hasher, ends_piece
        )
        self.writing_count += 1
        writing.add_done_callback(self._wrote)
        return writing

    def _wrote(self, _: object) -> None:
        self.writing_count -= 1

    # -- the whole

    async def follow(self) -> None:
        """Hashes the whole behind the streams; until cancelled, or all of it is hashed."""
        while self._whole.hashed_bytes < self.manifest.size_bytes:
            self._news.clear()
            await self._read_back()
            await self._news.wait()

    async def digest(self) -> Digest:
        """The digest of the whole; every piece is held and no stream or `follow` runs."""
        await self._read_back()
        return self._whole.digest()

    async def recheck(self) -> None:
        """Reads all of the complete content again, drops what does not verify, and hashes it anew.

        Where nothing had to be dropped, `digest` is beyond doubt. Cost: reads all of it.
        """
        self._whole = Whole()
        bad: list[PieceIndex] = []
        for some in self._batches(self._held_indices()):
            bad += await self._in_thread(self._recheck_here, some)
        for index in bad:
            self.held.discard(index)
        if bad:
            self._whole = Whole()
        else:
            self.is_doubtful = False

    async def adopt(self, most_wasted_bytes: int | None = None) -> None:
        """Holds whatever else in the part file verifies, whoever wrote it.

        Cost: reads what is written there but not held; where the file system cannot tell what is
        written, up to all, unless so many bytes were read for nothing.
        """
        missing = [index for index in self.manifest.indices() if not self.held.has(index)]
        wasted_bytes = 0
        for some in self._batches(missing):
            found = await self._in_thread(self._look_here, some)
            for index, is_right in found:
                if is_right:
                    self.hold(index)
                elif is_right is not None:
                    wasted_bytes += self.manifest.span(index)[1]
            if most_wasted_bytes is not None and wasted_bytes > most_wasted_bytes:
                return

    def _batches(self, indices: Sequence[PieceIndex]) -> Iterator[Sequence[PieceIndex]]:
        """So many at a time that a cancelled download does not wait for long."""
        step = max(1, _READ_BACK_BYTES // self.manifest.piece_size_bytes)
        return (indices[at : at + step] for at in range(0, len(indices), step))

    async def _read_back(self) -> None:
        while True:
            if self._hashing is not None:
                # Perhaps begun by a `follow` that was cancelled: two must never hash at once.
                await settled(self._hashing)
                self._hashing = None
            run = self._run_to_hash()
            if run is None:
                return
            self.is_doubtful = True
            loop = asyncio.get_running_loop()
            self._hashing = loop.run_in_executor(self._threads, self._hash_here, *run)

    def _run_to_hash(self) -> tuple[int, int] | None:
        """Offset and length of held bytes that the hash of the whole waits for."""
        start = end = self._whole.hashed_bytes
        if not self._whole.is_waiting_for_disk():
            return None
        size = self.manifest.piece_size_bytes
        while end < self.manifest.size_bytes and end - start < _READ_BACK_BYTES:
            index = PieceIndex(end // size)
            if not self.held.has(index):
                break
            end = sum(self.manifest.span(index))
        return (start, end - start) if end > start else None

    def _held_indices(self) -> list[PieceIndex]:
        return [index for index in self.manifest.indices() if self.held.has(index)]

    async def _in_thread(self, call: Callable[..., _T], *arguments: object) -> _T:
        loop = asyncio.get_running_loop()
        return await settled(loop.run_in_executor(self._threads, call, *arguments))

    # -- in threads

    def _recheck_here(self, indices: Sequence[PieceIndex]) -> list[PieceIndex]:
        bad: list[PieceIndex] = []
        for index in indices:
            hasher, (offset, length) = blake3(), self.manifest.span(index)
            self._whole.read_back(offset, _also_to(hasher, self._read_here(offset, length)))
            if hasher.digest() != self.manifest.digest_of(index):
                bad.append(index)
        return bad

    def _look_here(self, indices: Sequence[PieceIndex]) -> list[tuple[PieceIndex, bool | None]]:
        """For each piece whether it is there and right; None: nothing was written there."""
        return [(index, self._is_there_here(index)) for index in indices]

    def _is_there_here(self, index: PieceIndex) -> bool | None:
        offset, length = self.manifest.span(index)
        data_at = self._part.next_data(offset)
        if data_at is None or data_at >= offset + length:
            return None
        hasher = blake3()
        for view in self._read_here(offset, length):
            hasher.update(view)
        return hasher.digest() == self.manifest.digest_of(index)

    def _hash_here(self, offset: int, length: int) -> None:
        self._whole.read_back(offset, self._read_here(offset, length))
        if self._whole.hashed_bytes == offset:
            raise TransferFailed(
                f"{self._part.place.path}: its part file was cut short by somebody meanwhile: "
                "run the same command again"
            )

    def _read_here(self, offset: int, length: int) -> Iterable[memoryview]:
        buffer = memoryview(bytearray(min(length, _READ_BYTES)))
        end = offset + length
        while offset < end:
            count = self._part.read_into(offset, buffer[: end - offset])
            if not count:
                return
            yield buffer[:count]
            offset += count

    def _write_here(
        self, offset: int, views: Sequence[memoryview], hasher: blake3, ends_piece: bool
    ) -> bool:
        for view in views:
            hasher.update(view)
        if not ends_piece:
            self._part.write(offset, views)
            return True
        size = self.manifest.piece_size_bytes
        if hasher.digest() != self.manifest.digest_of(PieceIndex(offset // size)):
            return False
        self._write_end_here(offset, views)
        return True

    def _write_end_here(self, offset: int, views: Sequence[memoryview]) -> None:
        """Writes what ends a good piece, and hashes it on the way where it is all of it."""
        length = sum(map(len, views))
        is_whole_piece = offset % self.manifest.piece_size_bytes == 0
        if not (is_whole_piece and self._whole.wants(offset, length)):
            self._part.write(offset, views)
            return
        try:
            # Nobody will read it back from the cache, unless others fetch it from us.
            self._part.write(offset, views, bypass_cache=not self.is_shown)
        except BaseException:
            self._whole.withdraw(offset)
            raise
        self._whole.offer(offset, views)


def _also_to(hasher: blake3, views: Iterable[memoryview]) -> Iterator[memoryview]:
    for view in views:
        hasher.update(view)
        yield view
