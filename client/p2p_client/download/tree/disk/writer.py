"""Small contents from memory to their places: verified, written, made durable in batches, named.

Two threads: one verifies, writes and gives names; the other only waits for the disk to make a batch
durable. Were names given in the second one, each would wait for the interpreter at every call that
the other makes. What the network brings is bounded by what the disk takes.
"""

import asyncio
import contextlib
import errno
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import field

from blake3 import blake3

from p2p_client.download.part.disk import FULL
from p2p_client.download.threads import outlasted, settled
from p2p_client.download.tree.disk.staging import Staging, disk_error
from p2p_client.errors import PeerError
from p2p_client.records import dataclass

BATCH_FILES = 1_024
BATCH_BYTES = 32 << 20
BATCH_SECONDS = 1.0
"""What is verified gets its name after so long at the latest."""


@dataclass(frozen=True, slots=True)
class Arrived:
    """A content as it came from somebody, unverified, and the files that are to have it."""

    content: int
    digest: bytes
    files: Sequence[int]
    data: bytes


@dataclass(frozen=True, slots=True)
class Watch:
    """Who is told of what happens, in the event loop."""

    verified: Callable[[int, int], None]  # content, bytes
    named: Callable[[int], None]  # file
    failed: Callable[[int, OSError], None]  # file


class Writer:
    """Run it beside those who `put`; `finish` when all is put.

    Args:
        places: of each file, by its index; may grow.
        hold: nothing gets its name before `release`.
    """

    def __init__(
        self, staging: Staging, places: Sequence[str], watch: Watch, *, hold: bool = False
    ) -> None:
        self._staging = staging
        self._places = places
        self._watch = watch
        self._is_held = hold
        self._thread = ThreadPoolExecutor(1, "p2p-tree")
        self._syncing = ThreadPoolExecutor(1, "p2p-tree-sync")
        self._written: list[tuple[str, int]] = []  # temporary name, file
        self._written_bytes = 0
        self._writing = asyncio.Lock()
        self._putting: Future[_Written] | None = None
        self._flushing: asyncio.Future[None] | None = None
        self._flushed = 0  # of what is written
        self._naming: asyncio.Future[list[tuple[int, OSError | None]]] | None = None
        self._named_at = asyncio.get_running_loop().time()

    async def put(self, arrived: Sequence[Arrived]) -> list[int]:
        """Verifies and writes; answers the contents whose bytes are not theirs.

        Raises DiskFull, TransferFailed.
        """
        async with self._writing:
            self._putting = self._thread.submit(self._write_here, arrived)
            done = await settled(asyncio.wrap_future(self._putting))
            self._putting = None
            self._written += done.written
            for content, size_bytes in done.verified:
                self._written_bytes += size_bytes
                self._watch.verified(content, size_bytes)
            for file, error in done.failed:
                self._watch.failed(file, error)
            if done.full is not None:
                raise disk_error(self._staging.ground, done.full)
            if self._is_held:
                await self._flush()
            elif self._is_batch():
                await self._name()
        return done.bad

    def add(self, name: str, file: int) -> None:
        """A file that was written in another way, and verified."""
        self._written.append((name, file))

    def adopt(
        self, numbers: Sequence[int | None], places: Sequence[str], watch: Watch
    ) -> list[int]:
        """Files have other numbers and places from now on, those of None are removed; nobody may
        be writing. Answers the new numbers of what is written."""
        kept: list[tuple[str, int]] = []
        for name, file in self._written:
            number = numbers[file]
            if number is None:
                self._staging.discard(name, self._places[file])
            else:
                kept.append((name, number))
        self._written, self._places, self._watch = kept, places, watch
        return [file for _, file in kept]

    def release(self) -> None:
        """What is verified may get its name."""
        self._is_held = False
        self._named_at = asyncio.get_running_loop().time()

    async def name_all(self) -> None:
        """Names what is written so far."""
        async with self._writing:
            await self._name()
            await self._settle()

    async def name_in_time(self) -> None:
        """Names what has waited for long; to be called now and then."""
        async with self._writing:
            if self._is_batch():
                await self._name()

    async def _flush(self) -> None:
        """Begins to bring to the disk what waits for its name: less is left to do for that then.
        No name relies on it. Raises as `put` does, for the time before."""
        if len(self._written) - self._flushed < BATCH_FILES:
            return
        if self._flushing is not None:
            if not self._flushing.done():
                return
            await self._flush_ended(self._flushing)
        self._flushed = len(self._written)
        places = [self._places[file] for _, file in self._written[-BATCH_FILES:]]
        loop = asyncio.get_running_loop()
        self._flushing = loop.run_in_executor(self._syncing, self._staging.flush, places)
        self._flushing.add_done_callback(lambda done: done.cancelled() or done.exception())

    async def _flush_ended(self, flushing: asyncio.Future[None]) -> None:
        try:
            await settled(flushing)
        except OSError as error:
            raise disk_error(self._staging.ground, error) from None

    async def _name(self) -> None:
        """Begins to make durable and to name what is written; waits for the batch before."""
        await self._settle()
        if self._flushing is not None:
            await self._flush_ended(self._flushing)
            self._flushing = None
        batch = self._take()
        self._named_at = asyncio.get_running_loop().time()
        if batch.files or batch.folders:
            loop = asyncio.get_running_loop()
            self._naming = loop.run_in_executor(self._syncing, self._name_here, batch)

    def _take(self) -> "_Batch":
        """All that is written, and the new folders that it is in; nobody may be writing."""
        places = [(name, self._places[file]) for name, file in self._written]
        files = [file for _, file in self._written]
        self._written, self._written_bytes = [], 0
        return _Batch(files, places, self._staging.ground.close_new())

    async def _settle(self) -> None:
        naming, self._naming = self._naming, None
        if naming is None:
            return
        try:
            outcomes = await settled(naming)
        except asyncio.CancelledError:
            self._naming = naming
            raise
        for file, error in outcomes:
            if error is None:
                self._watch.named(file)
            elif error.errno in FULL:
                raise disk_error(self._staging.ground, error)
            else:
                self._watch.failed(file, error)

    async def finish(self) -> None:
        """Names all that is written, and makes the names durable. Raises DiskFull, …"""
        await self.name_all()
        loop = asyncio.get_running_loop()
        try:
            await settled(loop.run_in_executor(self._syncing, self._staging.ground.sync_folders))
        except OSError as error:
            raise disk_error(self._staging.ground, error) from None

    async def close(self) -> None:
        """Names what was verified, whatever has happened; removes it where names are held back.

        Takes as long as a batch does, also for one who is cancelled: until then its threads work
        below the ground. Again does nothing.
        """
        if self._naming is not None:  # failed, or nobody asked how it went
            self._naming.add_done_callback(lambda done: done.cancelled() or done.exception())
        await outlasted(asyncio.get_running_loop().run_in_executor(None, self._close_here))

    def _close_here(self) -> None:
        self._syncing.shutdown(wait=True)
        self._thread.shutdown(wait=True)
        if self._putting is not None and self._putting.exception() is None:
            # Its `put` was cancelled: these would be left under names that nobody knows.
            self._written += self._putting.result().written
        self._putting = None
        batch = self._take()
        if self._is_held:
            self._staging.drop(batch.places, batch.folders)
            return
        with contextlib.suppress(PeerError):  # the one that brought us here is to be told
            self._sync_here(batch)
            self._publish_here(batch)

    def _is_batch(self) -> bool:
        if self._is_held:
            return False
        waited = asyncio.get_running_loop().time() - self._named_at
        return (
            len(self._written) >= BATCH_FILES
            or self._written_bytes >= BATCH_BYTES
            or (bool(self._written) and waited >= BATCH_SECONDS)
        )

    # -- in threads

    def _write_here(self, arrived: Sequence[Arrived]) -> "_Written":
        done = _Written()
        for item in arrived:
            if blake3(item.data).digest() != item.digest:
                done.bad.append(item.content)
                continue
            for file in item.files:
                try:
                    done.written.append((self._staging.write(item.data, self._places[file]), file))
                except OSError as error:
                    if error.errno in FULL or error.errno == errno.EIO:
                        done.full = error
                        return done
                    done.failed.append((file, error))
            done.verified.append((item.content, len(item.data) * len(item.files)))
        return done

    def _name_here(self, batch: "_Batch") -> list[tuple[int, OSError | None]]:
        self._sync_here(batch)
        return self._thread.submit(self._publish_here, batch).result()

    def _sync_here(self, batch: "_Batch") -> None:
        """Raises DiskFull, TransferFailed: then nothing is left of the batch."""
        try:
            self._staging.sync(batch.places)
        except OSError as error:
            self._staging.drop(batch.places, batch.folders)
            raise disk_error(self._staging.ground, error) from None

    def _publish_here(self, batch: "_Batch") -> list[tuple[int, OSError | None]]:
        if not batch.files:  # all that was to come into them failed, or is not wanted any more
            self._staging.drop((), batch.folders)
            return []
        outcomes = self._staging.publish(batch.places, batch.folders)
        return list(zip(batch.files, outcomes, strict=True))


@dataclass(frozen=True, slots=True)
class _Batch:
    """Files to be made durable and named together: `places` has the name and place of each."""

    files: Sequence[int]
    places: Sequence[tuple[str, str]]
    folders: Sequence[str]  # new ones, that they are in


@dataclass(slots=True)
class _Written:
    """What became of contents that arrived; `full` ended it early."""

    bad: list[int] = field(default_factory=list)
    written: list[tuple[str, int]] = field(default_factory=list)
    verified: list[tuple[int, int]] = field(default_factory=list)
    failed: list[tuple[int, OSError]] = field(default_factory=list)
    full: OSError | None = None
