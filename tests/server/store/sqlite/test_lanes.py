"""Who does which work when: the most urgent first, by the thread whose connection is warm."""

import asyncio
import threading
from functools import partial

import apsw
from tests.support.libraries import until

from p2p_server.store.sqlite.threads.lanes import Lane, Urgency


def in_memory() -> apsw.Connection:
    return apsw.Connection(":memory:")


async def test_what_is_urgent_is_done_before_what_came_earlier() -> None:
    lane = Lane("test", in_memory, 1)
    await lane.start()
    go_on, done = threading.Event(), list[str]()

    def note(name: str, _: object) -> None:
        done.append(name)

    lane.post(lambda _: go_on.wait(10), Urgency.SESSION)
    for name, urgency in (
        ("upkeep", Urgency.UPKEEP),
        ("first announce", Urgency.CATALOG),
        ("second announce", Urgency.CATALOG),
        ("heartbeat", Urgency.SESSION),
    ):
        lane.post(partial(note, name), urgency)

    go_on.set()
    await until(lambda: len(done) == 4)
    await lane.stop()

    assert done == ["heartbeat", "first announce", "second announce", "upkeep"]


async def test_work_goes_to_the_thread_that_was_busy_last() -> None:
    lane = Lane("test", in_memory, 3)
    await lane.start()
    seen = list[int]()
    for _ in range(20):
        await until(lambda: len(lane._jobs._idle) == 3)
        await lane.run(lambda _: seen.append(threading.get_ident()))
    await lane.stop()

    assert len(set(seen)) == 1


async def test_many_threads_work_at_once_and_all_work_is_done() -> None:
    lane = Lane("test", in_memory, 3)
    await lane.start()
    together = threading.Barrier(3)

    def told(number: int, _: object) -> int:
        return number

    await asyncio.gather(*(lane.run(lambda _: together.wait(10)) for _ in range(3)))
    results = await asyncio.gather(*(lane.run(partial(told, i)) for i in range(500)))
    await lane.stop()

    assert results == list(range(500))
