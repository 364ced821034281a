"""Check, backup and restore beside a directory that works, and beside each other."""

import threading
from contextlib import closing
from pathlib import Path

import apsw
import pytest
from tests.server.store.factories import a_resource, sharing

from p2p_server.store.sqlite import SqliteStore, upkeep


async def a_database(path: Path) -> None:
    store = SqliteStore(path)
    await store.open()
    await sharing(store, *(a_resource(f"folder/{i}") for i in range(50)))
    await store.close()


async def test_a_check_sees_one_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "directory.db"
    store = SqliteStore(path)
    await store.open()
    await sharing(store, *(a_resource(f"folder/{i}") for i in range(50)))
    count = upkeep._count

    def count_and_change(connection: apsw.Connection, sql: str) -> int:
        found = count(connection, sql)
        if sql.endswith("FROM resources"):
            other = apsw.Connection(str(path))
            other.execute("BEGIN; DELETE FROM paths WHERE rowid = 1; COMMIT").fetchall()
            other.close()
        return found

    monkeypatch.setattr(upkeep, "_count", count_and_change)

    assert not upkeep.check(path).faults
    await store.close()


async def test_backups_to_one_name_do_not_disturb_each_other(tmp_path: Path) -> None:
    path, target = tmp_path / "directory.db", tmp_path / "backup.db"
    await a_database(path)
    began, other_began = threading.Event(), threading.Event()

    def wait(_: float) -> None:
        began.set()
        other_began.wait(10)

    first = threading.Thread(target=upkeep.back_up, args=(path, target, wait))
    first.start()
    began.wait(10)
    with upkeep._made(target) as part:  # the second, at its beginning when the first ends
        part.write_bytes(b"half of it")
        other_began.set()
        first.join()
        assert upkeep.check(target).resources == 50
        target.rename(tmp_path / "away.db")


async def test_what_was_there_is_kept_however_soon_one_restores_again(tmp_path: Path) -> None:
    path, target = tmp_path / "directory.db", tmp_path / "backup.db"
    await a_database(path)
    upkeep.back_up(path, target)
    with closing(apsw.Connection(str(path))) as connection:
        connection.execute("CREATE TABLE only_in_what_was_there (x)")

    kept = [upkeep.put_back(target, path, ".kept") for _ in range(3)]

    assert len(set(kept)) == 3
    assert kept[0] is not None
    with closing(apsw.Connection(str(kept[0]))) as connection:
        connection.execute("SELECT x FROM only_in_what_was_there")
