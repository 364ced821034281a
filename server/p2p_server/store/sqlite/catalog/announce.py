"""Announces in SQL: deltas applied, snapshots staged and swapped, counts kept beside them.

`directory/revisions.py` decides, this carries out, both inside one write transaction.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import apsw

from p2p_server.directory.errors import TooManyResources
from p2p_server.directory.models import (
    NOTHING_HELD,
    Batch,
    Digest,
    PartialContent,
    PeerId,
    Resource,
    Revision,
)
from p2p_server.directory.query import fold
from p2p_server.directory.revisions import Decision, Staged, decide_delta, decide_snapshot
from p2p_server.store.sqlite.catalog.differences import Before, note_swap
from p2p_server.store.sqlite.noting import Note
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


@dataclass(frozen=True, slots=True)
class _Catalog:
    """A catalog and how much is in it."""

    number: int
    resource_count: int = 0
    partial_count: int = 0
    size_total: int = 0


@dataclass(frozen=True, slots=True)
class _Library:
    """All that the store holds of one peer's library."""

    peer_number: int
    folded_user: str
    held: Revision
    taken_snapshot_id: str
    catalog: _Catalog | None
    staged: Staged | None
    staged_catalog: _Catalog | None
    is_visible: bool


def make_ready(connection: apsw.Connection) -> None:
    """To be called once with a connection that is to take announces."""
    connection.execute(_INCOMING)
    connection.execute(_NUMBERED)
    connection.execute("INSERT INTO temp.numbered VALUES (0)")


def held_revision(connection: apsw.Connection, peer_id: PeerId) -> Revision:
    row = first_row(
        connection, "SELECT held_epoch, held_counter FROM peers WHERE peer_id = ?", (peer_id,)
    )
    return Revision(*row) if row else NOTHING_HELD


def announce(
    connection: apsw.Connection,
    peer_id: PeerId,
    batch: Batch,
    max_resources_per_user: int,
    note: Note | None = None,
) -> Revision:
    library = _load(connection, peer_id)
    if library is None:
        return NOTHING_HELD
    if batch.snapshot_id:
        decision = decide_snapshot(library.held, library.taken_snapshot_id, library.staged, batch)
    else:
        decision = decide_delta(library.held, batch.base, batch.revision)
    if decision is Decision.ACKNOWLEDGE:
        return library.held
    if decision is Decision.RESTAGE:
        _discard(connection, library.staged_catalog)
        target = _new_catalog(connection)
    else:
        held = library.catalog if decision is Decision.APPLY else library.staged_catalog
        target = held or _new_catalog(connection)
    told = note if library.is_visible else None
    before = None
    if told is not None and decision is Decision.APPLY:
        before = Before.of(connection, target.number, batch)
    changed = _apply(connection, target, batch)
    _check_limit(connection, library, changed, max_resources_per_user)
    if decision is not Decision.APPLY and not batch.last:
        _stage(connection, library, changed, batch)
        return library.held
    revision = _hold(connection, library, changed, batch)
    if told is not None:
        if before is not None:
            before.note(connection, library.peer_number, batch, told)
        else:
            old = library.catalog.number if library.catalog else None
            note_swap(connection, library.peer_number, old, changed.number, told)
    return revision


def _load(connection: apsw.Connection, peer_id: PeerId) -> _Library | None:
    row = first_row(
        connection,
        "SELECT number, folded_user, held_epoch, held_counter, taken_snapshot_id, "
        "catalog, resource_count, partial_count, size_total, "
        "staged_snapshot_id, staged_epoch, staged_counter, staged_next_index, "
        "staged_catalog, staged_resource_count, staged_partial_count, staged_size_total, visible "
        "FROM peers WHERE peer_id = ?",
        (peer_id,),
    )
    if row is None:
        return None
    number, folded_user, epoch, counter, taken_snapshot_id = row[:5]
    staged_id, staged_epoch, staged_counter, next_index = row[9:13]
    revision = Revision(staged_epoch, staged_counter)
    return _Library(
        number,
        folded_user,
        Revision(epoch, counter),
        taken_snapshot_id,
        _catalog(*row[5:9]),
        Staged(staged_id, revision, next_index) if staged_id else None,
        _catalog(*row[13:17]),
        bool(row[17]),
    )


def _catalog(
    number: int | None, resource_count: int, partial_count: int, size_total: str
) -> _Catalog | None:
    if number is None:
        return None
    return _Catalog(number, resource_count, partial_count, int(size_total))


def _new_catalog(connection: apsw.Connection) -> _Catalog:
    connection.execute("INSERT INTO catalogs (discarded) VALUES (0)")
    return _Catalog(connection.last_insert_rowid())


def _discard(connection: apsw.Connection, catalog: _Catalog | None) -> None:
    if catalog is not None:
        connection.execute("UPDATE catalogs SET discarded = 1 WHERE number = ?", (catalog.number,))


def _check_limit(
    connection: apsw.Connection, library: _Library, changed: _Catalog, limit: int
) -> None:
    """Counts what the user's sessions list, this peer's being what the batch makes of it.

    Partial contents count too: they are rows of ours as well.
    """
    if not limit:
        return
    ((others,),) = all_rows(
        connection,
        "SELECT coalesce(sum(resource_count + partial_count), 0) FROM peers "
        "WHERE folded_user = ? AND number <> ? AND ended_at IS NULL",
        (library.folded_user, library.peer_number),
    )
    if others + changed.resource_count + changed.partial_count > limit:
        raise TooManyResources(limit)


def _hold(
    connection: apsw.Connection, library: _Library, catalog: _Catalog, batch: Batch
) -> Revision:
    """Makes the catalog the one that is answered from."""
    swapped = library.catalog is None or library.catalog.number != catalog.number
    if swapped:
        _discard(connection, library.catalog)
        connection.execute(
            "UPDATE peers SET taken_snapshot_id = ?, staged_snapshot_id = '', "
            "staged_catalog = NULL WHERE number = ?",
            (batch.snapshot_id, library.peer_number),
        )
    connection.execute(
        "UPDATE peers SET held_epoch = ?, held_counter = ?, "
        "catalog = ?, resource_count = ?, partial_count = ?, size_total = ? WHERE number = ?",
        (
            batch.revision.epoch,
            batch.revision.counter,
            *_written(catalog),
            library.peer_number,
        ),
    )
    return batch.revision


def _stage(connection: apsw.Connection, library: _Library, catalog: _Catalog, batch: Batch) -> None:
    connection.execute(
        "UPDATE peers SET staged_snapshot_id = ?, staged_epoch = ?, staged_counter = ?, "
        "staged_next_index = ?, staged_catalog = ?, staged_resource_count = ?, "
        "staged_partial_count = ?, staged_size_total = ? WHERE number = ?",
        (
            batch.snapshot_id,
            batch.revision.epoch,
            batch.revision.counter,
            batch.batch_index + 1,
            *_written(catalog),
            library.peer_number,
        ),
    )


def _written(catalog: _Catalog) -> tuple[int, int, int, str]:
    return (
        catalog.number,
        catalog.resource_count,
        catalog.partial_count,
        str(catalog.size_total),
    )


def _apply(connection: apsw.Connection, catalog: _Catalog, batch: Batch) -> _Catalog:
    """What is withdrawn goes first: a path that is also announced anew stays."""
    number = catalog.number
    gone_count, gone_size = _withdraw(connection, number, batch.withdrawn_paths)
    new_count, new_size = _put(connection, number, batch.resources)
    gone_partials = _withdraw_partials(connection, number, batch.withdrawn_partials)
    new_partials = _put_partials(connection, number, batch.partials)
    return replace(
        catalog,
        resource_count=catalog.resource_count + new_count - gone_count,
        partial_count=catalog.partial_count + new_partials - gone_partials,
        size_total=catalog.size_total + new_size - gone_size,
    )


def _withdraw(connection: apsw.Connection, catalog: int, paths: Iterable[str]) -> tuple[int, int]:
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


def _put(
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


def _withdraw_partials(connection: apsw.Connection, catalog: int, digests: Iterable[Digest]) -> int:
    count = 0
    for digest in digests:
        connection.execute(
            "DELETE FROM partials WHERE catalog = ? AND digest = ?",
            (catalog, bytes.fromhex(digest)),
        )
        count += connection.changes()
    return count


def _put_partials(
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
