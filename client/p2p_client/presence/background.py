"""The work of a peer that nobody waits for: it ends with the peer, and what it dies of is kept."""

import asyncio
from collections.abc import Coroutine

from p2p_client.errors import PeerError


class Background:
    """From `start` to `stop`, both called by the same task."""

    def __init__(self) -> None:
        self._group = asyncio.TaskGroup()
        self._tasks: list[asyncio.Task[None]] = []
        self._failure: asyncio.Future[None] | None = None

    async def start(self) -> None:
        self._failure = asyncio.get_running_loop().create_future()
        await self._group.__aenter__()

    def add(self, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        async def guarded() -> None:
            try:
                await work
            except PeerError as error:
                if self._failure is not None and not self._failure.done():
                    self._failure.set_exception(error)
                    self._failure.exception()  # seen: `failed` need not be awaited

        task = self._group.create_task(guarded())
        self._tasks.append(task)
        return task

    async def failed(self) -> None:
        """Waits for ever; raises the PeerError that some of the work has died of."""
        assert self._failure is not None, "enter the peer first"
        await asyncio.shield(self._failure)

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        try:
            # The error of whoever stops it must come out as it is, not inside a group.
            await self._group.__aexit__(None, None, None)
        finally:
            if self._failure is not None:
                self._failure.cancel()
