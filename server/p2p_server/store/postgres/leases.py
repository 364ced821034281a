"""Leases and used challenges in SQL, by the one clock that all instances share.

An instance tells in batches which heartbeats it heard, and asks before it ends a session that it
has not heard of: another may have.
"""

import time
from collections.abc import Collection, Mapping, Sequence
from typing import Final

from p2p_server.directory.models import PeerId
from p2p_server.store.base import Renewal
from p2p_server.store.postgres.accounts import end_sessions
from p2p_server.store.postgres.pool import Connection

CHALLENGE_KEPT_SECONDS: Final = 600.0  # they are good for one minute, by clocks that may differ
MOST_AT_ONCE: Final = 5_000


def slices(items: Collection[Renewal]) -> Sequence[Sequence[Renewal]]:
    """In the order in which rows are locked, so that two instances cannot wait for each other."""
    ordered = sorted(items, key=lambda renewal: renewal.token_hash)
    starts = range(0, len(ordered) or 1, MOST_AT_ONCE)  # with none: one empty slice
    return [ordered[at : at + MOST_AT_ONCE] for at in starts]


async def renew(connection: Connection, renewals: Sequence[Renewal]) -> None:
    await connection.execute(
        """
        WITH heard AS MATERIALIZED (
            SELECT l.token_hash, directory_now() + make_interval(secs => h.seconds_left) AS ends_at
            FROM unnest($1::bytea[], $2::float8[]) AS h (token_hash, seconds_left)
            JOIN leases AS l USING (token_hash)
            ORDER BY l.token_hash FOR UPDATE OF l
        )
        UPDATE leases AS l SET ends_at = heard.ends_at FROM heard
        WHERE l.token_hash = heard.token_hash AND l.ends_at < heard.ends_at
        """,
        [renewal.token_hash for renewal in renewals],
        [renewal.seconds_left for renewal in renewals],
    )


async def end_expired(
    connection: Connection, token_hashes: Collection[bytes]
) -> tuple[list[PeerId], Mapping[bytes, float]]:
    """Whose sessions ended, and how many seconds those last that did not."""
    lasting = await _lasting(connection, token_hashes)
    expired = [token_hash for token_hash in token_hashes if token_hash not in lasting]
    if not expired:
        return [], lasting
    # Peers are locked before leases everywhere; a heartbeat may have been told meanwhile.
    await connection.execute(
        "SELECT 1 FROM peers WHERE token_hash = ANY($1::bytea[]) ORDER BY number FOR UPDATE",
        expired,
    )
    renewed = await _lasting(connection, expired, "ORDER BY token_hash FOR UPDATE")
    expired = [token_hash for token_hash in expired if token_hash not in renewed]
    ended = await end_sessions(connection, expired, time.time())
    return ended, {**lasting, **renewed}


async def _lasting(
    connection: Connection, token_hashes: Collection[bytes], locked: str = ""
) -> dict[bytes, float]:
    rows = await connection.fetch(
        "SELECT token_hash, extract(epoch FROM ends_at - directory_now())::float8 AS seconds_left "
        f"FROM leases WHERE token_hash = ANY($1::bytea[]) {locked}",
        list(token_hashes),
    )
    return {row["token_hash"]: row["seconds_left"] for row in rows if row["seconds_left"] > 0}


async def use_challenge(connection: Connection, challenge: bytes) -> bool:
    row = await connection.fetchrow(
        "INSERT INTO challenges (challenge, used_at) VALUES ($1, directory_now()) "
        "ON CONFLICT DO NOTHING RETURNING 1",
        challenge,
    )
    return row is not None


async def forget_challenges(connection: Connection, most_rows: int) -> int:
    """How many were forgotten that nobody could use any more."""
    status = await connection.execute(
        "DELETE FROM challenges WHERE challenge IN (SELECT challenge FROM challenges "
        "WHERE used_at < directory_now() - make_interval(secs => $1) LIMIT $2 "
        "FOR UPDATE SKIP LOCKED)",
        CHALLENGE_KEPT_SECONDS,
        most_rows,
    )
    return int(status.rpartition(" ")[2])
