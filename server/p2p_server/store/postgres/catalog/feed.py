"""What an announce changed, kept for a while where other instances find it.

Owns the form in which deltas lie in the table `changes`. A delta is plain JSON: what stands in a
database is data to check, never objects to bring to life.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from p2p_server.directory.models import Batch, PartialContent, Resource, Revision
from p2p_server.store.postgres.pool import Connection

KEPT_SECONDS: Final = 120.0


@dataclass(frozen=True, slots=True)
class Delta:
    """A batch, and what stood at its paths before it."""

    batch: Batch
    before: Sequence[Resource]


async def put_delta(connection: Connection, delta: Delta) -> int:
    """The number under which it lies."""
    number = await connection.fetchval(
        "INSERT INTO changes (changed_at, delta) VALUES (directory_now(), $1) RETURNING number",
        written(delta),
    )
    return int(number)


async def delta(connection: Connection, number: int) -> Delta | None:
    """None: it is not there any more."""
    found = await connection.fetchval("SELECT delta FROM changes WHERE number = $1", number)
    return None if found is None else read(found)


async def forget_changes(connection: Connection, most_rows: int) -> int:
    """How many were forgotten that all instances have read long since."""
    status = await connection.execute(
        "DELETE FROM changes WHERE number IN (SELECT number FROM changes "
        "WHERE changed_at < directory_now() - make_interval(secs => $1) LIMIT $2 "
        "FOR UPDATE SKIP LOCKED)",
        KEPT_SECONDS,
        most_rows,
    )
    return int(status.rpartition(" ")[2])


def written(delta: Delta) -> bytes:
    batch = delta.batch
    resources, before = ([_fields(r) for r in some] for some in (batch.resources, delta.before))
    partials = [(p.digest, p.manifest_digest, p.size_bytes) for p in batch.partials]
    revisions = (batch.base.epoch, batch.base.counter, batch.revision.epoch, batch.revision.counter)
    withdrawn = (batch.withdrawn_paths, batch.withdrawn_partials)
    fields = (revisions, resources, partials, withdrawn, before)
    return json.dumps(fields, separators=(",", ":")).encode()


def _fields(r: Resource) -> tuple[str, int, str, str, float, str]:
    return r.path, r.size_bytes, r.digest, r.manifest_digest, r.modified_at, r.media_type


def read(text: bytes) -> Delta:
    (*base, epoch, counter), resources, partials, withdrawn, before = json.loads(text)
    paths, withdrawn_partials = withdrawn
    batch = Batch(
        Revision(epoch, counter),
        Revision(*base),
        tuple(Resource(*fields) for fields in resources),
        tuple(paths),
        tuple(PartialContent(*fields) for fields in partials),
        tuple(withdrawn_partials),
    )
    return Delta(batch, [Resource(*fields) for fields in before])
