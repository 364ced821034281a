"""The rows of a catalog: resources and partial contents, put and withdrawn many at a time."""

import json
from collections.abc import Iterable, Sequence

import apsw

from p2p_server.directory.models import Digest, PartialContent, Resource
from p2p_server.directory.query import fold
from p2p_server.store.sqlite.sql import Row, all_rows, first_row, microseconds

# What a batch puts waits here: SQLite copies each page that a statement changes, for the statement
# may fail halfway, unless it calls no function and undoes the whole transaction if it fails. So the
# JSON is read by one statement and the resources are put by another.
_INCOMING = """
CREATE TEMP TABLE incoming (
    path TEXT, folded_path TEXT, name TEXT, size_bytes INTEGER, digest BLOB, manifest_digest BLOB,
    modified_us INTEGER, media_type TEXT
) STRICT
"""
# The greatest number that a row was ever given since the connection is open. What is known of a row
# by its number (`answers/zones.py`) is not to meet another row of that number.
_NUMBERED = "CREATE TEMP TABLE numbered (last INTEGER NOT NULL) STRICT"
_GREATEST = "SELECT coalesce(max(row), 0), (SELECT last FROM temp.numbered) FROM resources"
_TAKE_IN = """
INSERT INTO temp.incoming
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, unhex(value ->> 4),
    unhex(value ->> 5), value ->> 6, value ->> 7
FROM json_each(?)
"""
_HELD = """
SELECT new.rowid, r.size_bytes FROM temp.incoming AS new CROSS JOIN resources AS r
ON r.catalog = ? AND r.path = new.path
"""
_CHANGE = """
UPDATE resources SET size_bytes = new.size_bytes, digest = new.digest,
    manifest_digest = new.manifest_digest, modified_us = new.modified_us,
    media_type = new.media_type
FROM temp.incoming AS new WHERE resources.catalog = ? AND resources.path = new.path
"""
_PUT = """
INSERT OR ROLLBACK INTO resources (catalog, path, folded_path, name, size_bytes, digest,
    manifest_digest, modified_us, media_type)
SELECT ?, path, folded_path, name, size_bytes, digest, manifest_digest, modified_us, media_type
FROM temp.incoming
"""
# The same with given numbers, which takes longer: SQLite looks whether each is free.
_PUT_ABOVE = """
INSERT OR ROLLBACK INTO resources (catalog, path, folded_path, name, size_bytes, digest,
    manifest_digest, modified_us, media_type, row)
SELECT ?, path, folded_path, name, size_bytes, digest, manifest_digest, modified_us, media_type,
    rowid + ?
FROM temp.incoming
"""
# Rows are numbered upwards by the one writer: what was added is what lies above.
_INDEX = (
    "INSERT INTO paths (rowid, folded_path) SELECT row, folded_path FROM resources WHERE row > ?"
)


def make_ready(connection: apsw.Connection) -> None:
    """To be called once with a connection that is to take announces."""
    connection.execute(_INCOMING)
    connection.execute(_NUMBERED)
    connection.execute("INSERT INTO temp.numbered VALUES (0)")


def withdraw(connection: apsw.Connection, catalog: int, paths: Iterable[str]) -> tuple[int, int]:
    """How many resources went, and their size."""
    gone = list[Row]()
    for path in paths:
        gone += all_rows(
            connection,
            "DELETE FROM resources WHERE catalog = ? AND path = ? RETURNING row, size_bytes",
            (catalog, path),
        )
    connection.executemany("DELETE FROM paths WHERE rowid = ?", [(row,) for row, _ in gone])
    return len(gone), sum(size for _, size in gone)


def put(
    connection: apsw.Connection, catalog: int, resources: Sequence[Resource]
) -> tuple[int, int]:
    """How many resources there are more, and how much larger they are together.

    In the order of their paths: neighbours in the batch are then neighbours in the indices. A
    resource that changed keeps its row, and so its place in the trigram index. A few statements a
    batch, however large: while one runs, other threads need not wait for this one.
    """
    if not resources:
        return 0, 0
    latest = {resource.path: resource for resource in resources}
    ordered = sorted((fold(path), path) for path in latest)
    rows = json.dumps([_row(latest[path], folded) for folded, path in ordered])
    connection.execute("DELETE FROM temp.incoming")
    connection.execute(_TAKE_IN, (rows,))
    held = all_rows(connection, _HELD, (catalog,))
    if held:
        connection.execute(_CHANGE, (catalog,))
        connection.executemany(
            "DELETE FROM temp.incoming WHERE rowid = ?", [(number,) for number, _ in held]
        )
    if len(held) < len(latest):
        _insert(connection, catalog)
    size = sum(resource.size_bytes for resource in latest.values())
    return len(latest) - len(held), size - sum(held_size for _, held_size in held)


def _insert(connection: apsw.Connection, catalog: int) -> None:
    """What waits, numbered above all numbers that were ever given."""
    ((greatest, numbered),) = all_rows(connection, _GREATEST)
    if greatest >= numbered:
        connection.execute(_PUT, (catalog,))
        numbered = greatest
    else:  # those with the greatest numbers went
        connection.execute(_PUT_ABOVE, (catalog, numbered))
    last = connection.last_insert_rowid()
    connection.execute(_INDEX, (numbered,))
    connection.execute("UPDATE temp.numbered SET last = ?", (last,))


def _row(resource: Resource, folded_path: str) -> tuple[str | int, ...]:
    """In the order of _TAKE_IN."""
    return (
        resource.path,
        folded_path,
        resource.name,
        resource.size_bytes,
        resource.digest,
        resource.manifest_digest,
        microseconds(resource.modified_at),
        resource.media_type,
    )


def withdraw_partials(connection: apsw.Connection, catalog: int, digests: Iterable[Digest]) -> int:
    count = 0
    for digest in digests:
        connection.execute(
            "DELETE FROM partials WHERE catalog = ? AND digest = ?",
            (catalog, bytes.fromhex(digest)),
        )
        count += connection.changes()
    return count


def put_partials(
    connection: apsw.Connection, catalog: int, partials: Sequence[PartialContent]
) -> int:
    count = 0
    for partial in partials:
        key = (catalog, bytes.fromhex(partial.digest))
        held = first_row(connection, "SELECT 1 FROM partials WHERE catalog = ? AND digest = ?", key)
        count += held is None
        connection.execute(
            "INSERT OR REPLACE INTO partials (catalog, digest, manifest_digest, size_bytes) "
            "VALUES (?, ?, ?, ?)",
            (*key, bytes.fromhex(partial.manifest_digest), partial.size_bytes),
        )
    return count
