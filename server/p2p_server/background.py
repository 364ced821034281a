"""What a directory does beside the calls: again and again, whatever comes of it.

Which steps these are, and how often each is taken, is `app.py`'s to say.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Final

from p2p_server.directory.directory import Directory
from p2p_server.directory.errors import StoreUnavailable
from p2p_server.store.base import Store

BEATS_PER_PING: Final = 4
STORE_SILENT_SECONDS: Final = 6.0  # longer than another process may keep it locked
PURGE_SLICE_ROWS: Final = 1_000
PURGE_PAUSE_SECONDS: Final = 0.05  # between slices: others get their turn at the writer
KEPT_AFTER_END_SECONDS: Final = 3600.0

log = logging.getLogger(__name__)


@asynccontextmanager
async def working(work: Sequence[Coroutine[object, object, None]]) -> AsyncIterator[None]:
    """What goes on beside the calls, within the block."""
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(each) for each in work]
        yield
        for task in running:
            task.cancel()


class Pulse:
    """What is done all the time, and shows by failing that the directory is not well. The only one
    to say so: all else that meets a database that is away is silent about it."""

    def __init__(
        self, store: Store, directory: Directory, tell_health: Callable[[bool], Awaitable[None]]
    ) -> None:
        self._store = store
        self._directory = directory
        self._tell_health = tell_health
        self._beats = 0
        self._is_unsure = True  # whether the store did not answer the last ping
        self._is_away = False

    async def beat(self) -> None:
        was_away = self._is_away
        try:
            await self._try()
            self._is_away = False
        except StoreUnavailable:
            self._is_away = True
        if self._is_away != was_away:
            again = "takes changes again" if was_away else "does not take changes now; trying again"
            log.warning("the database %s", again)
            await self._tell_health(not self._is_away)

    async def _try(self) -> None:
        """Raises StoreUnavailable, also for a store that does not answer."""
        sessions = self._directory.sessions
        self._beats += 1
        try:
            async with asyncio.timeout(STORE_SILENT_SECONDS):
                await sessions.sweep()
                await sessions.look_for_others()
                # Once it failed, only a ping shows that all is well again: a look proves little.
                if self._is_unsure or self._beats % BEATS_PER_PING == 0:
                    self._is_unsure = True
                    await self._store.ping()
                    self._is_unsure = False
        except TimeoutError:
            raise StoreUnavailable from None


async def repeat(pause_seconds: float, step: Callable[[], Awaitable[None]]) -> None:
    """Takes the step again and again, whatever comes of it."""
    while True:
        try:
            await step()
        except StoreUnavailable:
            log.debug("a step in the background waits for the database")
        except Exception:
            log.exception("unhandled error in the background")
        await asyncio.sleep(pause_seconds)


async def purge(store: Store) -> None:
    ended_before = time.time() - KEPT_AFTER_END_SECONDS
    while True:
        if not await store.purge(ended_before, PURGE_SLICE_ROWS):
            return
        await asyncio.sleep(PURGE_PAUSE_SECONDS)
