"""However fast others speak, what waits stays bounded, and nothing is lost without a word."""

import asyncio

from p2p_server.store.postgres.hearing import Heard, Missed


async def test_what_was_heard_comes_in_its_order() -> None:
    heard, event = Heard(), asyncio.Event()
    heard.hear("first")
    heard.wait_behind(event)
    heard.hear("last")

    assert [await heard.next() for _ in range(3)] == ["first", event, "last"]


async def test_too_much_becomes_one_word_that_some_was_missed() -> None:
    heard = Heard(most=3)
    for said in ("a", "b", "c", "missed with them", "d"):
        heard.hear(said)

    assert [await heard.next(), await heard.next()] == [Missed.SOME, "d"]
    assert len(heard) == 0


async def test_those_who_wait_are_not_forgotten_with_it() -> None:
    heard, event = Heard(most=2), asyncio.Event()
    heard.hear("a")
    heard.wait_behind(event)
    heard.hear("b")

    assert [await heard.next(), await heard.next()] == [Missed.SOME, event]


async def test_a_reader_waits_until_something_is_said() -> None:
    heard = Heard()
    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        reading = tasks.create_task(heard.next())
        await asyncio.sleep(0)
        assert not reading.done()
        heard.hear("now")

    assert reading.result() == "now"


async def test_a_storm_stays_bounded() -> None:
    heard = Heard(most=10)
    for number in range(10_000):
        heard.hear(str(number))
        assert len(heard) <= 10
