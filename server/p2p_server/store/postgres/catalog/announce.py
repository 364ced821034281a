"""Announces in SQL: deltas applied, snapshots staged and swapped, counts kept beside them.

`directory/revisions.py` decides, this carries out, both inside one write transaction. The peer's
row is locked meanwhile, and its user's: libraries of others are not held up.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from p2p_server.directory.errors import TooManyResources
from p2p_server.directory.models import NOTHING_HELD, Batch, PeerId, Resource, Revision
from p2p_server.directory.revisions import Decision, Staged, decide_delta, decide_snapshot
from p2p_server.store.postgres.catalog import items
from p2p_server.store.postgres.pool import Connection


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an announce came to."""

    held: Revision
    is_changed: bool  # whether what is answered from is another now
    before: Sequence[Resource] = ()  # what stood at the paths of a delta
    is_first: bool = False  # whether it is the first catalog that the peer has


@dataclass(frozen=True, slots=True)
class _Catalog:
    """A catalog and how much is in it."""

    number: int
    resource_count: int = 0
    partial_count: int = 0
    size_total: int = 0
    is_new: bool = False


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
    if batch.snapshot_id:
        decision = decide_snapshot(library.held, library.taken_snapshot_id, library.staged, batch)
    else:
        decision = decide_delta(library.held, batch.base, batch.revision)
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


async def _load(connection: Connection, peer_id: PeerId) -> _Library | None:
    row = await connection.fetchrow(
        "SELECT number, folded_user, held_epoch, held_counter, taken_snapshot_id, "
        "catalog, resource_count, partial_count, size_total, "
        "staged_snapshot_id, staged_epoch, staged_counter, staged_next_index, "
        "staged_catalog, staged_resource_count, staged_partial_count, staged_size_total "
        "FROM peers WHERE peer_id = $1 FOR NO KEY UPDATE",
        peer_id,
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
    )


def _catalog(
    number: int | None, resource_count: int, partial_count: int, size_total: int
) -> _Catalog | None:
    if number is None:
        return None
    return _Catalog(number, resource_count, partial_count, int(size_total))


async def _new_catalog(connection: Connection) -> _Catalog:
    number = await connection.fetchval("INSERT INTO catalogs DEFAULT VALUES RETURNING number")
    return _Catalog(number, is_new=True)


async def _discard(connection: Connection, catalog: _Catalog | None) -> None:
    if catalog is not None:
        await connection.execute(
            "UPDATE catalogs SET discarded = true WHERE number = $1", catalog.number
        )


async def _check_limit(
    connection: Connection, library: _Library, changed: _Catalog, limit: int
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


async def _hold(connection: Connection, library: _Library, catalog: _Catalog, batch: Batch) -> None:
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


async def _stage(
    connection: Connection, library: _Library, catalog: _Catalog, batch: Batch
) -> None:
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


def _written(catalog: _Catalog) -> tuple[int, int, int, int]:
    return catalog.number, catalog.resource_count, catalog.partial_count, catalog.size_total


async def _apply(connection: Connection, catalog: _Catalog, batch: Batch) -> _Catalog:
    """What is withdrawn goes first: a path that is also announced anew stays."""
    number, is_new = catalog.number, catalog.is_new
    gone_count, gone_size = await items.withdraw(connection, number, batch.withdrawn_paths)
    new_count, new_size = await items.put(connection, number, batch.resources, is_new=is_new)
    gone_partials = await items.withdraw_partials(connection, number, batch.withdrawn_partials)
    new_partials = await items.put_partials(connection, number, batch.partials)
    return replace(
        catalog,
        resource_count=catalog.resource_count + new_count - gone_count,
        partial_count=catalog.partial_count + new_partials - gone_partials,
        size_total=catalog.size_total + new_size - gone_size,
    )
