"""The sources of one group at work: the plan's commands carried out until all is held.

One task a stream; a stream reads its next chunk while the one before is hashed and written in a
thread. Who may be asked for what is the plan's to say; what partial sources have is told to it by
their followers, and what we have to those who fetch from us by the exhibit.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import aclosing, suppress

from p2p_client.content.manifest import PieceIndex
from p2p_client.download.part.assembly import Assembly
from p2p_client.download.partial.exhibit import Exhibit
from p2p_client.download.partial.followers import Followers
from p2p_client.download.picker.pieces import missing_pieces
from p2p_client.download.plan import Abandon, Failure, Open, Plan, StreamId
from p2p_client.download.sources.fetcher import STALLED, Fetcher
from p2p_client.download.sources.waiting import QueuePlace
from p2p_client.download.tally import Tally
from p2p_client.download.writer import PieceWriter
from p2p_client.errors import (
    BadPiece,
    PeerError,
    SourceError,
    SourceMisbehaved,
    SourceStale,
)
from p2p_client.models import PeerId

PIECES_MISSING = "PIECES_MISSING"
TICK_SECONDS = 0.25
KEEP_BYTES = 64 << 20
KEEP_SECONDS = 2.0
FIRST_REFRESH_SECONDS = 1.0
LONGEST_REFRESH_SECONDS = 30.0
FIRST_SWARM_REFRESH_SECONDS = 0.3
LONGEST_SWARM_REFRESH_SECONDS = 2.0
SOURCES_PER_REFRESH_SECOND = 10
"""In a large swarm all ask the directory for all the others: the larger, the more rarely."""

Refresh = Callable[[], Awaitable[Sequence[Fetcher]]]


class Swarm:
    """Fetches what an assembly lacks from the sources of its group.

    Args:
        exhibit: told of every piece that is held; where others see it, they are looked for from
            the beginning.
    """

    def __init__(
        self,
        assembly: Assembly,
        fetchers: Sequence[Fetcher],
        streams: int,
        tally: Tally,
        exhibit: Exhibit,
    ) -> None:
        self._assembly = assembly
        self._tally = tally
        self._exhibit = exhibit
        self._shares = exhibit.peer_id is not None
        missing, count = missing_pieces(assembly.held), assembly.manifest.piece_count
        self._plan = Plan(missing, streams, random.getrandbits(64), exhibit.peer_id, count)
        self._followers = Followers(self._plan, count, self._wake, self._distrust)
        self._fetchers: dict[PeerId, Fetcher] = {}
        self._tasks: dict[StreamId, asyncio.Task[None]] = {}
        self._abandoned: set[StreamId] = set()
        self._changed = asyncio.Event()
        self._fatal: PeerError | None = None
        self.banned: set[PeerId] = set()
        self._first_fetchers = fetchers

    async def run(self, refresh: Refresh) -> bool:
        """True: every piece is held. False: no source is left to ask.

        Args:
            refresh: locates the group's sources again; called now and then while the swarm works.

        Raises:
            DiskFull, TransferFailed, LocalRefusal: the disk takes no more.
        """
        if self._plan.is_complete:
            return True
        async with asyncio.TaskGroup() as tasks:
            self._offer(self._first_fetchers, tasks)
            background = [
                tasks.create_task(self._beside(self._keep_regularly())),
                tasks.create_task(self._beside(self._assembly.follow())),
                tasks.create_task(self._refresh_regularly(refresh, tasks)),
            ]
            try:
                await self._drive(tasks)
            finally:
                self._followers.stop()
                for task in (*background, *self._tasks.values()):
                    task.cancel()
        if self._fatal is not None:
            raise self._fatal
        return self._plan.is_complete

    async def _drive(self, tasks: asyncio.TaskGroup) -> None:
        plan = self._plan
        while not (plan.is_complete or plan.is_starved(time.monotonic()) or self._fatal):
            for command in plan.next(time.monotonic()):
                match command:
                    case Open():
                        task = tasks.create_task(self._stream(command))
                        self._tasks[command.stream] = task
                    case Abandon(stream):
                        self._abandoned.add(stream)
                        self._tasks[stream].cancel()
            self._changed.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(TICK_SECONDS):
                    await self._changed.wait()
            self._tell()

    def _offer(self, fetchers: Sequence[Fetcher], tasks: asyncio.TaskGroup) -> None:
        for fetcher in fetchers:
            holding = fetcher.holding
            peer_id = holding.source.peer_id
            self._fetchers[peer_id] = fetcher
            self._plan.offer(peer_id, is_whole=not holding.partial)
            if holding.partial:
                self._followers.follow(fetcher, tasks)

    def _wake(self) -> None:
        self._changed.set()

    def _distrust(self, fetcher: Fetcher, error: SourceError) -> None:
        """What the source says cannot be: it is not asked for bytes either."""
        self._judge(fetcher, error)
        self._plan.ban(fetcher.holding.source.peer_id)

    def _tell(self) -> None:
        assembly = self._assembly
        size_bytes = assembly.manifest.size_bytes
        self._tally.progress(assembly.verified_bytes, size_bytes, time.monotonic())

    # -- one stream

    async def _stream(self, command: Open) -> None:
        failure: Failure | None = None
        fetcher = self._fetchers[command.source]
        try:
            await self._fetch(command, fetcher)
        except SourceError as error:
            failure = self._judge(fetcher, error)
        except PeerError as error:
            self._fatal = self._fatal or error
        except asyncio.CancelledError:
            # Also when somebody closed the channel under the stream.
            is_ours = command.stream in self._abandoned
            failure = None if is_ours else Failure.UNAVAILABLE
            raise
        finally:
            self._abandoned.discard(command.stream)
            del self._tasks[command.stream]
            self._plan.closed(command.stream, time.monotonic(), failure)
            self._changed.set()

    async def _fetch(self, command: Open, fetcher: Fetcher) -> None:
        """The command's pieces, for as long as the plan leaves them to this stream."""
        manifest, stream = self._assembly.manifest, command.stream
        size = manifest.piece_size_bytes
        offset = command.first * size
        limit = min(command.stop * size, manifest.size_bytes) - offset

        def verified(index: PieceIndex) -> None:
            self._plan.verified(stream, index, time.monotonic())
            self._assembly.hold(index)
            self._exhibit.hold(index)
            self._tally.verified(fetcher.holding.source, manifest.span(index)[1])
            self._tell()

        def queued(place: QueuePlace) -> None:
            now = time.monotonic()
            self._plan.queued(stream, now)
            self._tally.queued(fetcher.holding.source, place, now)
            self._changed.set()

        writer = PieceWriter(self._assembly, offset, verified)
        try:
            async with aclosing(fetcher.fetch(offset, limit, queued)) as chunks:
                async for chunk in chunks:
                    self._tally.fetched(len(chunk))
                    # Not past the stop: what lies there may be another stream's by now.
                    view = memoryview(chunk)[: max(0, self._stop_bytes(stream) - offset)]
                    if view:
                        last = (offset + len(view) - 1) // size
                        self._plan.heard(stream, last, time.monotonic())
                        await writer.take(view)
                        offset += len(view)
                    if self._plan.stop_of(stream) < command.stop and self._is_past(stream, offset):
                        break
        finally:
            try:
                await writer.settle()
            finally:
                writer.leave()

    def _is_past(self, stream: StreamId, offset: int) -> bool:
        return offset >= self._stop_bytes(stream)

    def _stop_bytes(self, stream: StreamId) -> int:
        manifest = self._assembly.manifest
        return min(self._plan.stop_of(stream) * manifest.piece_size_bytes, manifest.size_bytes)

    def _judge(self, fetcher: Fetcher, error: SourceError) -> Failure:
        self._tally.failed(fetcher.holding.source, error)
        if isinstance(error, BadPiece):
            fetcher.report(PieceIndex(error.index))
        if isinstance(error, SourceMisbehaved):
            self.banned.add(fetcher.holding.source.peer_id)
            return Failure.MISBEHAVED
        if isinstance(error, SourceStale):
            return Failure.STALE
        if error.reason == PIECES_MISSING:
            return Failure.LACKING
        return Failure.STALLED if error.reason == STALLED else Failure.UNAVAILABLE

    # -- beside the streams

    async def _beside(self, work: Coroutine[None, None, None]) -> None:
        try:
            await work
        except PeerError as error:
            self._fatal = self._fatal or error
            self._changed.set()

    async def _keep_regularly(self) -> None:
        kept_at = time.monotonic()
        while True:
            await asyncio.sleep(TICK_SECONDS)
            unsaved, waited = self._assembly.unsaved_bytes, time.monotonic() - kept_at
            if unsaved >= KEEP_BYTES or (unsaved and waited >= KEEP_SECONDS):
                await self._assembly.keep()
                kept_at = time.monotonic()

    async def _refresh_regularly(self, refresh: Refresh, tasks: asyncio.TaskGroup) -> None:
        """Sources may come, come back, or need a new grant; asked for more rarely as time goes."""
        wait = FIRST_SWARM_REFRESH_SECONDS if self._shares else FIRST_REFRESH_SECONDS
        waited = 0.0
        while True:
            await asyncio.sleep(TICK_SECONDS)
            waited += TICK_SECONDS
            if waited >= wait:
                self._offer(await refresh(), tasks)
                wait, waited = min(2 * wait, self._longest_wait()), 0.0
                self._changed.set()

    def _longest_wait(self) -> float:
        """In a swarm sources come and go all the time."""
        if not (self._shares or self._plan.is_swarm):
            return LONGEST_REFRESH_SECONDS
        large = len(self._fetchers) / SOURCES_PER_REFRESH_SECOND
        return min(max(LONGEST_SWARM_REFRESH_SECONDS, large), LONGEST_REFRESH_SECONDS)
