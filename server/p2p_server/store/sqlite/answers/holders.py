"""Who is online, and who has a content, in SQL. Visible peers only."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import islice

import apsw

from p2p_server.directory.models import Digest, HoldingRow, PeerId, PeerRow
from p2p_server.store.sqlite.accounts import read_statuses
from p2p_server.store.sqlite.sql import all_rows, first_row

_MOST_SIZE = (1 << 63) - 1  # what the wire can carry
_DUPLICATES_LOOKED_AT = 32

_PEER = (
    "peer_id, user, certificate_der, observed_host, online_since, endpoint_statuses, "
    "resource_count, size_total"
)

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
    found: dict[PeerId, PeerRow] = {}
    for peer_id in peer_ids:
        row = first_row(connection, f"SELECT {_PEER} FROM peers WHERE peer_id = ?", (peer_id,))
        if row is not None:
            found[peer_id] = _peer_row(*row)
    return found


def locate(
    connection: apsw.Connection,
    digests: Sequence[Digest],
    after: tuple[int, PeerId] | None,
    limit: int,
) -> tuple[Sequence[HoldingRow], Mapping[PeerId, PeerRow]]:
    holdings = list(islice(_holdings(connection, digests, after, limit), limit))
    return holdings, peers_by_id(connection, {holding.peer_id for holding in holdings})


def _holdings(
    connection: apsw.Connection,
    digests: Sequence[Digest],
    after: tuple[int, PeerId] | None,
    limit: int,
) -> Iterator[HoldingRow]:
    first, past = after or (0, PeerId(""))
    for digest in digests[first:]:
        holders = all_rows(connection, _HOLDERS, (bytes.fromhex(digest), past, limit))
        for peer_id, catalog in holders:
            yield from _holdings_of(connection, digest, peer_id, catalog)
        past = PeerId("")


def _holdings_of(
    connection: apsw.Connection, digest: Digest, peer_id: PeerId, catalog: int
) -> Iterator[HoldingRow]:
    """How one peer has one content: under one manifest, unless it lies.

    So not every file it has the content in is looked at, and a page may end between the two.
    """
    key = (bytes.fromhex(digest), catalog)
    whole = all_rows(
        connection,
        "SELECT DISTINCT manifest_digest, size_bytes FROM ("
        "SELECT manifest_digest, size_bytes FROM resources INDEXED BY resources_by_digest "
        f"WHERE digest = ? AND catalog = ? LIMIT {_DUPLICATES_LOOKED_AT})",
        key,
    )
    partial = all_rows(
        connection,
        "SELECT manifest_digest, size_bytes FROM partials WHERE digest = ? AND catalog = ?",
        key,
    )
    named: set[bytes] = set()
    for is_partial, rows in ((False, whole), (True, partial)):
        for manifest_digest, size_bytes in rows:
            if manifest_digest not in named:
                named.add(manifest_digest)
                manifest = Digest(manifest_digest.hex())
                yield HoldingRow(digest, peer_id, manifest, size_bytes, is_partial)


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
