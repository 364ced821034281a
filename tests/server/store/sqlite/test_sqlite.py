"""The SQLite store keeps the rules of all stores, and closes without leaving anything behind."""

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import apsw
import pytest
from tests.server.store.factories import (
    NO_LIMIT,
    a_partial,
    a_resource,
    a_session,
    a_snapshot,
    a_user,
    online,
    paths,
    purged,
    revision,
    sharing,
)
from tests.server.store.suite import StoreSuite

from p2p_server.directory.errors import StoreUnavailable
from p2p_server.directory.models import Batch, Criteria, Page
from p2p_server.store.sqlite import SqliteStore
from p2p_server.store.sqlite import store as store_module
from p2p_server.store.sqlite.catalog import purge


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    opened = SqliteStore(tmp_path / "directory.db")
    await opened.open()
    yield opened
    await opened.close()


class TestSqliteStore(StoreSuite):
    """All rules of all stores."""


async def test_everything_is_there_after_closing_and_opening_again(
    store: SqliteStore, tmp_path: Path
) -> None:
    await store.secrets(lambda: {"key": b"secret"})
    session = await sharing(store, a_resource("a"))
    await store.announce(
        session.peer_id,
        Batch(revision(5), resources=(a_resource("staged"),), snapshot_id="s"),
        NO_LIMIT,
    )
    await store.close()

    again = SqliteStore(tmp_path / "directory.db")
    await again.open()

    try:
        assert await again.secrets(dict) == {"key": b"secret"}
        assert [user.name for user in await again.users()] == ["ann"]
        assert await again.find_session(session.token_hash) is not None
        assert await paths(again) == ["a"]
        last = Batch(revision(5), snapshot_id="s", batch_index=1, last=True)
        assert await again.announce(session.peer_id, last, NO_LIMIT) == revision(5)
        assert await paths(again) == ["staged"]
    finally:
        await again.close()


async def test_the_files_are_for_their_owner_alone(store: SqliteStore, tmp_path: Path) -> None:
    await sharing(store, a_resource("a"))

    modes = {file.name: file.stat().st_mode & 0o777 for file in tmp_path.iterdir()}

    assert modes == dict.fromkeys(("directory.db", "directory.db-wal", "directory.db-shm"), 0o600)


async def test_closing_leaves_no_thread_and_no_side_files(tmp_path: Path) -> None:
    before = threading.active_count()
    store = SqliteStore(tmp_path / "directory.db")
    await store.open()
    await sharing(store, a_resource("a"))
    assert threading.active_count() > before

    await store.close()

    assert threading.active_count() == before
    assert [file.name for file in tmp_path.iterdir()] == ["directory.db"]


async def test_a_closed_store_is_unavailable_and_closing_twice_is_nothing(
    store: SqliteStore,
) -> None:
    await store.close()
    await store.close()

    with pytest.raises(StoreUnavailable):
        await store.users()
    with pytest.raises(StoreUnavailable):
        await store.bind_user(a_user())


async def test_queries_are_answered_while_a_large_batch_is_written(store: SqliteStore) -> None:
    peer = (await sharing(store, a_resource("a"))).peer_id
    many = tuple(a_resource(f"folder/{i}") for i in range(5_000))

    async with asyncio.TaskGroup() as tasks:
        announcing = tasks.create_task(store.announce(peer, a_snapshot(2, *many), NO_LIMIT))
        answered = 0
        while not announcing.done():
            assert (await store.query(Criteria(), None, 1)).rows
            answered += 1

    assert answered > 3
    assert len(await paths(store)) == 5_000


async def test_what_is_gone_leaves_no_row_behind(store: SqliteStore, tmp_path: Path) -> None:
    resources = [a_resource(f"folder/{i}") for i in range(20)]
    session = await sharing(store, *resources)
    delta = Batch(
        revision(2),
        revision(1),
        withdrawn_paths=tuple(r.path for r in resources[:5]),
        partials=(a_partial("x"),),
    )
    await store.announce(session.peer_id, delta, NO_LIMIT)
    for snapshot_id in ("dropped", "staged"):
        batch = Batch(revision(3), resources=tuple(resources), snapshot_id=snapshot_id)
        await store.announce(session.peer_id, batch, NO_LIMIT)
    reader = apsw.Connection(str(tmp_path / "directory.db"))
    tables = ("peers", "catalogs", "resources", "partials", "paths_docsize")

    def rows() -> list[object]:
        return [reader.execute(f"SELECT count(*) FROM {t}").fetchall()[0][0] for t in tables]

    await purged(store)
    assert rows() == [1, 2, 35, 1, 35]
    await store.remove_user("ann")
    await purged(store, most_rows=7)
    assert rows() == [0, 0, 0, 0, 0]
    reader.close()


async def test_a_session_does_not_wait_for_a_queue_of_announces(store: SqliteStore) -> None:
    peers = [(await online(store, a_session(peer=f"p{i}"))).peer_id for i in range(12)]
    resources = tuple(a_resource(f"folder/{i}") for i in range(1_000))

    async with asyncio.TaskGroup() as tasks:
        announces = [
            tasks.create_task(store.announce(peer, a_snapshot(1, *resources), NO_LIMIT))
            for peer in peers
        ]
        await asyncio.sleep(0)  # they are in the queue now
        await store.open_session(a_session(peer="in a hurry"))

        assert not all(announce.done() for announce in announces)


async def test_a_cancelled_call_does_its_work_wholly_or_not_at_all(store: SqliteStore) -> None:
    peer = (await online(store)).peer_id
    resources = tuple(a_resource(f"folder/{i}") for i in range(2_000))

    async with asyncio.TaskGroup() as tasks:
        announcing = tasks.create_task(store.announce(peer, a_snapshot(1, *resources), NO_LIMIT))
        await asyncio.sleep(0)
        announcing.cancel()

    held = await store.held_revision(peer)
    assert len(await paths(store)) == (2_000 if held == revision(1) else 0)


async def test_closing_ends_a_long_query(store: SqliteStore) -> None:
    await sharing(store, *(a_resource(f"{'a' * 200}/{i}") for i in range(3_000)))

    queries = (store.query(Criteria(glob="**a*a*a*a*a*b/**"), None, 10) for _ in range(20))
    asking = asyncio.gather(*queries, return_exceptions=True)
    await asyncio.sleep(0)  # they are in the queue now
    await store.close()

    for answer in await asking:
        assert isinstance(answer, StoreUnavailable) or answer == Page(())


async def test_room_that_is_not_needed_any_more_is_given_back(
    store: SqliteStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(purge, "SPARE_PAGES", 16)
    gone = await sharing(store, *(a_resource(f"{'x' * 200}/{i}") for i in range(3_000)))
    await sharing(store, a_resource("stays"), session=a_session("bob"))
    reader = apsw.Connection(str(tmp_path / "directory.db"))
    full = reader.pragma("page_count")

    await store.end_sessions([gone.token_hash], ended_at=1)
    await purged(store, ended_before=2, most_rows=500)

    assert reader.pragma("page_count") < full / 2
    assert await paths(store) == ["stays"]
    reader.close()


async def test_the_log_is_emptied_though_somebody_reads_all_the_time(
    store: SqliteStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "WAL_LIMIT_BYTES", 100_000)
    log = tmp_path / "directory.db-wal"
    reader = apsw.Connection(str(tmp_path / "directory.db"))
    reader.execute("BEGIN; SELECT count(*) FROM peers")
    await sharing(store, *(a_resource(f"folder/{i}") for i in range(1_000)))

    assert await store.purge(0, 10) == 0
    assert log.stat().st_size > 100_000, "the reader's state stands there"
    reader.execute("COMMIT")
    assert await store.purge(0, 10) == 0

    assert log.stat().st_size == 0
    assert len(await paths(store)) == 1_000
    reader.close()
