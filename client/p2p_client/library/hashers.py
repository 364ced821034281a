"""Hashing what the shelf wants hashed: a thread for many small files at a time, a few for large."""

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Never

from p2p_client.content.manifest import Manifest
from p2p_client.library.cache import HashCache
from p2p_client.library.disk.files import Location
from p2p_client.library.disk.hash import Hashed, Outcome, hash_file, hash_files
from p2p_client.library.events import HashProgress
from p2p_client.library.shelf.index import SharedFile
from p2p_client.library.shelf.queue import Lane
from p2p_client.library.shelf.shelf import Shelf

MOST_LARGE_AT_ONCE = 4
_FILES_AT_ONCE = 256
_TOLD_EVERY_SECONDS = 0.25


class Hashers:
    """
    Args:
        on_progress: told a few times a second while there is something to hash, and at its end.
    """

    def __init__(
        self, shelf: Shelf, cache: HashCache, on_progress: Callable[[HashProgress], None]
    ) -> None:
        self._shelf = shelf
        self._cache = cache
        self._on_progress = on_progress
        self._wake = asyncio.Event()
        self._busy = asyncio.Event()
        self._stop = threading.Event()
        self._large_count = min(MOST_LARGE_AT_ONCE, os.cpu_count() or 1)
        # Beside the large: one for the small, one for a manifest that got lost.
        self._threads = ThreadPoolExecutor(self._large_count + 2, "p2p-hash")

    def wake(self) -> None:
        self._wake.set()

    async def run(self) -> None:
        """Hashes until cancelled."""
        try:
            async with asyncio.TaskGroup() as loops:
                loops.create_task(self._run_progress())
                loops.create_task(self._run_lane(Lane.SMALL, _FILES_AT_ONCE))
                for _ in range(self._large_count):
                    loops.create_task(self._run_lane(Lane.LARGE, 1))
        finally:
            self._stop.set()
            self._threads.shutdown(wait=False, cancel_futures=True)

    async def manifest_of(self, file: SharedFile) -> Manifest | None:
        """Hashes a file that is listed once more, for its manifest; None: it is not what it was."""
        loop = asyncio.get_running_loop()
        work = partial(hash_file, file.path, file.location, self._stop, _ignore)
        outcome = await loop.run_in_executor(self._threads, work)
        if not isinstance(outcome, Hashed) or file.resource is None:
            return None
        if outcome.digest != file.resource.digest:
            return None
        await asyncio.to_thread(self._cache.store, [outcome])
        return outcome.manifest

    async def _run_lane(self, lane: Lane, most_files: int) -> Never:
        loop = asyncio.get_running_loop()
        while True:
            files = self._shelf.take(lane, most_files)
            if not files:
                await self._rest(lane)
                continue
            self._busy.set()
            batch = [(file.path, file.location) for file in files]
            for outcome in await loop.run_in_executor(self._threads, self._hash, batch):
                self._shelf.conclude(outcome)

    def _hash(self, batch: list[tuple[str, Location]]) -> list[Outcome]:
        """Stored before it is listed: whoever is stopped the moment that all is there need not hash
        anything again."""
        outcomes = hash_files(batch, self._stop, self._shelf.meter.add_bytes)
        hashed = [outcome for outcome in outcomes if isinstance(outcome, Hashed)]
        if hashed:
            self._cache.store(hashed)
        return outcomes

    async def _rest(self, lane: Lane) -> None:
        """Until something is pushed, or a restless file has had its pause."""
        self._wake.clear()
        seconds = self._shelf.queue.seconds_to_next(time.monotonic(), lane)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()

    async def _run_progress(self) -> Never:
        while True:
            await self._busy.wait()
            while len(self._shelf.queue):
                self._on_progress(self._shelf.meter.read())
                await asyncio.sleep(_TOLD_EVERY_SECONDS)
            self._busy.clear()
            self._on_progress(self._shelf.meter.reset())


def _ignore(_: int) -> None:
    return
