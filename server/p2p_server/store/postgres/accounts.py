"""Secrets, users and sessions in SQL. Each function runs inside a transaction of its caller."""

import json
from collections.abc import Callable, Collection, Mapping, Sequence

import asyncpg

from p2p_server.directory.errors import PeerIdTaken, StoreUnavailable
from p2p_server.directory.models import (
    NOTHING_HELD,
    Endpoint,
    EndpointStatus,
    PeerId,
    Revision,
    Session,
    User,
    Verdict,
)
from p2p_server.directory.query import fold
from p2p_server.store.postgres.pool import Connection
from p2p_server.store.postgres.schema import LOCK

_USER = "name, key_fingerprint, bound_at"
_SESSION = (
    "peer_id, user_name, token_hash, certificate_der, listed, observed_host, online_since, "
    "endpoint_statuses"
)


async def read_secrets(connection: Connection) -> Mapping[str, bytes]:
    rows = await connection.fetch("SELECT name, value FROM secrets")
    return {row["name"]: row["value"] for row in rows}


async def ensure_secrets(
    connection: Connection, make: Callable[[], Mapping[str, bytes]]
) -> Mapping[str, bytes]:
    await connection.execute("SELECT pg_advisory_xact_lock($1)", LOCK)
    if held := await read_secrets(connection):
        return held
    made = dict(make())
    await connection.executemany("INSERT INTO secrets (name, value) VALUES ($1, $2)", made.items())
    return made


async def find_user(connection: Connection, name: str) -> User | None:
    row = await connection.fetchrow(f"SELECT {_USER} FROM users WHERE folded_name = $1", fold(name))
    return User(*row) if row else None


async def bind_user(connection: Connection, user: User) -> User:
    await connection.execute(
        "INSERT INTO users (folded_name, name, key_fingerprint, bound_at) VALUES ($1, $2, $3, $4) "
        "ON CONFLICT DO NOTHING",
        fold(user.name),
        user.name,
        user.key_fingerprint,
        user.bound_at,
    )
    holder = await find_user(connection, user.name)
    if holder is None:
        raise StoreUnavailable  # somebody else bound it, and it was removed in this very moment
    return holder


async def users(connection: Connection) -> Sequence[User]:
    rows = await connection.fetch(f"SELECT {_USER} FROM users ORDER BY folded_name")
    return [User(*row) for row in rows]


async def remove_user(connection: Connection, name: str) -> tuple[bool, list[PeerId]]:
    """Whether there was one, and the peers that went with it."""
    # Taken first, so that no session of the user opens meanwhile.
    row = await connection.fetchrow(
        "SELECT 1 FROM users WHERE folded_name = $1 FOR UPDATE", fold(name)
    )
    if row is None:
        return False, []
    gone = await forget_peers(
        connection,
        await connection.fetch("SELECT number FROM peers WHERE folded_user = $1", fold(name)),
    )
    await connection.execute("DELETE FROM users WHERE folded_name = $1", fold(name))
    return True, gone


async def forget_peers(connection: Connection, numbers: Sequence[asyncpg.Record]) -> list[PeerId]:
    """Deletes the peers; what they shared is no longer answered and left to `purge`."""
    rows = await connection.fetch(
        "DELETE FROM peers WHERE number = ANY($1::bigint[]) "
        "RETURNING peer_id, token_hash, catalog, staged_catalog",
        [row["number"] for row in numbers],
    )
    if not rows:
        return []
    catalogs = [row[column] for row in rows for column in ("catalog", "staged_catalog")]
    await connection.execute(
        "UPDATE catalogs SET discarded = true WHERE number = ANY($1::bigint[])",
        [number for number in catalogs if number is not None],
    )
    await connection.execute(
        "DELETE FROM leases WHERE token_hash = ANY($1::bytea[])",
        sorted(row["token_hash"] for row in rows),
    )
    return [PeerId(row["peer_id"]) for row in rows]


async def open_session(connection: Connection, session: Session) -> Revision:
    bound = await connection.fetchrow(
        "SELECT 1 FROM users WHERE folded_name = $1 FOR KEY SHARE", fold(session.user)
    )
    if bound is None:
        raise StoreUnavailable  # removed a moment ago: registering again binds the name anew
    made = await connection.fetchrow(
        f"INSERT INTO peers ({_SESSION}, folded_user) "
        "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (peer_id) DO NOTHING RETURNING 1",
        *_written(session),
        fold(session.user),
    )
    held = NOTHING_HELD if made else await _replace_session(connection, session)
    await connection.execute(
        "INSERT INTO leases (token_hash, ends_at) VALUES ($1, directory_now())", session.token_hash
    )
    return held


async def _replace_session(connection: Connection, session: Session) -> Revision:
    row = await connection.fetchrow(
        "SELECT folded_user, held_epoch, held_counter, visible, endpoint_statuses, token_hash "
        "FROM peers WHERE peer_id = $1 FOR UPDATE",
        session.peer_id,
    )
    if row is None:
        raise StoreUnavailable  # purged in this very moment
    folded_user, epoch, counter, was_visible, statuses, old_token_hash = row
    if folded_user != fold(session.user):
        raise PeerIdTaken
    same = _endpoints(read_statuses(statuses)) == _endpoints(session.endpoint_statuses)
    await connection.execute("DELETE FROM leases WHERE token_hash = $1", old_token_hash)
    await connection.execute(
        "UPDATE peers SET user_name = $2, token_hash = $3, certificate_der = $4, listed = $5, "
        "observed_host = $6, online_since = $7, endpoint_statuses = $8, visible = $9, "
        "ended_at = NULL WHERE peer_id = $1",
        *_written(session),
        was_visible and session.listed and same,
    )
    return Revision(epoch, counter)


def _written(session: Session) -> tuple[object, ...]:
    """The columns of _SESSION."""
    return (
        session.peer_id,
        session.user,
        session.token_hash,
        session.certificate_der,
        session.listed,
        session.observed_host,
        session.online_since,
        _written_statuses(session.endpoint_statuses),
    )


async def sessions(connection: Connection) -> Sequence[Session]:
    rows = await connection.fetch(
        f"SELECT {_SESSION} FROM peers WHERE ended_at IS NULL ORDER BY number"
    )
    return [_session(row) for row in rows]


async def sessions_of(connection: Connection, peer_ids: Collection[PeerId]) -> Sequence[Session]:
    rows = await connection.fetch(
        f"SELECT {_SESSION} FROM peers WHERE peer_id = ANY($1::text[]) AND ended_at IS NULL",
        list(peer_ids),
    )
    return [_session(row) for row in rows]


async def find_session(connection: Connection, token_hash: bytes) -> Session | None:
    row = await connection.fetchrow(
        f"SELECT {_SESSION} FROM peers WHERE token_hash = $1 AND ended_at IS NULL", token_hash
    )
    return _session(row) if row else None


async def set_endpoints(
    connection: Connection,
    peer_id: PeerId,
    token_hash: bytes,
    statuses: Sequence[EndpointStatus],
    visible: bool,
) -> bool:
    """False: the session was replaced or has ended."""
    row = await connection.fetchrow(
        "UPDATE peers SET endpoint_statuses = $3, visible = listed AND $4 "
        "WHERE peer_id = $1 AND token_hash = $2 AND ended_at IS NULL RETURNING 1",
        peer_id,
        token_hash,
        _written_statuses(statuses),
        visible,
    )
    return row is not None


async def end_sessions(
    connection: Connection, token_hashes: Collection[bytes], ended_at: float
) -> list[PeerId]:
    """Whose sessions ended."""
    rows = await connection.fetch(
        "WITH ending AS MATERIALIZED (SELECT number FROM peers "
        "WHERE token_hash = ANY($1::bytea[]) AND ended_at IS NULL ORDER BY number FOR UPDATE) "
        "UPDATE peers AS p SET visible = false, ended_at = $2 FROM ending "
        "WHERE p.number = ending.number RETURNING p.peer_id",
        list(token_hashes),
        ended_at,
    )
    await connection.execute(
        "DELETE FROM leases WHERE token_hash = ANY($1::bytea[])", sorted(token_hashes)
    )
    return [PeerId(row["peer_id"]) for row in rows]


def read_statuses(text: str) -> tuple[EndpointStatus, ...]:
    return tuple(
        EndpointStatus(Endpoint(host, port), Verdict(verdict))
        for host, port, verdict in json.loads(text)
    )


def _written_statuses(statuses: Sequence[EndpointStatus]) -> str:
    return json.dumps([[s.endpoint.host, s.endpoint.port, s.verdict.value] for s in statuses])


def _endpoints(statuses: Sequence[EndpointStatus]) -> frozenset[Endpoint]:
    return frozenset(status.endpoint for status in statuses)


def _session(row: asyncpg.Record) -> Session:
    peer_id, user, token_hash, certificate_der, listed, host, online_since, statuses = row
    known = (PeerId(peer_id), user, token_hash, certificate_der, listed, host, online_since)
    return Session(*known, read_statuses(statuses))
