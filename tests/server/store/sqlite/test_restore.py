"""Whenever a restore is killed, there is a whole database: the old one, or the backup's."""

import os
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import apsw
import pytest
from tests.server.store.kills import ENVIRONMENT, ROOT

from p2p_server.store.errors import StoreUnusable
from p2p_server.store.sqlite.connection import prepare
from p2p_server.store.sqlite.upkeep import _give_to_owner_of, back_up, check, put_back

pytestmark = pytest.mark.slow

ADD = "INSERT INTO users (name, folded_name, key_fingerprint, bound_at) VALUES (?, ?, '', 0)"


def add_user(database: Path, name: str, *, and_die: bool = False) -> None:
    """As a directory does; one that dies leaves its log behind."""
    code = (
        "import os, sys; from pathlib import Path; "
        "from p2p_server.store.sqlite.connection import prepare; c = prepare(Path(sys.argv[1])); "
        f"c.execute({ADD!r}, (sys.argv[2], sys.argv[2])); "
        f"{'os._exit(0)' if and_die else 'c.close()'}"
    )
    subprocess.run([sys.executable, "-c", code, database, name], env=ENVIRONMENT, check=True)


def users(database: Path) -> list[str]:
    with closing(apsw.Connection(str(database))) as connection:
        return [str(row[0]) for row in connection.execute("SELECT name FROM users ORDER BY name")]


def restore_killed_at(backup: Path, database: Path, change: int) -> bool:
    """Whether it was killed; False: it had fewer changes to make."""
    command = [sys.executable, "-m", "tests.server.store.sqlite.restore_to_kill"]
    ended = subprocess.run(
        [*command, backup, database, str(change)], cwd=ROOT, env=ENVIRONMENT, check=False
    )
    assert ended.returncode in (0, -signal.SIGKILL)
    return ended.returncode != 0


def test_a_restore_that_is_killed_leaves_the_old_database_or_the_new_one(tmp_path: Path) -> None:
    database, backup = tmp_path / "directory.db", tmp_path / "backup.db"
    with closing(prepare(database)):
        pass
    add_user(database, "alice")
    back_up(database, backup)
    seen, found = set[str](), ["alice"]
    for change in range(1, 40):
        add_user(database, f"late{change:02}", and_die=True)
        assert database.with_name("directory.db-wal").stat().st_size, "there is nothing to lose"
        held = sorted([*found, f"late{change:02}"])

        was_killed = restore_killed_at(backup, database, change)

        found = users(database)
        assert not check(database).faults
        assert found in (held, ["alice"]), f"killed at change {change}"
        seen.add("old" if found == held else "new")
        if not was_killed:
            break
    assert seen == {"old", "new"}
    assert not was_killed
    kept = list(tmp_path.glob("directory.db.before-restore-*"))
    assert held in map(users, kept), "what was there is gone"
    assert not any(database.samefile(one) for one in kept)
    assert not list(tmp_path.glob("*.restoring*"))


def test_a_damaged_database_is_kept_with_its_log(tmp_path: Path) -> None:
    database, backup = tmp_path / "directory.db", tmp_path / "backup.db"
    with closing(prepare(database)):
        pass
    add_user(database, "alice")
    back_up(database, backup)
    add_user(database, "bob", and_die=True)
    log = database.with_name("directory.db-wal").read_bytes()
    database.write_bytes(b"not a database at all" * 1_000)

    kept = put_back(backup, database, ".before-restore-now")

    assert kept is not None
    assert kept.read_bytes().startswith(b"not a database")
    assert kept.with_name(f"{kept.name}-wal").read_bytes() == log
    assert users(database) == ["alice"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files to others")
def test_what_root_restores_belongs_to_the_user_whose_folder_it_is(tmp_path: Path) -> None:
    state, backup = tmp_path / "state", tmp_path / "backup.db"
    state.mkdir()
    with closing(prepare(state / "directory.db")):
        pass
    back_up(state / "directory.db", backup)
    os.chown(state, 12_345, 12_345)

    put_back(backup, state / "directory.db", ".before-restore-now")

    assert (state / "directory.db").stat().st_uid == 12_345


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files to others")
@pytest.mark.parametrize("planted", ["a symlink", "a second name"])
def test_what_the_user_puts_in_its_place_is_not_given_to_them(tmp_path: Path, planted: str) -> None:
    state, of_root = tmp_path / "state", tmp_path / "of-root"
    state.mkdir()
    os.chown(state, 12_345, 12_345)
    of_root.write_bytes(b"secret")
    incoming = state / "directory.db.restoring"
    if planted == "a symlink":
        incoming.symlink_to(of_root)
    else:
        os.link(of_root, incoming)

    with pytest.raises((OSError, StoreUnusable)):
        _give_to_owner_of(state, incoming)

    assert of_root.stat().st_uid == 0
