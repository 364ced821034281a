"""The log is moved into the database beside the writer, and begins anew."""

from collections.abc import AsyncIterator
from pathlib import Path

import apsw
import pytest
from tests.server.store.factories import a_resource, a_session, paths, sharing
from tests.support.libraries import until

from p2p_server.store.sqlite import SqliteStore
from p2p_server.store.sqlite.threads import checkpoints

PAGES = 50
PAGE_BYTES = 4_096
ROUNDS = 12


@pytest.fixture
async def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[SqliteStore]:
    monkeypatch.setattr(checkpoints, "CHECKPOINT_PAGES", PAGES)
    opened = SqliteStore(tmp_path / "directory.db")
    await opened.open()
    yield opened
    await opened.close()


async def moved(store: SqliteStore) -> None:
    await until(lambda: not store._checkpoints._is_moving, within_seconds=60)


async def share(store: SqliteStore, user: str) -> None:
    files = [a_resource(f"{user}/{number}") for number in range(500)]
    await sharing(store, *files, session=a_session(user))


async def test_the_log_does_not_grow_with_what_is_announced(
    store: SqliteStore, tmp_path: Path
) -> None:
    log = tmp_path / "directory.db-wal"
    for number in range(ROUNDS):
        await share(store, f"user{number}")
        await moved(store)
        if number == 0:
            first = log.stat().st_size

    assert first > PAGES * PAGE_BYTES
    assert log.stat().st_size < ROUNDS / 2 * first


async def test_while_somebody_reads_the_log_it_grows_and_begins_anew_afterwards(
    store: SqliteStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "READERS_WAIT_MS", 1)
    log = tmp_path / "directory.db-wal"
    reader = apsw.Connection(str(tmp_path / "directory.db"))
    reader.execute("BEGIN; SELECT count(*) FROM peers")
    for number in range(3):
        await share(store, f"user{number}")
        await moved(store)
    grown = log.stat().st_size
    reader.execute("COMMIT")
    for number in range(3, 6):
        await share(store, f"user{number}")
        await moved(store)

    assert log.stat().st_size < 1.7 * grown
    assert len(await paths(store)) == 3_000
    reader.close()


async def test_a_log_that_cannot_be_moved_stays_and_is_tried_again(
    store: SqliteStore, tmp_path: Path
) -> None:
    database = tmp_path / "directory.db"
    await store._mover.run(lambda connection: connection.close())
    await share(store, "alice")
    await moved(store)
    await share(store, "bob")

    assert len(await paths(store)) == 1_000
    assert database.stat().st_size < (tmp_path / "directory.db-wal").stat().st_size
