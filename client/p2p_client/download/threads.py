"""Waiting for threads: what they work on is not let go of before they have ended."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TypeVar

T = TypeVar("T")


async def settled(future: asyncio.Future[T]) -> T:
    """The result of what runs in a thread. Cancelling the wait leaves the future alone: it still
    tells when the thread has stopped."""
    try:
        await asyncio.wait({future})
    except asyncio.CancelledError:
        future.add_done_callback(lambda done: done.cancelled() or done.exception())
        raise
    return future.result()


async def outlasted(working: asyncio.Future[T], stop: threading.Event | None = None) -> T:
    """The result of what runs in a thread. One who is cancelled waits for its end all the same.

    Args:
        stop: set then, so that the end comes soon.
    """
    cancelled: asyncio.CancelledError | None = None
    while not working.done():
        try:
            await asyncio.wait({working})
        except asyncio.CancelledError as error:
            cancelled = error
            if stop is not None:
                stop.set()
    if cancelled is None:
        return working.result()
    if not working.cancelled():
        working.exception()  # seen; it is not what ended this
    raise cancelled


async def until_stopped(work: Callable[[threading.Event], T]) -> T:
    """The result of work in a thread, which is told to stop when its caller is cancelled."""
    stop = threading.Event()
    working = asyncio.get_running_loop().run_in_executor(None, work, stop)
    return await outlasted(working, stop)


@asynccontextmanager
async def worker_threads(count: int) -> AsyncIterator[Executor]:
    """Left when none of them works any more, not before, also when cancelled. The event loop goes
    on meanwhile: a disk may take long, and others are served and heard of."""
    threads = ThreadPoolExecutor(count, "p2p-download")
    try:
        yield threads
    finally:
        await outlasted(asyncio.get_running_loop().run_in_executor(None, threads.shutdown))
