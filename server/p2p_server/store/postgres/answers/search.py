"""Query in SQL: the next rows in order, by whichever way is short.

The ways are those of the SQLite store (its `search.py` says why): take all candidates of a narrow
index; else walk a little in the order asked for; else take a larger set of candidates; else pass
over everything. Left to itself PostgreSQL bets on one way from its statistics, and loses by a
factor of a thousand when a word is rarer than it thinks, or stands far back in the order; here each
step has a bound, and the last is a scan of the table by several processes: some 0.2 s for a million
rows.
"""

from typing import Final

import asyncpg

from p2p_server.directory.models import (
    Criteria,
    Digest,
    Order,
    Page,
    PeerId,
    Resource,
    ResourceRow,
    SortKey,
)
from p2p_server.store.clauses import Clause
from p2p_server.store.postgres.answers.criteria import (
    ORDERINGS,
    behind,
    conditions,
    likeness,
    narrowings,
    numbered,
)
from p2p_server.store.postgres.answers.holders import peers_by_number
from p2p_server.store.postgres.pool import Connection

FEW: Final = 2_000  # candidates: gathered in a few milliseconds
MANY: Final = 50_000  # gathered in the time that a long walk takes
SHORT_WALK_ROWS: Final = 5_000

_COLUMNS: Final = (
    "r.number, r.folded_path, r.path, r.size_bytes, r.digest, r.manifest_digest, r.modified_us, "
    "r.media_type, p.number AS peer"
)


async def query(
    connection: Connection, criteria: Criteria, after: SortKey | None, limit: int
) -> Page:
    one = (criteria.owner, criteria.glob, criteria.name, criteria.path, criteria.media_type)
    if any("\0" in text for text in (*criteria.words, *one)):
        return Page(())  # no path has one, and PostgreSQL takes no text that has
    rows = await _Search(connection, criteria, after, limit).rows()
    peers = await peers_by_number(connection, {row["peer"] for row in rows})
    found = tuple(_resource_row(row, peers[row["peer"]].peer_id, criteria.order) for row in rows)
    return Page(found, {peer.peer_id: peer for peer in peers.values()})


class _Search:
    """One query on its way."""

    def __init__(
        self, connection: Connection, criteria: Criteria, after: SortKey | None, limit: int
    ) -> None:
        self._connection = connection
        self._order = ORDERINGS[criteria.order].sql
        self._wanted = conditions(criteria)
        self._likeness = likeness(criteria)
        self._narrowings = narrowings(criteria)
        self._behind = behind(criteria.order, after)
        self._limit = limit

    async def rows(self) -> list[asyncpg.Record]:
        if (few := await self._candidates(FEW)) is not None:
            return await self._gather(few)
        if not self._wanted:
            return await self._in_order(Clause("resources AS r"))
        if len(found := await self._walk_a_little()) >= self._limit:
            return found
        if (many := await self._candidates(MANY)) is not None:
            return await self._gather(many)
        return await self._sift()

    async def _candidates(self, most: int) -> list[int] | None:
        """Rows from the first index that names so few; None: all name more."""
        for narrowing in self._narrowings:
            rows = await self._connection.fetch(
                numbered(f"SELECT r.number FROM resources AS r WHERE {narrowing.sql} LIMIT ?"),
                *narrowing.values,
                most + 1,
            )
            if len(rows) <= most:
                return [row["number"] for row in rows]
        return None

    async def _gather(self, candidates: list[int]) -> list[asyncpg.Record]:
        named = "unnest(?::bigint[]) AS c (number) JOIN resources AS r USING (number)"
        return await self._in_order(Clause(named, (candidates,)))

    async def _walk_a_little(self) -> list[asyncpg.Record]:
        """What is met on the first rows; less than asked for means nothing."""
        first = (
            f"(SELECT r.* FROM resources AS r WHERE {self._behind.sql} "
            f"ORDER BY {self._order} LIMIT {SHORT_WALK_ROWS}) AS r"
        )
        return await self._in_order(Clause(first, self._behind.values))

    async def _sift(self) -> list[asyncpg.Record]:
        """From all rows. OFFSET 0 keeps PostgreSQL from walking in order instead, row by row."""
        clauses = [self._behind, *self._likeness, *self._wanted]
        matching = " AND ".join(clause.sql for clause in clauses)
        return await self._in_order(
            Clause(
                f"(SELECT r.* FROM resources AS r WHERE {matching} OFFSET 0) AS r",
                tuple(value for clause in clauses for value in clause.values),
            )
        )

    async def _in_order(self, tables: Clause[object]) -> list[asyncpg.Record]:
        """What fulfils the criteria, from a FROM clause."""
        clauses = [self._behind, Clause("p.visible"), *self._wanted]
        return await self._connection.fetch(
            numbered(
                f"SELECT {_COLUMNS} FROM {tables.sql} JOIN peers AS p ON p.catalog = r.catalog "
                f"WHERE {' AND '.join(clause.sql for clause in clauses)} "
                f"ORDER BY {self._order} LIMIT ?"
            ),
            *tables.values,
            *(value for clause in clauses for value in clause.values),
            self._limit,
        )


def _resource_row(row: asyncpg.Record, peer_id: PeerId, order: Order) -> ResourceRow:
    number, folded_path, path, size_bytes, digest, manifest_digest, modified_us, media, _ = row
    resource = Resource(
        path,
        size_bytes,
        Digest(digest.hex()),
        Digest(manifest_digest.hex()),
        modified_us / 1e6,
        media,
    )
    value: str | int = size_bytes
    if order is Order.PATH:
        value = folded_path
    elif order is Order.NEWEST:
        value = modified_us
    return ResourceRow(resource, peer_id, SortKey(value, folded_path, number))
