"""Who is online, and who has a content, in SQL. Visible peers only."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

import asyncpg

from p2p_server.directory.models import Digest, HoldingRow, PeerId, PeerRow, Resource, Totals
from p2p_server.store.postgres.accounts import read_statuses
from p2p_server.store.postgres.catalog.items import RESOURCE, resource_of
from p2p_server.store.postgres.pool import Connection

_MOST_SIZE: Final = (1 << 63) - 1  # what the wire can carry
_DUPLICATES_LOOKED_AT: Final = 32
_FEW: Final = 64  # files with one content, of all peers: nearly always
_DIGESTS_AT_ONCE: Final = 128

_PEER: Final = (
    "peer_id, user_name, certificate_der, observed_host, online_since, endpoint_statuses, "
    "resource_count, size_total"
)

_FEW_HOLDINGS: Final = f"""
SELECT wanted.place, held.* FROM unnest($1::bytea[]) WITH ORDINALITY AS wanted (digest, place)
CROSS JOIN LATERAL (
    SELECT p.peer_id, r.manifest_digest, r.size_bytes, false AS partial
    FROM resources AS r JOIN peers AS p ON p.catalog = r.catalog
    WHERE r.digest = wanted.digest AND p.visible
    UNION ALL
    SELECT p.peer_id, r.manifest_digest, r.size_bytes, true
    FROM partials AS r JOIN peers AS p ON p.catalog = r.catalog
    WHERE r.digest = wanted.digest AND p.visible
    LIMIT {_FEW + 1}
) AS held
"""

# One step in the index per catalog that has the digest, however many of its files have it.
_HOLDERS: Final = """
WITH RECURSIVE
    whole (catalog) AS (
        (SELECT catalog FROM resources WHERE digest = $1 ORDER BY catalog LIMIT 1)
        UNION ALL
        SELECT (SELECT r.catalog FROM resources AS r
                WHERE r.digest = $1 AND r.catalog > whole.catalog ORDER BY r.catalog LIMIT 1)
        FROM whole WHERE whole.catalog IS NOT NULL
    ),
    holder (catalog) AS (
        SELECT catalog FROM whole WHERE catalog IS NOT NULL
        UNION
        SELECT catalog FROM partials WHERE digest = $1
    ),
    holding (peer_id, catalog) AS (
        SELECT p.peer_id, p.catalog FROM holder JOIN peers AS p ON p.catalog = holder.catalog
        WHERE p.visible AND p.peer_id > $2 ORDER BY p.peer_id LIMIT $3
    )
"""

_HOLDINGS: Final = f"""
{_HOLDERS}
SELECT holding.peer_id, held.* FROM holding CROSS JOIN LATERAL (
    SELECT DISTINCT manifest_digest, size_bytes, false AS partial FROM (
        SELECT manifest_digest, size_bytes FROM resources
        WHERE digest = $1 AND catalog = holding.catalog LIMIT {_DUPLICATES_LOOKED_AT}) AS looked_at
    UNION ALL
    SELECT manifest_digest, size_bytes, true FROM partials
    WHERE digest = $1 AND catalog = holding.catalog
) AS held
"""


async def peers(
    connection: Connection, user: str, after: tuple[str, PeerId] | None, limit: int
) -> Sequence[PeerRow]:
    if "\0" in user:
        return []  # no name has one, and PostgreSQL takes no text that has
    conditions, values = ["visible"], list[object]()
    if user:
        values.append(user)
        conditions.append(f"folded_user = ${len(values)}")
    if after is not None:
        values += after
        conditions.append(f"(folded_user, peer_id) > (${len(values) - 1}, ${len(values)})")
    rows = await connection.fetch(
        f"SELECT {_PEER} FROM peers WHERE {' AND '.join(conditions)} "
        f"ORDER BY folded_user, peer_id LIMIT ${len(values) + 1}",
        *values,
        limit,
    )
    return [_peer_row(row) for row in rows]


async def visible_peers(
    connection: Connection, peer_ids: Collection[PeerId]
) -> Mapping[PeerId, PeerRow]:
    rows = await connection.fetch(
        f"SELECT {_PEER} FROM peers WHERE visible AND peer_id = ANY($1::text[])", list(peer_ids)
    )
    return {PeerId(row["peer_id"]): _peer_row(row) for row in rows}


async def known(connection: Connection, peer_ids: Collection[PeerId]) -> Collection[PeerId]:
    """Those of the peers that were not forgotten, online or not."""
    rows = await connection.fetch(
        "SELECT peer_id FROM peers WHERE peer_id = ANY($1::text[])", list(peer_ids)
    )
    return {PeerId(row["peer_id"]) for row in rows}


async def catalog_of(
    connection: Connection, peer_id: PeerId, after_path: str, limit: int
) -> Sequence[Resource]:
    rows = await connection.fetch(
        f"SELECT {RESOURCE} FROM resources WHERE path > $2 AND catalog = "
        "(SELECT catalog FROM peers WHERE peer_id = $1) ORDER BY path LIMIT $3",
        peer_id,
        after_path,
        limit,
    )
    return [resource_of(row) for row in rows]


async def totals(connection: Connection) -> Totals:
    row = await connection.fetchrow(
        "SELECT count(*), coalesce(sum(resource_count), 0), coalesce(sum(size_total), 0) "
        "FROM peers WHERE visible"
    )
    assert row is not None
    return Totals(*map(int, row))


async def peers_by_number(
    connection: Connection, numbers: Collection[int]
) -> Mapping[int, PeerRow]:
    if not numbers:
        return {}
    rows = await connection.fetch(
        f"SELECT {_PEER}, number FROM peers WHERE number = ANY($1::bigint[])", list(numbers)
    )
    return {row["number"]: _peer_row(row) for row in rows}


async def _peers_by_id(
    connection: Connection, peer_ids: Collection[PeerId]
) -> Mapping[PeerId, PeerRow]:
    if not peer_ids:
        return {}
    rows = await connection.fetch(
        f"SELECT {_PEER} FROM peers WHERE peer_id = ANY($1::text[])", list(peer_ids)
    )
    return {PeerId(row["peer_id"]): _peer_row(row) for row in rows}


async def locate(
    connection: Connection,
    digests: Sequence[Digest],
    after: tuple[int, PeerId] | None,
    limit: int,
) -> tuple[Sequence[HoldingRow], Mapping[PeerId, PeerRow]]:
    """A page may end between two holdings of one peer under different manifests: then the second is
    not told. Only a peer that lies about one of them has two.
    """
    first, past = after or (0, PeerId(""))
    holdings: list[HoldingRow] = []
    for at in range(first, len(digests), _DIGESTS_AT_ONCE):
        some = digests[at : at + _DIGESTS_AT_ONCE]
        few = await _few_holdings(connection, some)
        for place, digest in enumerate(some, 1):
            rows = few.get(place, [])
            if len(rows) > _FEW:
                key = bytes.fromhex(digest)
                rows = await connection.fetch(_HOLDINGS, key, past, limit - len(holdings))
            found = _distinct(digest, (row for row in rows if row["peer_id"] > past))
            holdings += found[: limit - len(holdings)]
            if len(holdings) >= limit:
                return holdings, await _peers_by_id(connection, {h.peer_id for h in holdings})
            past = PeerId("")
    return holdings, await _peers_by_id(connection, {h.peer_id for h in holdings})


async def _few_holdings(
    connection: Connection, digests: Sequence[Digest]
) -> Mapping[int, list[asyncpg.Record]]:
    """Rows by the place of their digest; more than _FEW: there are others."""
    few: dict[int, list[asyncpg.Record]] = {}
    for row in await connection.fetch(_FEW_HOLDINGS, [bytes.fromhex(d) for d in digests]):
        few.setdefault(row["place"], []).append(row)
    return few


def _distinct(digest: Digest, rows: Iterable[asyncpg.Record]) -> list[HoldingRow]:
    """By peer_id, whole before partial, each manifest of a peer once."""
    ordered = sorted(rows, key=lambda r: (r["peer_id"], r["partial"], r["manifest_digest"]))
    named: set[tuple[str, bytes]] = set()
    found: list[HoldingRow] = []
    for row in ordered:
        if (key := (row["peer_id"], row["manifest_digest"])) not in named:
            named.add(key)
            manifest = Digest(row["manifest_digest"].hex())
            peer_id = PeerId(row["peer_id"])
            found.append(HoldingRow(digest, peer_id, manifest, row["size_bytes"], row["partial"]))
    return found


def _peer_row(row: asyncpg.Record) -> PeerRow:
    return PeerRow(
        PeerId(row["peer_id"]),
        row["user_name"],
        row["certificate_der"],
        row["observed_host"],
        row["online_since"],
        read_statuses(row["endpoint_statuses"]),
        row["resource_count"],
        min(int(row["size_total"]), _MOST_SIZE),
    )
