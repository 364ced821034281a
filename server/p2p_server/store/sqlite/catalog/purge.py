"""Deleting what nobody is answered any more, a bounded slice at a time."""

import apsw

from p2p_server.store.sqlite.accounts import forget_peers
from p2p_server.store.sqlite.sql import all_rows, first_row


def purge(connection: apsw.Connection, ended_before: float, most_rows: int) -> int:
    """Rows deleted, at most `most_rows` (>= 1); inside a transaction of its caller."""
    deleted = _forget_ended(connection, ended_before, most_rows)
    while deleted < most_rows:
        discarded = first_row(connection, "SELECT number FROM catalogs WHERE discarded LIMIT 1")
        if discarded is None:
            return deleted
        deleted += _empty(connection, discarded[0], most_rows - deleted)
    return deleted


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
