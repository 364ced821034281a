"""Every store agrees with the models, whatever is done to it in whatever order."""

from collections.abc import Callable
from pathlib import Path

import asyncpg
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test
from tests.server.store.models.catalog import AnnouncesAgreeWithADict
from tests.server.store.models.presence import Databases, PresenceAgreesWithADict
from tests.support.programs.postgres import Cluster

from p2p_server.store.base import Change, ChangesMissed
from p2p_server.store.postgres import PostgresStore
from p2p_server.store.sqlite import SqliteStore

CLOCK = """
SET search_path = p2p_directory;
CREATE TABLE clock (unix float8);
INSERT INTO clock VALUES (0);
CREATE OR REPLACE FUNCTION directory_now() RETURNS timestamptz LANGUAGE sql VOLATILE
    AS 'SELECT to_timestamp(unix) FROM p2p_directory.clock';
"""


class Examples:
    """A new database for each example of a machine."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0

    def file(self) -> Path:
        self._count += 1
        return self._folder / f"{self._count}.db"


def check(machine: Callable[[], RuleBasedStateMachine], examples: int, steps: int) -> None:
    run_state_machine_as_test(
        machine,  # type: ignore[arg-type]  # whatever makes one will do
        settings=settings(max_examples=examples, stateful_step_count=steps, deadline=None),
    )


def test_the_catalog_in_sqlite(tmp_path: Path) -> None:
    examples = Examples(tmp_path)

    check(lambda: AnnouncesAgreeWithADict(lambda: SqliteStore(examples.file())), 40, 25)


def test_the_catalog_in_postgresql(postgres: Cluster) -> None:
    check(lambda: AnnouncesAgreeWithADict(lambda: PostgresStore(postgres.database())), 12, 25)


def test_presence_in_sqlite(tmp_path: Path) -> None:
    examples = Examples(tmp_path)

    async def databases() -> Databases:
        store = SqliteStore(examples.file())
        await store.open()
        return Databases([store], [], _no_clock, [], store.close)

    check(lambda: PresenceAgreesWithADict(databases), 30, 25)


async def _no_clock(unix: float) -> None:
    """Leases are in memory, where the time is the directory's own."""


class Told(PostgresStore):
    """A store whose instance is told that something changed when the test says so."""

    def __init__(self, url: str, news: list[Callable[[], None]]) -> None:
        super().__init__(url)
        self._news = news

    def listen(self, callback: Callable[[Change], None]) -> None:
        self._news.append(lambda: callback(ChangesMissed()))


def test_presence_with_two_instances_on_postgresql(postgres: Cluster) -> None:
    async def databases() -> Databases:
        url = postgres.database()
        news: list[Callable[[], None]] = []
        stores = [Told(url, news) for _ in range(2)]
        for store in stores:
            await store.open()
        clock = await asyncpg.connect(url)
        await clock.execute(CLOCK)

        async def set_clock(unix: float) -> None:
            await clock.execute("UPDATE clock SET unix = $1", unix)

        async def close() -> None:
            await clock.close()
            for store in stores:
                await store.close()

        return Databases(stores, stores, set_clock, news, close)

    check(lambda: PresenceAgreesWithADict(databases), 15, 20)
