"""Deleting what nobody is answered any more, and giving room back, a bounded slice at a time."""

from contextlib import suppress
from pathlib import Path
from typing import Final

import apsw

from p2p_server.store.sqlite.accounts import forget_peers
from p2p_server.store.sqlite.sql import all_rows, first_row

SPARE_PAGES: Final = 1_024  # 4 MiB, kept for what is announced next
SPARE_PART: Final = 4  # and a fourth of the file
CHECKPOINT_WAIT_MS: Final = 1_000


def purge(connection: apsw.Connection, ended_before: float, most_rows: int) -> int:
    """Rows deleted, at most `most_rows` (>= 1); inside a transaction of its caller."""
    deleted = _forget_ended(connection, ended_before, most_rows)
    while deleted < most_rows:
        discarded = first_row(connection, "SELECT number FROM catalogs WHERE discarded LIMIT 1")
        if discarded is None:
            return deleted or _shrink(connection, most_rows)
        deleted += _empty(connection, discarded[0], most_rows - deleted)
    return deleted


def _shrink(connection: apsw.Connection, most_pages: int) -> int:
    """Gives pages that hold nothing back to the disk; how many. Most of them are used again soon,
    so that some are kept."""
    free = int(connection.pragma("freelist_count"))
    spare = max(SPARE_PAGES, int(connection.pragma("page_count")) // SPARE_PART)
    if free <= spare or not int(connection.pragma("auto_vacuum")):
        return 0
    pages = min(free - spare, most_pages)
    connection.execute(f"PRAGMA incremental_vacuum({pages})").fetchall()
    return free - int(connection.pragma("freelist_count"))


def trim_log(connection: apsw.Connection, path: Path, limit_bytes: int, wait_ms: int) -> None:
    """Empties a write-ahead log that grew over its limit; outside of any transaction.

    By itself it begins anew only in a moment in which nobody reads, and where queries come all the
    time there is none. Here new ones are led past it, and those that run are waited for, a second
    at most; otherwise the next call tries again.
    """
    log = path.with_name(path.name + "-wal")
    if not log.exists() or log.stat().st_size <= limit_bytes:
        return
    connection.set_busy_timeout(CHECKPOINT_WAIT_MS)
    try:
        with suppress(apsw.BusyError):
            connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    finally:
        connection.set_busy_timeout(wait_ms)


def _forget_ended(connection: apsw.Connection, ended_before: float, most_rows: int) -> int:
    """Forgets peers that ended long enough ago, and what ended peers were staging."""
    deleted = forget_peers(
        connection,
        "number IN (SELECT number FROM peers WHERE ended_at IS NOT NULL "
        "AND (ended_at < ? OR NOT listed) ORDER BY number LIMIT ?)",
        (ended_before, most_rows),
    )
    connection.execute(
        "UPDATE catalogs SET discarded = 1 WHERE number IN ("
        "SELECT staged_catalog FROM peers WHERE ended_at IS NOT NULL)"
    )
    connection.execute(
        "UPDATE peers SET staged_snapshot_id = '', staged_catalog = NULL "
        "WHERE ended_at IS NOT NULL AND staged_catalog IS NOT NULL"
    )
    return deleted


def _empty(connection: apsw.Connection, catalog: int, most_rows: int) -> int:
    """Deletes from a discarded catalog; in the end the catalog itself, which counts as a row."""
    gone = all_rows(
        connection,
        "DELETE FROM resources WHERE row IN ("
        "SELECT row FROM resources WHERE catalog = ? LIMIT ?) RETURNING row",
        (catalog, most_rows),
    )
    connection.executemany("DELETE FROM paths WHERE rowid = ?", gone)
    connection.execute(
        "DELETE FROM partials WHERE catalog = ?1 AND digest IN ("
        "SELECT digest FROM partials WHERE catalog = ?1 LIMIT ?2)",
        (catalog, most_rows - len(gone)),
    )
    deleted = len(gone) + connection.changes()
    if deleted < most_rows:
        connection.execute("DELETE FROM catalogs WHERE number = ?", (catalog,))
        deleted += 1
    return deleted
