"""An outage of the database is told once, by the one loop that looks after its health."""

import asyncio
import logging
from typing import cast

import pytest

from p2p_server.background import Pulse, repeat
from p2p_server.directory.directory import Directory
from p2p_server.directory.errors import StoreUnavailable
from p2p_server.store.base import Store


class Sessions:
    async def sweep(self) -> None: ...

    async def look_for_others(self) -> None: ...


class Database:
    """A store and a directory on it, as far as a pulse looks at them."""

    def __init__(self) -> None:
        self.is_away = False
        self.sessions = Sessions()
        self.health: list[bool] = []

    async def ping(self) -> None:
        if self.is_away:
            raise StoreUnavailable

    async def tell_health(self, is_well: bool) -> None:
        self.health.append(is_well)

    def pulse(self) -> Pulse:
        return Pulse(cast("Store", self), cast("Directory", self), self.tell_health)


async def beats(pulse: Pulse, count: int = 10) -> None:
    for _ in range(count):
        await pulse.beat()


async def test_an_outage_is_one_line_and_its_end_another(caplog: pytest.LogCaptureFixture) -> None:
    database = Database()
    pulse = database.pulse()
    await beats(pulse)
    database.is_away = True
    await beats(pulse)
    database.is_away = False
    await beats(pulse)

    assert [record.getMessage() for record in caplog.records if record.levelno > logging.INFO] == [
        "the database does not take changes now; trying again",
        "the database takes changes again",
    ]
    assert database.health == [False, True]


async def test_what_else_meets_the_outage_goes_on_in_silence(
    caplog: pytest.LogCaptureFixture,
) -> None:
    tried = asyncio.Semaphore(0)

    async def step() -> None:
        tried.release()
        raise StoreUnavailable

    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        loops = [tasks.create_task(repeat(0, step)) for _ in range(3)]
        for _ in range(12):
            await tried.acquire()
        for loop in loops:
            loop.cancel()

    assert [record for record in caplog.records if record.levelno > logging.INFO] == []
