"""Opening the database file, and refusing one that is not ours to open.

Owns the file's checks, its mode, the settings of connections and what a transaction is. It knows
the schema's version, not the tables.
"""

import logging
import os
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

import apsw

from p2p_server.directory.errors import StoreUnavailable
from p2p_server.directory.query import glob_matcher
from p2p_server.store.errors import StoreUnusable
from p2p_server.store.sqlite.schema import APPLICATION_ID, MIGRATIONS, migrate, version_of
from p2p_server.store.sqlite.sql import Value

log = logging.getLogger(__name__)

BUSY_TIMEOUT_MS = 5_000  # others write for milliseconds (`p2p-server users remove`)
WRITER_CACHE_KIB = 131_072
READER_CACHE_KIB = 32_768
WAL_LIMIT_BYTES = 256 << 20
CHECKED_WHOLE_BYTES = 64 << 20  # checked in well under a second
SAID_SECONDS = 60.0  # a full disk fails every change

_MAGIC = b"SQLite format 3\0"
_HEADER_BYTES = 100

# The database or its disk fails; whatever else apsw raises is a fault of this code.
_UNAVAILABLE = (
    apsw.BusyError,
    apsw.CantOpenError,
    apsw.ConnectionClosedError,
    apsw.CorruptError,
    apsw.FullError,
    apsw.InterruptError,
    apsw.IOError,
    apsw.LockedError,
    apsw.NoLFSError,
    apsw.NoMemError,
    apsw.NotADBError,
    apsw.PermissionsError,
    apsw.ProtocolError,
    apsw.ReadOnlyError,
)

_said_until: dict[str, float] = {}  # the last failure that the log tells of


@contextmanager
def failures_translated() -> Iterator[None]:
    """Failures of the database become StoreUnavailable; the log tells which, once a minute."""
    try:
        yield
    except _UNAVAILABLE as failure:
        text = f"{type(failure).__name__}: {failure}"
        now = time.monotonic()
        if now >= _said_until.get(text, now):
            _said_until.clear()
            _said_until[text] = now + SAID_SECONDS
            log.error("the database failed: %s", text)
        raise StoreUnavailable from failure


@contextmanager
def writing(connection: apsw.Connection, *, durable: bool = False) -> Iterator[None]:
    """A write transaction; undone as a whole by an exception.

    `durable`: it is on the disk when the block ends. `synchronous` cannot change within a
    transaction, so it changes around it.
    """
    if durable:
        connection.execute("PRAGMA synchronous = FULL")
    try:
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:  # a full disk makes SQLite roll back by itself
                connection.execute("ROLLBACK")
            raise
    finally:
        if durable:
            connection.execute("PRAGMA synchronous = NORMAL")


@contextmanager
def reading(connection: apsw.Connection) -> Iterator[None]:
    """All statements of the block see one and the same state."""
    connection.execute("BEGIN")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")


def prepare(path: Path) -> apsw.Connection:
    """The writer's connection to a database that is ours, whole and up to date.

    Raises StoreUnusable; then nothing was touched.
    """
    try:
        if is_new(path):
            _create(path)
        else:
            with closing(connect_to_inspect(path)) as connection:
                check_contents(connection, path)
        return _connect_writer(path)
    except (apsw.CorruptError, apsw.NotADBError) as failure:
        raise _corrupt(path, str(failure)) from failure
    except (OSError, apsw.Error) as failure:
        raise StoreUnusable(f"cannot open the database {path}: {failure}") from failure


def connect_to_inspect(path: Path) -> apsw.Connection:
    """A connection that leaves the files as they are."""
    if not path.with_name(path.name + "-wal").exists():
        # Nobody has it open: read it as a file that never changes, so none is made beside it.
        uri = f"file:{quote(str(path.absolute()))}?immutable=1"
        return apsw.Connection(uri, flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI)
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    connection.set_busy_timeout(BUSY_TIMEOUT_MS)
    # Should it turn out not to be ours, closing must not move the log into it.
    connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    return connection


def _connect_writer(path: Path) -> apsw.Connection:
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        connection.set_busy_timeout(BUSY_TIMEOUT_MS)
        connection.pragma("auto_vacuum", 2)  # incremental; counts for a new database only
        connection.pragma("journal_mode", "WAL")
        connection.pragma("journal_size_limit", WAL_LIMIT_BYTES)
        connection.pragma("foreign_keys", True)
        connection.pragma("cache_size", -WRITER_CACHE_KIB)
        connection.pragma("temp_store", "MEMORY")
        connection.pragma("synchronous", "FULL")  # of the schema
        migrate(connection)
        connection.pragma("synchronous", "NORMAL")
        path.chmod(0o600)
    except BaseException:
        connection.close()
        raise
    return connection


def connect_reader(path: Path) -> apsw.Connection:
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    connection.set_busy_timeout(BUSY_TIMEOUT_MS)
    connection.pragma("query_only", True)
    connection.pragma("cache_size", -READER_CACHE_KIB)
    connection.pragma("temp_store", "MEMORY")
    connection.create_scalar_function("glob_matches", _glob_matches, 2, deterministic=True)
    return connection


def connect_mover(path: Path) -> apsw.Connection:
    """Moves the log into the database: see `threads/checkpoints.py`."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    connection.pragma("synchronous", "NORMAL")  # the disk has what is moved before the log goes
    connection.pragma("query_only", True)
    connection.execute("SELECT 1 FROM sqlite_schema").fetchall()  # SQLite opens the log now
    return connection


def _glob_matches(*arguments: Value) -> bool:
    glob, path = arguments
    return isinstance(glob, str) and isinstance(path, str) and glob_matcher(glob)(path)


def _create(path: Path) -> None:
    """An empty file that is nobody else's to read. SQLite gives its side files the same mode."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def is_new(path: Path) -> bool:
    """Whether there is no database yet; raises StoreUnusable for one that is not ours.

    Reads the bytes alone: to let SQLite open a file is to let it make files beside it.
    """
    try:
        with path.open("rb") as file:
            header = file.read(_HEADER_BYTES)
    except FileNotFoundError:
        return True
    if not header:
        return True
    if len(header) < _HEADER_BYTES or not header.startswith(_MAGIC):
        raise _corrupt(path, "it is not an SQLite database")
    _check_numbers(
        path,
        application_id=int.from_bytes(header[68:72], "big"),
        version=int.from_bytes(header[60:64], "big"),
    )
    return False


def check_contents(connection: apsw.Connection, path: Path) -> None:
    """What the header told, again with the log that may lie beside the file, and the pages."""
    version = version_of(connection)
    application_id = int(connection.pragma("application_id"))
    _check_numbers(path, application_id=application_id, version=version)
    if application_id != APPLICATION_ID:
        if connection.execute("SELECT count(*) FROM sqlite_schema").fetchone() != (0,):
            raise _foreign(path)
        return
    whole = path.stat().st_size <= CHECKED_WHOLE_BYTES
    for table in ("",) if whole else ("(users)", "(secrets)", "(peers)"):
        (verdict,) = connection.execute(f"PRAGMA quick_check{table}").fetchall()[0]
        if verdict != "ok":
            raise _corrupt(path, str(verdict).strip())


def _check_numbers(path: Path, *, application_id: int, version: int) -> None:
    if application_id not in (APPLICATION_ID, 0) or (application_id == 0 and version != 0):
        raise _foreign(path)
    if version > len(MIGRATIONS):
        raise StoreUnusable(
            f"the database {path} was made by a newer p2p-server (its version is {version}, this "
            f"one knows {len(MIGRATIONS)}): use that one, or another state directory"
        )


def _foreign(path: Path) -> StoreUnusable:
    return StoreUnusable(
        f"{path} is a database of another program: move it away, or use another state directory"
    )


def _corrupt(path: Path, why: str) -> StoreUnusable:
    return StoreUnusable(
        f"the database {path} is damaged ({why}): put a backup in its place, or move it away to "
        "start with a new identity and without users"
    )
