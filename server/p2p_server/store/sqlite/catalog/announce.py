"""Announces in SQL: deltas applied, snapshots staged and swapped, counts kept beside them.

`directory/revisions.py` decides, this carries out, both inside one write transaction.
"""

import apsw

from p2p_server.directory.errors import TooManyResources
from p2p_server.directory.models import NOTHING_HELD, Batch, PeerId, Revision
from p2p_server.directory.revisions import Decision
from p2p_server.store.libraries import COLUMNS, Catalog, Library
from p2p_server.store.sqlite.catalog import items
from p2p_server.store.sqlite.catalog.differences import Before, note_swap
from p2p_server.store.sqlite.noting import Note
from p2p_server.store.sqlite.sql import all_rows, first_row


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
    loaded = _load(connection, peer_id)
    if loaded is None:
        return NOTHING_HELD
    library, is_visible = loaded
    decision = library.decide(batch)
    if decision is Decision.ACKNOWLEDGE:
        return library.held
    if decision is Decision.RESTAGE:
        _discard(connection, library.staged_catalog)
        target = _new_catalog(connection)
    else:
        held = library.catalog if decision is Decision.APPLY else library.staged_catalog
        target = held or _new_catalog(connection)
    told = note if is_visible else None
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


def _load(connection: apsw.Connection, peer_id: PeerId) -> tuple[Library, bool] | None:
    """The library, and whether its peer is visible."""
    row = first_row(
        connection, f"SELECT {COLUMNS}, visible FROM peers WHERE peer_id = ?", (peer_id,)
    )
    return None if row is None else (Library.of(row), bool(row[-1]))


def _new_catalog(connection: apsw.Connection) -> Catalog:
    connection.execute("INSERT INTO catalogs (discarded) VALUES (0)")
    return Catalog(connection.last_insert_rowid(), is_new=True)


def _discard(connection: apsw.Connection, catalog: Catalog | None) -> None:
    if catalog is not None:
        connection.execute("UPDATE catalogs SET discarded = 1 WHERE number = ?", (catalog.number,))


def _check_limit(
    connection: apsw.Connection, library: Library, changed: Catalog, limit: int
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
    connection: apsw.Connection, library: Library, catalog: Catalog, batch: Batch
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


def _stage(connection: apsw.Connection, library: Library, catalog: Catalog, batch: Batch) -> None:
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


def _written(catalog: Catalog) -> tuple[int, int, int, str]:
    return (
        catalog.number,
        catalog.resource_count,
        catalog.partial_count,
        str(catalog.size_total),
    )


def _apply(connection: apsw.Connection, catalog: Catalog, batch: Batch) -> Catalog:
    """What is withdrawn goes first: a path that is also announced anew stays."""
    number = catalog.number
    gone_count, gone_size = items.withdraw(connection, number, batch.withdrawn_paths)
    new_count, new_size = items.put(connection, number, batch.resources)
    gone_partials = items.withdraw_partials(connection, number, batch.withdrawn_partials)
    new_partials = items.put_partials(connection, number, batch.partials)
    return catalog.changed_by(
        new_count - gone_count, new_partials - gone_partials, new_size - gone_size
    )
