"""Threads that work for a download are waited for without holding up anybody else."""

import asyncio
import threading

from p2p_client.download.threads import worker_threads


async def test_a_thread_that_takes_long_does_not_hold_up_the_event_loop() -> None:
    is_released = threading.Event()
    async with worker_threads(1) as threads:
        working = threads.submit(is_released.wait, 10)
        asyncio.get_running_loop().call_soon(is_released.set)

    assert working.result()


async def test_nobody_leaves_before_the_threads_have_ended_not_even_when_cancelled() -> None:
    is_released, has_begun = threading.Event(), asyncio.Event()
    ended = False

    def work() -> None:
        nonlocal ended
        is_released.wait(10)
        ended = True

    async def download() -> None:
        async with worker_threads(1) as threads:
            threads.submit(work)
            has_begun.set()

    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(download())
        await has_begun.wait()
        for _ in range(3):
            task.cancel()
            await asyncio.sleep(0)
        assert not task.done()
        is_released.set()
    assert task.cancelled()
    assert ended
