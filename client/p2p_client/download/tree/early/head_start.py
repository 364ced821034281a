"""A folder begins to come while the directory still lists it: from one source, out of sight.

Only where there is no such folder yet: then nothing can be in the way of its files, and all of them
lie below one hidden folder until the list is complete and judged. What the list then does not want
is removed again. Whatever goes wrong here ends the head start alone: those who fetch the whole meet
it again, and tell.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from p2p_client.download.tree.early.wanted import EarlyContent, Folder, Wanted
from p2p_client.download.tree.plan import Tree
from p2p_client.errors import PeerError
from p2p_client.models import Digest, ListedResource, PeerId, Source

if TYPE_CHECKING:  # loaded while the directory lists the first files
    from p2p_client.download.tree.disk.ground import Ground
    from p2p_client.download.tree.disk.staging import Staging
    from p2p_client.download.tree.disk.writer import Arrived, Watch, Writer
    from p2p_client.download.tree.fetch import TreeDownloader

SAMPLE = 128
MOST_MESSAGES_WAITING = 2
LAST_SECONDS = 1.0
"""So long the call that runs when the list is complete may go on; the others take over then."""

Pages = AsyncGenerator[Sequence[ListedResource], None]


class HeadStart:
    """Made by `head_start`.

    Args:
        make_trees: what shall fetch the tree; called when what it needs is loaded.
    """

    def __init__(
        self,
        folder: Folder,
        root: Path,
        *,
        overwrite: bool,
        make_trees: Callable[[], "TreeDownloader"],
    ) -> None:
        self.began_at = time.monotonic()
        self.fetched_bytes = 0
        self.source: Source | None = None
        self._folder = folder
        self._root = root
        self._overwrite = overwrite
        self._make_trees = make_trees
        self._wanted = Wanted(folder)
        self._more = asyncio.Event()
        self._is_listed = False
        self._arrived: asyncio.Queue[list[Arrived] | None] = asyncio.Queue()
        self._stored = asyncio.Event()
        self._running: asyncio.Task[None] | None = None
        self._reading: asyncio.Task[None] | None = None
        self._is_broken = False
        self._writer: Writer | None = None
        self._staging: Staging | None = None
        self._ground: Ground | None = None

    async def pages(self, listing: Pages) -> Pages:
        """The same pages, seen by us."""
        async with aclosing(listing) as pages:
            async for page in pages:
                self._wanted.add(page)
                if self._wanted.user:
                    self._more.set()
                yield page

    # -- while the list comes

    def start(self, tasks: asyncio.TaskGroup) -> asyncio.Task[None]:
        self._running = tasks.create_task(self._run())
        return self._running

    async def _run(self) -> None:
        await asyncio.to_thread(_load)
        await self._more.wait()
        with suppress(PeerError, OSError):
            writer = self._begin()
            if writer is None:
                return
            async with asyncio.TaskGroup() as tasks:
                self._reading = tasks.create_task(self._read(self._make_trees()))
                tasks.create_task(self._store(writer))
                await asyncio.wait({self._reading})
                self._arrived.put_nowait(None)

    def _begin(self) -> "Writer | None":
        """None: something is there. Raises PeerError, OSError."""
        from p2p_client.download.tree.disk.ground import Ground
        from p2p_client.download.tree.disk.staging import Staging
        from p2p_client.download.tree.disk.writer import Watch, Writer

        ground = self._ground = Ground.open(self._root, overwrite=self._overwrite)
        if ground.stat(self._folder.top) is not None:
            return None
        # Where nothing is below the top, what a killed run has left lies beside it.
        self._staging = Staging.open(ground, self._target, (self._folder.top,))
        watch = Watch(lambda *_: None, lambda _: None, lambda *_: None)
        self._writer = Writer(self._staging, self._wanted.places, watch, hold=True)
        return self._writer

    @property
    def _target(self) -> str:
        return f"{self._wanted.user}:{self._folder.text}"

    async def _read(self, trees: "TreeDownloader") -> None:
        from p2p_client.download.tree.lanes.packed import Asked

        with suppress(PeerError):
            while contents := await self._next():
                if self.source is None:
                    self.source = await self._find_source(trees, contents)
                if self.source is None:
                    return
                asked = [Asked(content.digest, content.size_bytes) for content in contents]
                fetching = trees.connect(self.source).fetch(asked)
                done = 0
                async with aclosing(fetching) as messages:
                    async for came in messages:
                        self._take(contents[done : done + len(came)], came)
                        done += len(came)
                        await self._room()

    async def _next(self) -> list[EarlyContent]:
        """What to ask for; empty: all that was listed is there."""
        while not (contents := self._wanted.take()) and not self._is_listed:
            self._more.clear()
            await self._more.wait()
        return contents

    async def _find_source(
        self, trees: "TreeDownloader", contents: Sequence[EarlyContent]
    ) -> Source | None:
        """Whoever has most of a sample."""
        sample = {Digest(each.digest.hex()): each.size_bytes for each in contents[:SAMPLE]}
        found: dict[PeerId, Source] = {}
        held: Counter[PeerId] = Counter()
        for holding in await trees.locate(list(sample)):
            if not holding.partial and holding.size_bytes == sample.get(holding.digest):
                found[holding.source.peer_id] = holding.source
                held[holding.source.peer_id] += 1
        return found[held.most_common(1)[0][0]] if held else None

    def _take(self, contents: Sequence[EarlyContent], came: Sequence[bytes | str]) -> None:
        """What is not there is left to those who ask others."""
        from p2p_client.download.tree.disk.writer import Arrived

        arrived = []
        for content, data in zip(contents, came, strict=True):
            if isinstance(data, bytes):
                self.fetched_bytes += len(data)
                arrived.append(Arrived(content.files[0], content.digest, content.files[:], data))
        self._arrived.put_nowait(arrived)

    async def _room(self) -> None:
        while self._arrived.qsize() > MOST_MESSAGES_WAITING:
            self._stored.clear()
            await self._stored.wait()

    async def _store(self, writer: "Writer") -> None:
        while (arrived := await self._arrived.get()) is not None:
            self._stored.set()
            try:
                is_good = not await writer.put(arrived)
            except PeerError:  # the disk takes no more
                is_good, self._is_broken = False, True
            if not is_good and self._reading is not None:
                self._reading.cancel()

    # -- when it is complete

    async def end(self, tree: Tree) -> bool:
        """Nothing more comes. Whether what came can be a part of this tree."""
        self._is_listed = True
        self._more.set()
        if self._running is not None:
            if self._reading is not None:
                await asyncio.wait({self._reading}, timeout=LAST_SECONDS)
                self._reading.cancel()
            else:
                self._running.cancel()
            await asyncio.wait({self._running})
        is_good = self._writer is not None and not self._is_broken and tree.target == self._target
        if not is_good:
            await self.close()
        return is_good

    @property
    def staging(self) -> "Staging":
        """Held by us until the end; only where `end` said so."""
        assert self._staging is not None
        return self._staging

    def adopted(
        self, tree: Tree, places: Sequence[str], left_out: Collection[int], watch: "Watch"
    ) -> "tuple[Writer, list[int]]":
        """The writer with all that came, and which files of the tree these are. The rest of what
        came is removed. Nothing is named, and nothing kept, before the writer is released."""
        assert self._writer is not None
        at_of = {place: at for at, place in enumerate(places)}
        numbers: list[int | None] = []
        for place, digest in zip(self._wanted.places, self._wanted.digests, strict=True):
            at = at_of.get(place)
            fits = at is not None and at not in left_out and tree.files[at].digest == digest
            numbers.append(at if fits else None)
        return self._writer, self._writer.adopt(numbers, places, watch)

    async def close(self) -> None:
        """Removes what came, if nobody has released the writer; again does nothing."""
        if self._running is not None and not self._running.done():
            self._running.cancel()
            await asyncio.wait({self._running})
        try:
            if self._writer is not None:
                await self._writer.close()
        finally:
            self._writer = None
            if self._staging is not None:
                self._staging.close()
            if self._ground is not None:
                self._ground.close()


@asynccontextmanager
async def head_start(
    folder: Folder,
    root: Path,
    *,
    overwrite: bool,
    make_trees: Callable[[], "TreeDownloader"],
) -> AsyncIterator[HeadStart]:
    """One that runs, and is closed at the end."""
    head = HeadStart(folder, root, overwrite=overwrite, make_trees=make_trees)
    failed: Exception | None = None
    try:
        async with asyncio.TaskGroup() as tasks:
            running = head.start(tasks)
            try:
                yield head
            except Exception as error:  # as it is, not in a group
                failed = error
            running.cancel()
    finally:
        await head.close()
    if failed is not None:
        raise failed


def _load() -> None:
    import p2p_client.download.tree.fetch  # noqa: F401
