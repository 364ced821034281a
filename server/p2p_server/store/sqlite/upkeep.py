"""A database file as its operator handles it: checked, backed up and put back.

Works on files, beside a directory that may be running: a backup is a snapshot that holds up nobody,
for in WAL mode readers and the writer do not wait for each other. Only putting back needs the file
for itself; what was there is kept.
"""

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from secrets import token_hex
from typing import Final

import apsw

from p2p_server.store.errors import StoreUnusable
from p2p_server.store.sqlite.connection import (
    BUSY_TIMEOUT_MS,
    check_contents,
    connect_to_inspect,
    is_new,
)
from p2p_server.store.sqlite.schema import MIGRATIONS, version_of
from p2p_server.store.sqlite.sql import all_rows, first_row

PAGES_AT_ONCE: Final = 4_096
_SIDE_FILES: Final = ("-wal", "-shm")
_MOST_FAULTS: Final = 20
_INCOMING: Final = ".restoring"
_KEPT: Final = ".before-restore-"


@dataclass(frozen=True, slots=True)
class Report:
    """What a check found. No faults: the database is sound."""

    path: Path
    schema_version: int
    known_version: int  # of this program
    sqlite_version: str
    size_bytes: int
    users: int
    peers: int
    resources: int
    faults: tuple[str, ...]


def check(path: Path) -> Report:
    """Reads the whole database. Raises StoreUnusable where it cannot even be opened as ours."""
    with _inspected(path) as connection:
        # All of it at one moment: a directory that runs changes it meanwhile.
        connection.execute("BEGIN").fetchall()
        found = all_rows(connection, f"PRAGMA integrity_check({_MOST_FAULTS})")
        faults = [str(row[0]).strip() for row in found if row[0] != "ok"]
        dangling = all_rows(connection, "PRAGMA foreign_key_check")[:_MOST_FAULTS]
        faults += [f"a row of {row[0]} refers to one of {row[2]} that is not" for row in dangling]
        unindexed = _count(connection, "SELECT count(*) FROM resources") - _count(
            connection, "SELECT count(*) FROM paths"
        )
        if unindexed:
            faults.append(f"the search index and the resources differ by {abs(unindexed)} rows")
        return Report(
            path=path,
            schema_version=version_of(connection),
            known_version=len(MIGRATIONS),
            sqlite_version=apsw.sqlite_lib_version(),
            size_bytes=sum(file.stat().st_size for file in _files_of(path) if file.exists()),
            users=_count(connection, "SELECT count(*) FROM users"),
            peers=_count(connection, "SELECT count(*) FROM peers WHERE ended_at IS NULL"),
            resources=_count(
                connection,
                "SELECT coalesce(sum(resource_count), 0) FROM peers WHERE ended_at IS NULL",
            ),
            faults=tuple(faults),
        )


def back_up(path: Path, target: Path, progress: Callable[[float], None] = lambda _: None) -> int:
    """Writes the state of this moment to a file that is not there yet; its size.

    Raises StoreUnusable, OSError; then there is no target.
    """
    with _inspected(path) as source, _made(target) as part:
        # A read transaction pins the snapshot: else each change by others would begin it anew.
        source.execute("BEGIN; SELECT 1 FROM sqlite_schema").fetchall()
        with closing(apsw.Connection(str(part))) as copy:
            with copy.backup("main", source, "main") as steps:
                while not steps.done:
                    steps.step(PAGES_AT_ONCE)
                    progress(1 - steps.remaining / max(1, steps.page_count))
            # One file, without a log beside it: easier to carry around.
            copy.pragma("journal_mode", "DELETE")
            _raise_if_unsound(copy, part)
        return part.stat().st_size


def put_back(backup: Path, path: Path, kept_suffix: str) -> Path | None:
    """Puts a backup in the place of the database; what was there is kept under its name with the
    suffix (None: nothing was). No directory may run on it: the caller sees to that.

    Whenever it is killed, `path` is a whole database: the old one, or the new one.

    Raises StoreUnusable for a backup that is not sound or newer than this program; OSError. Then
    nothing was touched.
    """
    incoming = path.with_name(path.name + _INCOMING)
    for left in path.parent.glob(f"{path.name}{_INCOMING}*"):  # by one that was killed
        left.unlink(missing_ok=True)
    try:
        back_up(backup, incoming)
        _give_to_owner_of(path.parent, incoming)
        kept = _keep(path, kept_suffix)
        # A log that stays behind would be taken for the new database's.
        for side_file in _files_of(path)[1:]:
            side_file.unlink(missing_ok=True)
        _sync(path.parent)
        incoming.rename(path)
        _sync(path.parent)
    finally:
        incoming.unlink(missing_ok=True)
    return kept


def _keep(path: Path, suffix: str) -> Path | None:
    """Gives the database a second name, under which it stays when the first is another's."""
    if not path.exists():
        return None
    for name in path.parent.glob(f"{path.name}{_KEPT}*"):
        if name.samefile(path):  # of a restore that was killed before its end
            name.unlink()
    _fold(path)
    kept = next(
        name
        for at in count(1)
        if not (name := path.with_name(path.name + suffix + (f"-{at}" if at > 1 else ""))).exists()
    )
    for file, name in zip(_files_of(path), _files_of(kept), strict=True):
        if file.exists():
            os.link(file, name)
    _sync(path.parent)
    return kept


def _give_to_owner_of(folder: Path, file: Path) -> None:
    """Root does it for the user that the directory runs as, who must be able to open it.

    Only our own new file is given away: in that user's folder another may have its name by now.
    Raises StoreUnusable.
    """
    if os.geteuid() != 0:
        return
    owner = folder.stat()
    descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1 or found.st_uid != 0:
            raise StoreUnusable(f"somebody put another file in the place of {file}")
        os.fchown(descriptor, owner.st_uid, owner.st_gid)
    finally:
        os.close(descriptor)


def _fold(path: Path) -> None:
    """Moves what stands in the log into the database, so that there is no log: as far as it can be
    read. One that is damaged is kept with its log, as it is."""
    with suppress(apsw.Error), closing(apsw.Connection(str(path))) as connection:
        connection.set_busy_timeout(BUSY_TIMEOUT_MS)
        connection.pragma("journal_mode", "DELETE")


@contextmanager
def _inspected(path: Path) -> Iterator[apsw.Connection]:
    """The database as it is, to read. Raises StoreUnusable."""
    try:
        if is_new(path):
            raise StoreUnusable(f"there is no directory database at {path}")
        with closing(connect_to_inspect(path)) as connection:
            connection.set_busy_timeout(BUSY_TIMEOUT_MS)
            check_contents(connection, path)
            yield connection
    except (apsw.CorruptError, apsw.NotADBError) as failure:
        raise StoreUnusable(f"the database {path} is damaged: {failure}") from failure
    except apsw.Error as failure:
        raise StoreUnusable(f"cannot read the database {path}: {failure}") from failure


@contextmanager
def _made(target: Path) -> Iterator[Path]:
    """A private file that gets its name when the block has ended well, and is on the disk then.

    Raises FileExistsError.
    """
    if target.exists() or target.is_symlink():
        raise FileExistsError(17, "is there already: choose another name", str(target))
    # A name of our own: another backup to the same target may be under way.
    part = target.with_name(f"{target.name}.{token_hex(4)}.part")
    os.close(
        os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    )
    try:
        yield part
        descriptor = os.open(part, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.link(part, target)  # unlike rename, it never takes the place of another file
        _sync(target.parent)
    finally:
        part.unlink(missing_ok=True)


def _raise_if_unsound(connection: apsw.Connection, path: Path) -> None:
    row = first_row(connection, "PRAGMA quick_check(1)")
    if row != ("ok",):
        raise StoreUnusable(f"the copy {path} is not sound: {row[0] if row else 'it is empty'}")


def _files_of(path: Path) -> list[Path]:
    return [path, *(path.with_name(path.name + ending) for ending in _SIDE_FILES)]


def _count(connection: apsw.Connection, sql: str) -> int:
    row = first_row(connection, sql)
    return int(row[0]) if row else 0


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
