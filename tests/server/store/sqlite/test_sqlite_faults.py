"""Broken, foreign and newer databases; a process killed; a disk that is full."""

import asyncio
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw
import pytest
from tests.server.store.factories import (
    NO_LIMIT,
    a_resource,
    a_user,
    online,
    paths,
    revision,
    sharing,
)
from tests.server.store.kills import (
    ENVIRONMENT,
    ROOT,
    acknowledged_to_a_killed_writer,
    check_that_nothing_is_lost,
    killed_after,
)

from p2p_server.directory.errors import StoreUnavailable
from p2p_server.directory.models import Batch, Criteria
from p2p_server.store.errors import StoreUnusable
from p2p_server.store.sqlite import SqliteStore
from p2p_server.store.sqlite import connection as connection_module
from p2p_server.store.sqlite.connection import failures_translated, prepare, writing
from p2p_server.store.sqlite.schema import MIGRATIONS


async def a_database(path: Path) -> Path:
    store = SqliteStore(path)
    await store.open()
    await sharing(store, *(a_resource(f"folder/{i}") for i in range(500)))
    await store.close()
    return path


async def refusal_of(path: Path) -> str:
    """Why the store does not open; sees to it that nothing was touched."""
    before = {file: file.read_bytes() for file in path.parent.iterdir()}
    with pytest.raises(StoreUnusable) as refusal:
        await SqliteStore(path).open()
    assert {file: file.read_bytes() for file in path.parent.iterdir()} == before
    assert str(path) in str(refusal.value)
    return str(refusal.value)


async def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "directory.db"
    path.write_text("Dear diary, " * 100)

    assert "not an SQLite database" in await refusal_of(path)


async def test_a_database_of_another_program_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "directory.db"
    for script in ("CREATE TABLE t (x)", "PRAGMA application_id = 7", "PRAGMA user_version = 3"):
        path.unlink(missing_ok=True)
        other = apsw.Connection(str(path))
        other.execute(f"CREATE TABLE IF NOT EXISTS mine (x); {script}")
        other.close()

        assert "another program" in await refusal_of(path)


async def test_a_database_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    path = await a_database(tmp_path / "directory.db")
    connection = apsw.Connection(str(path))
    connection.pragma("user_version", 1_000)
    connection.close()

    assert "newer p2p-server" in await refusal_of(path)


async def test_a_newer_version_that_stands_in_the_log_only_is_refused(tmp_path: Path) -> None:
    path = await a_database(tmp_path / "directory.db")
    connection = apsw.Connection(str(path))
    connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    connection.pragma("user_version", 1_000)
    connection.close()
    (tmp_path / "directory.db-shm").unlink()  # as a crash of the machine leaves it

    with pytest.raises(StoreUnusable, match="newer p2p-server"):
        await SqliteStore(path).open()

    kept = apsw.Connection(str(path))
    assert kept.pragma("user_version") == 1_000
    kept.close()


@pytest.mark.parametrize("kept_part", [0.3, 0.9])
async def test_a_truncated_database_is_refused(tmp_path: Path, kept_part: float) -> None:
    path = await a_database(tmp_path / "directory.db")
    os.truncate(path, int(path.stat().st_size * kept_part))

    assert "damaged" in await refusal_of(path)


async def test_a_database_with_overwritten_pages_is_refused(tmp_path: Path) -> None:
    path = await a_database(tmp_path / "directory.db")
    contents = bytearray(path.read_bytes())
    contents[4096 * 3 : 4096 * 9] = os.urandom(4096 * 6)
    path.write_bytes(contents)

    assert "damaged" in await refusal_of(path)


async def test_a_database_in_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreUnusable, match="cannot open the database"):
        await SqliteStore(tmp_path / "missing" / "directory.db").open()


async def test_an_empty_file_becomes_a_database(tmp_path: Path) -> None:
    path = tmp_path / "directory.db"
    path.touch(mode=0o644)

    await a_database(path)

    assert path.stat().st_mode & 0o777 == 0o600


@contextmanager
def files_no_larger_than(size_bytes: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_a_full_disk_makes_writes_unavailable_and_nothing_else(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "directory.db")
    await store.open()
    peer = (await sharing(store, a_resource("there before"))).peer_id
    many = tuple(a_resource(f"folder/{i}") for i in range(3_000))
    large = Batch(revision(2), revision(1), resources=many)

    with files_no_larger_than(1 << 19):
        for _ in range(2):
            with pytest.raises(StoreUnavailable):
                await store.announce(peer, large, NO_LIMIT)
        assert await paths(store) == ["there before"]
        assert await store.held_revision(peer) == revision(1)

    assert await store.announce(peer, large, NO_LIMIT) == revision(2)  # there is room again
    assert len(await paths(store)) == 3_001
    assert await paths(store, Criteria(words=("folder/2999",))) == ["folder/2999"]
    await store.close()


@pytest.mark.slow
@pytest.mark.parametrize("revisions_seen", [1, 7, 20])
async def test_a_process_killed_while_it_writes_loses_nothing_it_acknowledged(
    tmp_path: Path, revisions_seen: int
) -> None:
    path = tmp_path / "directory.db"
    acknowledged = await acknowledged_to_a_killed_writer(str(path), revisions_seen)

    store = SqliteStore(path)
    await store.open()
    try:
        await check_that_nothing_is_lost(store, acknowledged)
    finally:
        await store.close()


MIGRATING_PROCESS = """
import sys, time, apsw
from p2p_server.store.sqlite import schema

def pause():
    print("in the middle", flush=True)
    time.sleep(600)

connection = apsw.Connection(sys.argv[1])
connection.create_scalar_function("pause", pause, 0)
schema.MIGRATIONS += ("CREATE TABLE later (x); DROP TABLE partials; SELECT pause();",)
schema.migrate(connection)
"""


@pytest.mark.slow
async def test_a_process_killed_while_it_migrates_leaves_the_old_schema(tmp_path: Path) -> None:
    path = await a_database(tmp_path / "directory.db")

    await killed_after(1, "-c", MIGRATING_PROCESS, str(path))

    store = SqliteStore(path)
    await store.open()
    assert len(await paths(store)) == 500
    await store.close()
    connection = apsw.Connection(str(path))
    assert connection.pragma("user_version") == len(MIGRATIONS)
    assert not connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'later'").fetchall()
    connection.close()


OTHER_PROCESS = """
import asyncio, sys
from pathlib import Path
from p2p_server.store.sqlite import SqliteStore

async def main():
    store = SqliteStore(Path(sys.argv[1]))
    await store.open()
    print(*(user.name for user in await store.users()))
    print(await store.remove_user("ann"))
    await store.close()

asyncio.run(main())
"""


@pytest.mark.slow
async def test_another_process_may_list_and_remove_users_meanwhile(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "directory.db")
    await store.open()
    session = await sharing(store, a_resource("a"))
    await store.bind_user(a_user("bob"))

    other = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-W", "error", "-c", OTHER_PROCESS, str(tmp_path / "directory.db")),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=ENVIRONMENT,
    )
    said, complained = await other.communicate()

    assert (said.split(), complained) == ([b"ann", b"bob", b"True"], b"")
    assert [user.name for user in await store.users()] == ["bob"]
    assert await store.find_session(session.token_hash) is None
    assert await paths(store) == []
    await online(store)
    await store.close()


def test_a_durable_transaction_syncs_and_others_need_not(tmp_path: Path) -> None:
    connection = prepare(tmp_path / "directory.db")

    with writing(connection, durable=True):
        assert connection.pragma("synchronous") == 2
    with writing(connection):
        assert connection.pragma("synchronous") == 1
    with pytest.raises(ZeroDivisionError), writing(connection, durable=True):
        raise ZeroDivisionError
    assert connection.pragma("synchronous") == 1
    connection.close()


SYNCING_PROCESS = """
import asyncio, os, sys
from pathlib import Path
from p2p_server.directory.models import Batch
from p2p_server.store.sqlite import SqliteStore
from tests.server.store.factories import *

async def main():
    store = SqliteStore(Path(sys.argv[1]))
    await store.open()
    peer = (await sharing(store)).peer_id
    mark = lambda what: os.access("mark-" + what, 0)
    mark("bind"); await store.bind_user(a_user("bob"))
    mark("remove"); await store.remove_user("bob")
    mark("secrets"); await store.secrets(lambda: {"key": b"secret"})
    mark("announce")
    await store.announce(peer, Batch(revision(2), revision(1), (a_resource("a"),)), 0)
    mark("end"); await store.close()

asyncio.run(main())
"""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is what sees a sync")
def test_users_and_secrets_are_on_the_disk_when_the_call_returns(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    calls = "trace=access,faccessat,faccessat2,fsync,fdatasync"
    subprocess.run(
        [
            *("strace", "-f", "-y", "-o", str(trace), "-e", calls),
            *(sys.executable, "-c", SYNCING_PROCESS, str(tmp_path / "directory.db")),
        ],
        env=ENVIRONMENT,
        cwd=ROOT,
        timeout=100,
        check=True,
    )

    syncs: dict[str, int] = {}
    step = ""
    for line in trace.read_text().splitlines():
        if '"mark-' in line:
            step = line.partition('"mark-')[2].partition('"')[0]
            syncs[step] = 0
        elif step and "sync(" in line and "directory.db-wal" in line:
            syncs[step] += 1
    assert all(syncs[step] >= 1 for step in ("bind", "remove", "secrets")), syncs
    assert syncs["announce"] == 0, syncs


def test_the_log_tells_of_a_lasting_failure_once_a_minute(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_module, "_said_until", {})
    for text in ("the disk is full", "the disk is full", "the disk is full", "another"):
        with pytest.raises(StoreUnavailable), failures_translated():
            raise apsw.FullError(text)

    assert [record.getMessage() for record in caplog.records] == [
        "the database failed: FullError: the disk is full",
        "the database failed: FullError: another",
    ]
