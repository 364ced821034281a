"""Announces in SQL: deltas applied, snapshots staged and swapped, counts kept beside them.

`directory/revisions.py` decides, this carries out, both inside one write transaction. The peer's
row is locked meanwhile, and its user's: libraries of others are not held up.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from p2p_server.directory.errors import TooManyResources
from p2p_server.directory.models import NOTHING_HELD, Batch, PeerId, Resource, Revision
from p2p_server.directory.revisions import Decision
from p2p_server.store.libraries import COLUMNS, Catalog, Library
from p2p_server.store.postgres.catalog import items
from p2p_server.store.postgres.pool import Connection


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an announce came to."""

    held: Revision
    is_changed: bool  # whether what is answered from is another now
    before: Sequence[Resource] = ()  # what stood at the paths of a delta
    is_first: bool = False  # whether it is the first catalog that the peer has


async def held_revision(connection: Connection, peer_id: PeerId) -> Revision:
    row = await connection.fetchrow(
        "SELECT held_epoch, held_counter FROM peers WHERE peer_id = $1", peer_id
    )
    return Revision(*row) if row else NOTHING_HELD


async def announce(
    connection: Connection,
    peer_id: PeerId,
    batch: Batch,
    max_resources_per_user: int,
    *,
    wants_before: bool = False,
) -> Outcome:
    if max_resources_per_user:
        # Announces of one user's peers count each other, so they take turns.
        await connection.execute(
            "SELECT 1 FROM users WHERE folded_name = "
            "(SELECT folded_user FROM peers WHERE peer_id = $1) FOR NO KEY UPDATE",
            peer_id,
        )
    library = await _load(connection, peer_id)
    if library is None:
        return Outcome(NOTHING_HELD, is_changed=False)
    decision = library.decide(batch)
    if decision is Decision.ACKNOWLEDGE:
        return Outcome(library.held, is_changed=False)
    if decision is Decision.RESTAGE:
        await _discard(connection, library.staged_catalog)
        target = await _new_catalog(connection)
    else:
        held = library.catalog if decision is Decision.APPLY else library.staged_catalog
        target = held or await _new_catalog(connection)
    before: Sequence[Resource] = ()
    if wants_before and decision is Decision.APPLY:
        paths = {*batch.withdrawn_paths, *(resource.path for resource in batch.resources)}
        before = await items.resources_at(connection, target.number, list(paths))
    changed = await _apply(connection, target, batch)
    await _check_limit(connection, library, changed, max_resources_per_user)
    if decision is Decision.APPLY or batch.last:
        await _hold(connection, library, changed, batch)
        is_first = library.catalog is None and decision is not Decision.APPLY
        return Outcome(batch.revision, is_changed=True, before=before, is_first=is_first)
    await _stage(connection, library, changed, batch)
    return Outcome(library.held, is_changed=False)


async def _load(connection: Connection, peer_id: PeerId) -> Library | None:
    row = await connection.fetchrow(
        f"SELECT {COLUMNS} FROM peers WHERE peer_id = $1 FOR NO KEY UPDATE", peer_id
    )
    return None if row is None else Library.of(tuple(row))


async def _new_catalog(connection: Connection) -> Catalog:
    number = await connection.fetchval("INSERT INTO catalogs DEFAULT VALUES RETURNING number")
    return Catalog(number, is_new=True)


async def _discard(connection: Connection, catalog: Catalog | None) -> None:
    if catalog is not None:
        await connection.execute(
            "UPDATE catalogs SET discarded = true WHERE number = $1", catalog.number
        )


async def _check_limit(
    connection: Connection, library: Library, changed: Catalog, limit: int
) -> None:
    """Counts what the user's sessions list, this peer's being what the batch makes of it.

    Partial contents count too: they are rows of ours as well.
    """
    if not limit:
        return
    others = await connection.fetchval(
        "SELECT coalesce(sum(resource_count + partial_count), 0)::bigint FROM peers "
        "WHERE folded_user = $1 AND number <> $2 AND ended_at IS NULL",
        library.folded_user,
        library.peer_number,
    )
    if others + changed.resource_count + changed.partial_count > limit:
        raise TooManyResources(limit)


async def _hold(connection: Connection, library: Library, catalog: Catalog, batch: Batch) -> None:
    """Makes the catalog the one that is answered from."""
    if library.catalog is None or library.catalog.number != catalog.number:
        await _discard(connection, library.catalog)
        await connection.execute(
            "UPDATE peers SET taken_snapshot_id = $1, staged_snapshot_id = '', "
            "staged_catalog = NULL WHERE number = $2",
            batch.snapshot_id,
            library.peer_number,
        )
    await connection.execute(
        "UPDATE peers SET held_epoch = $1, held_counter = $2, "
        "catalog = $3, resource_count = $4, partial_count = $5, size_total = $6 WHERE number = $7",
        batch.revision.epoch,
        batch.revision.counter,
        *_written(catalog),
        library.peer_number,
    )


async def _stage(connection: Connection, library: Library, catalog: Catalog, batch: Batch) -> None:
    await connection.execute(
        "UPDATE peers SET staged_snapshot_id = $1, staged_epoch = $2, staged_counter = $3, "
        "staged_next_index = $4, staged_catalog = $5, staged_resource_count = $6, "
        "staged_partial_count = $7, staged_size_total = $8 WHERE number = $9",
        batch.snapshot_id,
        batch.revision.epoch,
        batch.revision.counter,
        batch.batch_index + 1,
        *_written(catalog),
        library.peer_number,
    )


def _written(catalog: Catalog) -> tuple[int, int, int, int]:
    return catalog.number, catalog.resource_count, catalog.partial_count, catalog.size_total


async def _apply(connection: Connection, catalog: Catalog, batch: Batch) -> Catalog:
    """What is withdrawn goes first: a path that is also announced anew stays."""
    number, is_new = catalog.number, catalog.is_new
    gone_count, gone_size = await items.withdraw(connection, number, batch.withdrawn_paths)
    new_count, new_size = await items.put(connection, number, batch.resources, is_new=is_new)
    gone_partials = await items.withdraw_partials(connection, number, batch.withdrawn_partials)
    new_partials = await items.put_partials(connection, number, batch.partials)
    return catalog.changed_by(
        new_count - gone_count, new_partials - gone_partials, new_size - gone_size
    )
