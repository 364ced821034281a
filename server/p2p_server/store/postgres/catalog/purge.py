"""Deleting what nobody is answered any more, a bounded slice at a time.

Instances may do so at once: each takes rows that no other has taken.
"""

from p2p_server.directory.models import PeerId
from p2p_server.store.postgres.accounts import forget_peers
from p2p_server.store.postgres.catalog.feed import forget_changes
from p2p_server.store.postgres.leases import forget_challenges
from p2p_server.store.postgres.pool import Connection


async def purge(
    connection: Connection, ended_before: float, most_rows: int
) -> tuple[int, list[PeerId]]:
    """Rows deleted, at most `most_rows` (>= 1), and the peers forgotten."""
    forgotten = await _forget_ended(connection, ended_before, most_rows)
    deleted = len(forgotten)
    for forget in (_empty_discarded, forget_challenges, forget_changes):
        if deleted < most_rows:
            deleted += await forget(connection, most_rows - deleted)
    return deleted, forgotten


async def _forget_ended(
    connection: Connection, ended_before: float, most_rows: int
) -> list[PeerId]:
    """Forgets peers that ended long enough ago, and what ended peers were staging."""
    numbers = await connection.fetch(
        "SELECT number FROM peers WHERE ended_at IS NOT NULL AND (ended_at < $1 OR NOT listed) "
        "ORDER BY number LIMIT $2 FOR UPDATE SKIP LOCKED",
        ended_before,
        most_rows,
    )
    forgotten = await forget_peers(connection, numbers) if numbers else []
    await connection.execute(
        "WITH ended AS MATERIALIZED (SELECT number, staged_catalog FROM peers "
        "WHERE ended_at IS NOT NULL AND staged_catalog IS NOT NULL FOR UPDATE SKIP LOCKED), "
        "cleared AS (UPDATE peers AS p SET staged_snapshot_id = '', staged_catalog = NULL "
        "FROM ended WHERE p.number = ended.number) "
        "UPDATE catalogs AS c SET discarded = true FROM ended WHERE c.number = ended.staged_catalog"
    )
    return forgotten


async def _empty_discarded(connection: Connection, most_rows: int) -> int:
    deleted = 0
    while deleted < most_rows:
        discarded = await connection.fetchval(
            "SELECT number FROM catalogs WHERE discarded ORDER BY number LIMIT 1 "
            "FOR UPDATE SKIP LOCKED"
        )
        if discarded is None:
            return deleted
        deleted += await _empty(connection, discarded, most_rows - deleted)
    return deleted


async def _empty(connection: Connection, catalog: int, most_rows: int) -> int:
    """Deletes from a discarded catalog; in the end the catalog itself, which counts as a row."""
    deleted = 0
    for table, key in (("resources", "path"), ("partials", "digest")):
        status = await connection.execute(
            f"DELETE FROM {table} WHERE catalog = $1 AND {key} IN "
            f"(SELECT {key} FROM {table} WHERE catalog = $1 LIMIT $2)",
            catalog,
            most_rows - deleted,
        )
        deleted += int(status.rpartition(" ")[2])
    if deleted < most_rows:
        await connection.execute("DELETE FROM catalogs WHERE number = $1", catalog)
        deleted += 1
    return deleted
