"""The small contents of a tree: packed, from all who have them, until none is missing.

One task a source, one call at a time each; who is asked for what is the handout's to say.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import aclosing, suppress
from functools import partial

from p2p_client.download.sources.waiting import QueuePlace
from p2p_client.download.tree.account import Account
from p2p_client.download.tree.disk.writer import Arrived, Writer
from p2p_client.download.tree.lanes.givers import Givers
from p2p_client.download.tree.lanes.handout import Call, Handout
from p2p_client.download.tree.lanes.packed import Asked, Came, PackedSource
from p2p_client.download.tree.plan import Content, TreeFile
from p2p_client.errors import SourceError, SourceMisbehaved, SourceStale
from p2p_client.models import PeerId, Source

TICK_SECONDS = 0.25
FIRST_BACKOFF_SECONDS = 0.25
LONGEST_BACKOFF_SECONDS = 4.0
MOST_STRIKES = 4
MOST_SOURCES = 16
"""So many are asked at once, however many have it: each costs a connection and some messages."""
MOST_LIES = 16
"""So many contents of a source may be wrong, by a rotten disk perhaps, before it is left alone."""
HOPELESS_SECONDS = 1.0

Connect = Callable[[Source], PackedSource]

_REASONS = {
    "WRONG_CONTENT": "served something else",
    "WRONG_SIZE": "served another number of bytes",
    "CONTENT_UNKNOWN": "has it no longer",
    "CONTENT_CHANGED": "has changed it",
    "CONTENT_UNREADABLE": "cannot read it",
    "GRANT_MISMATCH": "was not allowed to give it",
    "TOO_LARGE": "does not pack it",
}


class SmallContents:
    """
    Args:
        contents: the first ones of those that the givers know, by the same index.
        patience_seconds: how long sources are waited for when none has anything to give.
    """

    def __init__(
        self,
        files: Sequence[TreeFile],
        contents: Sequence[Content],
        givers: Givers,
        account: Account,
        *,
        most_bytes: int,
        patience_seconds: float,
    ) -> None:
        self._files = files
        self._contents = contents
        self._givers = givers
        self._account = account
        self._patience_seconds = patience_seconds
        self._handout = Handout([content.size_bytes for content in contents], most_bytes)
        self._sources: dict[PeerId, PackedSource] = {}
        self._tasks: dict[Call, asyncio.Task[None]] = {}
        self._storing: dict[PeerId, asyncio.Task[None]] = {}
        self._changed = asyncio.Event()
        self._lies: Counter[PeerId] = Counter()
        self._asked_in_vain: Counter[PeerId] = Counter()  # rounds that left something over
        self._failures: dict[Call, SourceError] = {}
        self._why: dict[int, str] = {}  # the last that went wrong, by content
        self._given = 0

    def verified(self, content: int, size_bytes: int) -> None:
        """It is written, and is what it should be."""
        self._account.verified_bytes += size_bytes
        self._given += 1
        self._handout.done(content)

    async def run(self, writer: Writer, connect: Connect) -> None:
        """Returns when each is verified or failed.

        Args:
            connect: makes of a source what asks it.
        Raises:
            DiskFull, TransferFailed, LocalRefusal: the disk takes no more.
        """
        self._writer = writer
        starved_at, given, wait = time.monotonic(), 0, FIRST_BACKOFF_SECONDS
        while not self._handout.is_complete:
            self._offer(connect)
            await self._round()
            if self._given != given:
                starved_at, given, wait = time.monotonic(), self._given, FIRST_BACKOFF_SECONDS
            if self._handout.free():
                if time.monotonic() - starved_at >= self._patience():
                    self._give_up()
                    return
                await asyncio.sleep(wait)
                wait = min(2 * wait, LONGEST_BACKOFF_SECONDS)
                await self._givers.locate_again(self._handout.free())

    def _offer(self, connect: Connect) -> None:
        willing = [
            source
            for peer_id, source in self._givers.sources.items()
            if self._lies[peer_id] < MOST_LIES
        ]
        willing.sort(key=lambda source: self._asked_in_vain[source.peer_id])
        self._sources = {source.peer_id: connect(source) for source in willing[:MOST_SOURCES]}
        self._asked_in_vain.update(self._sources.keys())
        self._givers.offer(self._handout, len(self._contents))
        for peer_id in self._givers.sources.keys() - self._sources.keys():
            self._handout.withdraw(peer_id)

    def _patience(self) -> float:
        """Short where sources are there, and none of them is willing."""
        free = self._handout.free()
        refused = bool(self._sources) and all(content in self._why for content in free)
        return min(self._patience_seconds, HOPELESS_SECONDS) if refused else self._patience_seconds

    def _give_up(self) -> None:
        nobody = self._account.tally.failures() or "no peer that is online and reachable has it"
        for content in self._handout.free():
            message = self._why.get(content, f"no source is left: {nobody}")
            self._handout.done(content)
            for file in self._contents[content].files:
                self._account.failed(file, "NO_SOURCE_LEFT", message)

    # -- sources at work

    async def _round(self) -> None:
        """Until no source has anything more to give."""
        async with asyncio.TaskGroup() as tasks:
            for source in self._sources.values():
                tasks.create_task(self._work(source, tasks))

    async def _work(self, source: PackedSource, tasks: asyncio.TaskGroup) -> None:
        peer_id, strikes = source.source.peer_id, 0
        while not self._handout.is_complete and strikes < MOST_STRIKES:
            call = self._handout.take(peer_id, time.monotonic())
            for other in self._handout.abandoned():
                self._tasks[other].cancel()
            if call is None:
                if self._handout.is_at_rest:
                    return
                await self._wait_for_change()
                continue
            task = self._tasks[call] = tasks.create_task(self._carry_out(call, source, tasks))
            try:
                await asyncio.wait({task})
            finally:
                task.cancel()
            error = None if task.cancelled() else task.exception()
            if error is not None:
                return  # fatal: the group tells
            failed = self._failures.pop(call, None)
            if isinstance(failed, SourceMisbehaved | SourceStale):
                return
            if failed is None and not task.cancelled():
                strikes = 0
                continue
            wait = min(FIRST_BACKOFF_SECONDS * 2**strikes, LONGEST_BACKOFF_SECONDS)
            strikes = strikes + 1 if not call.came else 1
            await asyncio.sleep(wait)

    async def _carry_out(self, call: Call, source: PackedSource, tasks: asyncio.TaskGroup) -> None:
        asked = [self._asked(content) for content in call.contents]
        try:
            async with aclosing(source.fetch(asked, partial(self._queued, source))) as messages:
                async for came in messages:
                    before = self._storing.get(call.source)
                    # Before anything is awaited: whoever is cancelled meanwhile loses nothing.
                    arrived = self._take(call, source, came)
                    storing = tasks.create_task(self._store(arrived, source))
                    self._storing[call.source] = storing
                    if before is not None:
                        await asyncio.wait({before})  # what it raised, the group tells
                    if call.is_done:
                        break
        except SourceError as error:
            self._failures[call] = error
            self._account.tally.failed(source.source, error)
            if isinstance(error, SourceMisbehaved):
                self._lies[call.source] += MOST_LIES
                self._handout.withdraw(call.source)
        finally:
            del self._tasks[call]
            self._handout.closed(call)
            self._changed.set()

    def _queued(self, source: PackedSource, place: QueuePlace) -> None:
        self._account.tally.queued(source.source, place, time.monotonic())

    def _take(self, call: Call, source: PackedSource, came: Came) -> list[Arrived]:
        arrived: list[Arrived] = []
        now = time.monotonic()
        for outcome in came:
            if call.is_done:  # another source brings the rest
                break
            content = self._handout.came(call, now)
            if isinstance(outcome, str):
                self._refuse(content, source, outcome)
                continue
            self._account.tally.fetched(len(outcome))
            files = self._contents[content].files
            arrived.append(Arrived(content, self._files[files[0]].digest, files, outcome))
        return arrived

    async def _store(self, arrived: Sequence[Arrived], source: PackedSource) -> None:
        """While the next message comes, of this call or of the one after."""
        bad = set(await self._writer.put(arrived)) if arrived else set()
        for content in bad:
            self._lie(content, source)
        good_bytes = sum(len(item.data) for item in arrived if item.content not in bad)
        if good_bytes:
            self._account.tally.verified(source.source, good_bytes)
        self._changed.set()

    def _refuse(self, content: int, source: PackedSource, reason: str) -> None:
        self._why[content] = f"{source.source.user} {_REASONS.get(reason, f'says {reason}')}"
        self._handout.refused(content, source.source.peer_id)
        if reason == "WRONG_SIZE":
            self._lies[source.source.peer_id] += 1

    def _lie(self, content: int, source: PackedSource) -> None:
        error = SourceMisbehaved("it served another content", reason="WRONG_CONTENT")
        self._account.tally.failed(source.source, error)
        self._refuse(content, source, error.reason)
        self._lies[source.source.peer_id] += 1
        if self._lies[source.source.peer_id] >= MOST_LIES:
            self._handout.withdraw(source.source.peer_id)

    def _asked(self, content: int) -> Asked:
        file = self._files[self._contents[content].files[0]]
        return Asked(file.digest, file.size_bytes)

    async def _wait_for_change(self) -> None:
        self._changed.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(TICK_SECONDS):
                await self._changed.wait()
