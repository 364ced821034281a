"""Who is online, and who has a content, in SQL. Visible peers only."""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice

import apsw

from p2p_server.directory.models import Digest, HoldingRow, PeerId, PeerRow, Resource, Totals
from p2p_server.store.sqlite.sql import (
    RESOURCE,
    Row,
    all_rows,
    first_row,
    read_statuses,
    resource_of,
    rows_at_once,
)

_MOST_SIZE = (1 << 63) - 1  # what the wire can carry
_DUPLICATES_LOOKED_AT = 32
_FEW = 64  # files with one content, of all peers: nearly always

_PEER = (
    "peer_id, user, certificate_der, observed_host, online_since, endpoint_statuses, "
    "resource_count, size_total"
)

_TOLD_PEER = _PEER.replace("certificate_der", "hex(certificate_der)")
_PEERS_NAMED = (
    f"SELECT {_PEER} FROM json_each(?) AS named CROSS JOIN peers ON peer_id = named.value"
)

_FEW_HOLDINGS = f"""
SELECT p.peer_id, r.manifest_digest, r.size_bytes, 0 AS partial
FROM resources AS r INDEXED BY resources_by_digest CROSS JOIN peers AS p ON p.catalog = r.catalog
WHERE r.digest = ?1 AND p.visible AND p.peer_id > ?2
UNION ALL
SELECT p.peer_id, r.manifest_digest, r.size_bytes, 1
FROM partials AS r INDEXED BY partials_by_digest CROSS JOIN peers AS p ON p.catalog = r.catalog
WHERE r.digest = ?1 AND p.visible AND p.peer_id > ?2
LIMIT {_FEW + 1}
"""

# One step in the index per catalog that has the digest, however many of its files have it.
_HOLDERS = """
WITH RECURSIVE
    whole (catalog) AS (
        SELECT min(catalog) FROM resources WHERE digest = ?1
        UNION ALL
        SELECT (SELECT min(r.catalog) FROM resources AS r
                WHERE r.digest = ?1 AND r.catalog > whole.catalog)
        FROM whole WHERE whole.catalog IS NOT NULL
    ),
    holder (catalog) AS (
        SELECT catalog FROM whole WHERE catalog IS NOT NULL
        UNION
        SELECT catalog FROM partials WHERE digest = ?1
    )
SELECT p.peer_id, p.catalog FROM holder CROSS JOIN peers AS p ON p.catalog = holder.catalog
WHERE p.visible AND p.peer_id > ?2 ORDER BY p.peer_id LIMIT ?3
"""

_HOLDINGS_OF = f"""
SELECT ?3, manifest_digest, size_bytes, 0 FROM (
    SELECT DISTINCT manifest_digest, size_bytes FROM (
        SELECT manifest_digest, size_bytes FROM resources INDEXED BY resources_by_digest
        WHERE digest = ?1 AND catalog = ?2 LIMIT {_DUPLICATES_LOOKED_AT}))
UNION ALL
SELECT ?3, manifest_digest, size_bytes, 1 FROM partials WHERE digest = ?1 AND catalog = ?2
"""


def peers(
    connection: apsw.Connection, user: str, after: tuple[str, PeerId] | None, limit: int
) -> Sequence[PeerRow]:
    conditions, values = ["visible"], list[str]()
    if user:
        conditions.append("folded_user = ?")
        values.append(user)
    if after is not None:
        conditions.append("(folded_user, peer_id) > (?, ?)")
        values += after
    rows = all_rows(
        connection,
        f"SELECT {_PEER} FROM peers INDEXED BY peers_by_user WHERE {' AND '.join(conditions)} "
        "ORDER BY folded_user, peer_id LIMIT ?",
        (*values, limit),
    )
    return [_peer_row(*row) for row in rows]


def peers_by_id(connection: apsw.Connection, peer_ids: Collection[PeerId]) -> dict[PeerId, PeerRow]:
    rows = rows_at_once(connection, _TOLD_PEER, _PEERS_NAMED, (json.dumps(list(peer_ids)),))
    return {
        peer_id: _peer_row(peer_id, user, bytes.fromhex(certificate), *others)
        for peer_id, user, certificate, *others in rows
    }


def peer(connection: apsw.Connection, number: int) -> PeerRow | None:
    """Visible or not."""
    row = first_row(connection, f"SELECT {_PEER} FROM peers WHERE number = ?", (number,))
    return _peer_row(*row) if row else None


def catalog_of(
    connection: apsw.Connection, peer_id: PeerId, after_path: str, limit: int
) -> Sequence[Resource]:
    rows = all_rows(
        connection,
        f"SELECT {RESOURCE} FROM resources INDEXED BY resources_by_catalog "
        "WHERE catalog = (SELECT catalog FROM peers WHERE peer_id = ?) AND path > ? "
        "ORDER BY path LIMIT ?",
        (peer_id, after_path, limit),
    )
    return [resource_of(row) for row in rows]


def totals(connection: apsw.Connection) -> Totals:
    """Cost: one pass over the peers. Sizes are summed here: together they may exceed 64 bits."""
    rows = all_rows(connection, "SELECT resource_count, size_total FROM peers WHERE visible")
    return Totals(len(rows), sum(row[0] for row in rows), sum(int(row[1]) for row in rows))


def locate(
    connection: apsw.Connection,
    digests: Sequence[Digest],
    after: tuple[int, PeerId] | None,
    limit: int,
) -> tuple[Sequence[HoldingRow], Mapping[PeerId, PeerRow]]:
    """A page may end between two holdings of one peer under different manifests: then the second is
    not told. Only a peer that lies about one of them has two.
    """
    first, past = after or (0, PeerId(""))
    holdings: list[HoldingRow] = []
    for digest in digests[first:]:
        holdings += islice(_holdings(connection, digest, past, limit), limit - len(holdings))
        if len(holdings) >= limit:
            break
        past = PeerId("")
    return holdings, peers_by_id(connection, {holding.peer_id for holding in holdings})


def _holdings(
    connection: apsw.Connection, digest: Digest, past: PeerId, limit: int
) -> Iterator[HoldingRow]:
    """Who has one content, by peer_id, whole before partial, each manifest of a peer once."""
    key = bytes.fromhex(digest)
    rows = all_rows(connection, _FEW_HOLDINGS, (key, past))
    if len(rows) <= _FEW:
        yield from _distinct(digest, sorted(rows, key=lambda row: (row[0], row[3], row[1])))
        return
    for peer_id, catalog in all_rows(connection, _HOLDERS, (key, past, limit)):
        yield from _distinct(digest, all_rows(connection, _HOLDINGS_OF, (key, catalog, peer_id)))


def _distinct(digest: Digest, rows: Iterable[Row]) -> Iterator[HoldingRow]:
    named: set[tuple[PeerId, bytes]] = set()
    for peer_id, manifest_digest, size_bytes, partial in rows:
        if (peer_id, manifest_digest) not in named:
            named.add((peer_id, manifest_digest))
            manifest = Digest(manifest_digest.hex())
            yield HoldingRow(digest, peer_id, manifest, size_bytes, bool(partial))


def _peer_row(  # the columns of _PEER
    peer_id: PeerId,
    user: str,
    certificate_der: bytes,
    observed_host: str,
    online_since: float,
    statuses: str,
    resource_count: int,
    size_total: str,
) -> PeerRow:
    return PeerRow(
        peer_id,
        user,
        certificate_der,
        observed_host,
        online_since,
        read_statuses(statuses),
        resource_count,
        min(int(size_total), _MOST_SIZE),
    )
