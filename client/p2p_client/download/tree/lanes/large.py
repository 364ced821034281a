"""The large contents of a tree: each by a download of its own, a few at once."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial

from p2p_client.download.download import Downloader
from p2p_client.download.events import Event, Progress, Queued, SourceFailed
from p2p_client.download.part.disk import FULL
from p2p_client.download.threads import until_stopped
from p2p_client.download.tree.account import Account
from p2p_client.download.tree.disk.staging import Staging, disk_error
from p2p_client.download.tree.disk.writer import Writer
from p2p_client.download.tree.plan import Content, TreeFile
from p2p_client.errors import DiskFull, LocalRefusal, PeerError

AT_ONCE = 3


class LargeContents:
    """Each is fetched to the first of its places, and copied from there to the others."""

    def __init__(
        self,
        files: Sequence[TreeFile],
        places: Sequence[str],
        contents: Sequence[Content],
        account: Account,
        downloader: Downloader,
    ) -> None:
        self._files = files
        self._places = places
        self._contents = contents
        self._account = account
        self._downloader = downloader

    async def run(self, staging: Staging, writer: Writer) -> None:
        """Returns when each stands under its names or has failed. Raises DiskFull.

        A copy that fails for its place alone does not stop the others.
        """
        waiting = list(reversed(self._contents))

        async def work() -> None:
            while waiting:
                await self._fetch(waiting.pop(), staging, writer)

        async with asyncio.TaskGroup() as tasks:
            for _ in range(min(AT_ONCE, len(waiting))):
                tasks.create_task(work())

    async def _fetch(self, content: Content, staging: Staging, writer: Writer) -> None:
        for number, first in enumerate(content.files):
            watch = _Watch(self._account)
            try:
                await self._download(first, staging, watch.on_event)
            except DiskFull:
                raise
            except (LocalRefusal, OSError) as error:  # of this place; the next one may do
                watch.forget()
                self._fail(first, error, staging)
            except PeerError as error:
                watch.forget()
                for file in content.files[number:]:
                    self._account.failed(file, error.reason, str(error))
                return
            else:
                self._account.named(first)
                for file in content.files[number + 1 :]:
                    await self._copy(first, file, staging, writer)
                return

    def _fail(self, file: int, error: LocalRefusal | OSError, staging: Staging) -> None:
        """Raises DiskFull."""
        if isinstance(error, LocalRefusal):
            self._account.failed(file, error.reason, str(error))
            return
        if error.errno in FULL:
            raise disk_error(staging.ground, error) from None
        self._account.verified_bytes += self._files[file].size_bytes
        self._account.unstorable(file, error)

    async def _copy(self, first: int, file: int, staging: Staging, writer: Writer) -> None:
        row = self._files[file]
        try:
            name = await copied(staging, self._places[first], self._places[file], row.digest)
        except OSError as error:
            self._fail(file, error, staging)
            return
        if name is None:
            message = f"{self._places[first]}, which has the same content, was changed meanwhile"
            self._account.failed(file, "CONTENT_CHANGED", message)
            return
        writer.add(name, file)
        self._account.verified_bytes += row.size_bytes

    async def _download(
        self, file: int, staging: Staging, on_event: Callable[[Event], None]
    ) -> None:
        with closing(staging.ground.place(self._places[file])) as place:
            done = await self._downloader.fetch_to(
                self._files[file].digest_hex, place, on_event=on_event
            )
        for user in done.sources:
            self._account.tally.gave(user, done.fetched_bytes // len(done.sources))


async def copied(staging: Staging, origin: str, place: str, digest: bytes) -> str | None:
    """The temporary name of a copy of what stands at the origin; None: that has another digest."""
    return await until_stopped(partial(staging.copy, origin, place, digest))


class _Watch:
    """Adds what one download tells to the account of the tree."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._verified_bytes = 0
        self._fetched_bytes = 0

    def on_event(self, event: Event) -> None:
        match event:
            case Progress():
                self._account.verified_bytes += event.verified_bytes - self._verified_bytes
                self._account.tally.fetched(event.fetched_bytes - self._fetched_bytes)
                self._verified_bytes = event.verified_bytes
                self._fetched_bytes = event.fetched_bytes
            case Queued():
                self._account.waits(event)
            case SourceFailed():
                self._account.tally.repeat(event)

    def forget(self) -> None:
        self._account.verified_bytes -= self._verified_bytes
