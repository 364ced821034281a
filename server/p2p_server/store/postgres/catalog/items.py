"""The rows of a catalog: resources and partial contents, put and withdrawn many at a time."""

from collections.abc import Sequence
from typing import Final

import asyncpg

from p2p_server.directory.models import Digest, PartialContent, Resource
from p2p_server.directory.query import fold
from p2p_server.store.postgres.pool import Connection

_MOST_MICROSECONDS: Final = 1 << 62
_COLUMNS: Final = (
    "catalog, path, folded_path, name, size_bytes, digest, manifest_digest, modified_us, media_type"
)
_PUT: Final = f"""
INSERT INTO resources ({_COLUMNS})
SELECT $1, * FROM unnest(
    $2::text[], $3::text[], $4::text[], $5::bigint[], $6::bytea[], $7::bytea[], $8::bigint[],
    $9::text[])
"""
_OR_CHANGE: Final = """
ON CONFLICT (catalog, path) DO UPDATE SET size_bytes = excluded.size_bytes,
    digest = excluded.digest, manifest_digest = excluded.manifest_digest,
    modified_us = excluded.modified_us, media_type = excluded.media_type
"""


RESOURCE: Final = "path, size_bytes, digest, manifest_digest, modified_us, media_type"


def resource_of(row: asyncpg.Record) -> Resource:
    """From the columns of RESOURCE."""
    return Resource(
        row["path"],
        row["size_bytes"],
        Digest(row["digest"].hex()),
        Digest(row["manifest_digest"].hex()),
        row["modified_us"] / 1e6,
        row["media_type"],
    )


async def resources_at(
    connection: Connection, catalog: int, paths: Sequence[str]
) -> Sequence[Resource]:
    rows = await connection.fetch(
        f"SELECT {RESOURCE} FROM resources WHERE catalog = $1 AND path = ANY($2::text[])",
        catalog,
        paths,
    )
    return [resource_of(row) for row in rows]


async def withdraw(connection: Connection, catalog: int, paths: Sequence[str]) -> tuple[int, int]:
    """How many resources went, and their size."""
    if not paths:
        return 0, 0
    gone = await connection.fetch(
        "DELETE FROM resources WHERE catalog = $1 AND path = ANY($2::text[]) RETURNING size_bytes",
        catalog,
        list(paths),
    )
    return len(gone), sum(row["size_bytes"] for row in gone)


async def put(
    connection: Connection, catalog: int, resources: Sequence[Resource], *, is_new: bool
) -> tuple[int, int]:
    """How many resources there are more, and how much larger they are together.

    In the order of their paths: neighbours in the batch are then neighbours in the indices.
    `is_new`: the catalog is empty, so that nothing needs to be looked up.
    """
    latest = {resource.path: resource for resource in resources}
    if not latest:
        return 0, 0
    folded = sorted((fold(path), path) for path in latest)
    ordered = [latest[path] for _, path in folded]
    held_count, held_size = (0, 0) if is_new else await _held(connection, catalog, list(latest))
    await connection.execute(
        _PUT + ("" if is_new else _OR_CHANGE),
        catalog,
        [path for _, path in folded],
        [folded_path for folded_path, _ in folded],
        [resource.name for resource in ordered],
        [resource.size_bytes for resource in ordered],
        [bytes.fromhex(resource.digest) for resource in ordered],
        [bytes.fromhex(resource.manifest_digest) for resource in ordered],
        [_microseconds(resource.modified_at) for resource in ordered],
        [resource.media_type for resource in ordered],
    )
    size = sum(resource.size_bytes for resource in ordered)
    return len(ordered) - held_count, size - held_size


async def _held(connection: Connection, catalog: int, paths: Sequence[str]) -> tuple[int, int]:
    """How many of these there are, and their size."""
    row = await connection.fetchrow(
        "SELECT count(*) AS count, coalesce(sum(size_bytes), 0) AS size FROM resources "
        "WHERE catalog = $1 AND path = ANY($2::text[])",
        catalog,
        paths,
    )
    assert row is not None
    return row["count"], int(row["size"])


def _microseconds(modified_at: float) -> int:
    return max(-_MOST_MICROSECONDS, min(_MOST_MICROSECONDS, round(modified_at * 1e6)))


async def withdraw_partials(connection: Connection, catalog: int, digests: Sequence[Digest]) -> int:
    if not digests:
        return 0
    gone = await connection.fetch(
        "DELETE FROM partials WHERE catalog = $1 AND digest = ANY($2::bytea[]) RETURNING 1",
        catalog,
        [bytes.fromhex(digest) for digest in digests],
    )
    return len(gone)


async def put_partials(
    connection: Connection, catalog: int, partials: Sequence[PartialContent]
) -> int:
    """How many partial contents there are more."""
    latest = {partial.digest: partial for partial in partials}
    if not latest:
        return 0
    digests = [bytes.fromhex(digest) for digest in latest]
    held = await connection.fetchval(
        "SELECT count(*) FROM partials WHERE catalog = $1 AND digest = ANY($2::bytea[])",
        catalog,
        digests,
    )
    await connection.execute(
        "INSERT INTO partials (catalog, digest, manifest_digest, size_bytes) "
        "SELECT $1, * FROM unnest($2::bytea[], $3::bytea[], $4::bigint[]) "
        "ON CONFLICT (catalog, digest) DO UPDATE "
        "SET manifest_digest = excluded.manifest_digest, size_bytes = excluded.size_bytes",
        catalog,
        digests,
        [bytes.fromhex(partial.manifest_digest) for partial in latest.values()],
        [partial.size_bytes for partial in latest.values()],
    )
    return len(latest) - int(held)
