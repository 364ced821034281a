"""Secrets, users and sessions in SQL. Each function runs inside a transaction of its caller."""

from collections.abc import Callable, Collection, Mapping, Sequence

import apsw

from p2p_server.directory.errors import PeerIdTaken, StoreUnavailable
from p2p_server.directory.models import (
    NOTHING_HELD,
    Endpoint,
    EndpointStatus,
    PeerId,
    Revision,
    Session,
    User,
)
from p2p_server.directory.query import fold
from p2p_server.directory.watching.changes import Lost
from p2p_server.store.sqlite.noting import Note, Presence
from p2p_server.store.sqlite.sql import Row, all_rows, first_row, read_statuses, written_statuses

_USER = "name, key_fingerprint, bound_at"
_SESSION = (
    "peer_id, user, token_hash, certificate_der, listed, observed_host, online_since, "
    "endpoint_statuses"
)


def read_secrets(connection: apsw.Connection) -> Mapping[str, bytes]:
    return dict(all_rows(connection, "SELECT name, value FROM secrets"))


def ensure_secrets(
    connection: apsw.Connection, make: Callable[[], Mapping[str, bytes]]
) -> Mapping[str, bytes]:
    if held := read_secrets(connection):
        return held
    made = dict(make())
    connection.executemany("INSERT INTO secrets (name, value) VALUES (?, ?)", list(made.items()))
    return made


def find_user(connection: apsw.Connection, name: str) -> User | None:
    row = first_row(connection, f"SELECT {_USER} FROM users WHERE folded_name = ?", (fold(name),))
    return User(*row) if row else None


def bind_user(connection: apsw.Connection, user: User) -> User:
    connection.execute(
        "INSERT INTO users (folded_name, name, key_fingerprint, bound_at) VALUES (?, ?, ?, ?) "
        "ON CONFLICT DO NOTHING",
        (fold(user.name), user.name, user.key_fingerprint, user.bound_at),
    )
    holder = find_user(connection, user.name)
    assert holder is not None
    return holder


def users(connection: apsw.Connection) -> Sequence[User]:
    rows = all_rows(connection, f"SELECT {_USER} FROM users ORDER BY folded_name")
    return [User(*row) for row in rows]


def remove_user(connection: apsw.Connection, name: str, note: Note | None = None) -> bool:
    if note is not None:
        note(Lost())  # nothing of the peers is left to be told of
    forget_peers(connection, "folded_user = ?", (fold(name),))
    connection.execute("DELETE FROM users WHERE folded_name = ?", (fold(name),))
    return connection.changes() > 0


def forget_peers(
    connection: apsw.Connection, condition: str, values: tuple[str | float, ...]
) -> int:
    """Deletes the peers; what they shared is no longer answered and left to `purge`."""
    connection.execute(
        "UPDATE catalogs SET discarded = 1 WHERE number IN ("
        f"SELECT catalog FROM peers WHERE {condition} "
        f"UNION ALL SELECT staged_catalog FROM peers WHERE {condition})",
        values * 2,
    )
    connection.execute(f"DELETE FROM peers WHERE {condition}", values)
    return connection.changes()


def open_session(
    connection: apsw.Connection, session: Session, note: Note | None = None
) -> Revision:
    presence = Presence.before(connection, "peer_id", [session.peer_id], note)
    if find_user(connection, session.user) is None:
        raise StoreUnavailable  # removed a moment ago: registering again binds the name anew
    held = first_row(
        connection,
        "SELECT folded_user, held_epoch, held_counter, visible, endpoint_statuses FROM peers "
        "WHERE peer_id = ?",
        (session.peer_id,),
    )
    if held is None:
        _write_session(connection, session, visible=False)
        return NOTHING_HELD
    folded_user, epoch, counter, was_visible, statuses = held
    if folded_user != fold(session.user):
        raise PeerIdTaken
    same = _endpoints(read_statuses(statuses)) == _endpoints(session.endpoint_statuses)
    _write_session(connection, session, visible=bool(was_visible and session.listed and same))
    presence.compare()
    return Revision(epoch, counter)


def _write_session(connection: apsw.Connection, session: Session, *, visible: bool) -> None:
    connection.execute(
        f"INSERT INTO peers ({_SESSION}, folded_user, visible) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "
        "ON CONFLICT (peer_id) DO UPDATE SET user = excluded.user, "
        "token_hash = excluded.token_hash, certificate_der = excluded.certificate_der, "
        "listed = excluded.listed, observed_host = excluded.observed_host, "
        "online_since = excluded.online_since, endpoint_statuses = excluded.endpoint_statuses, "
        "visible = excluded.visible, ended_at = NULL",
        (
            session.peer_id,
            session.user,
            session.token_hash,
            session.certificate_der,
            session.listed,
            session.observed_host,
            session.online_since,
            written_statuses(session.endpoint_statuses),
            fold(session.user),
            visible,
        ),
    )


def sessions(connection: apsw.Connection) -> Sequence[Session]:
    rows = all_rows(
        connection, f"SELECT {_SESSION} FROM peers WHERE ended_at IS NULL ORDER BY number"
    )
    return [_session(row) for row in rows]


def find_session(connection: apsw.Connection, token_hash: bytes) -> Session | None:
    row = first_row(
        connection,
        f"SELECT {_SESSION} FROM peers WHERE token_hash = ? AND ended_at IS NULL",
        (token_hash,),
    )
    return _session(row) if row else None


def set_endpoints(
    connection: apsw.Connection,
    peer_id: PeerId,
    token_hash: bytes,
    statuses: Sequence[EndpointStatus],
    visible: bool,
    note: Note | None = None,
) -> None:
    presence = Presence.before(connection, "token_hash", [token_hash], note)
    connection.execute(
        "UPDATE peers SET endpoint_statuses = ?, visible = (listed AND ?) "
        "WHERE peer_id = ? AND token_hash = ? AND ended_at IS NULL",
        (written_statuses(statuses), visible, peer_id, token_hash),
    )
    presence.compare()


def end_sessions(
    connection: apsw.Connection,
    token_hashes: Collection[bytes],
    ended_at: float,
    note: Note | None = None,
) -> None:
    presence = Presence.before(connection, "token_hash", list(token_hashes), note)
    connection.executemany(
        "UPDATE peers SET visible = 0, ended_at = ? WHERE token_hash = ? AND ended_at IS NULL",
        [(ended_at, token_hash) for token_hash in token_hashes],
    )
    presence.compare()


def _endpoints(statuses: Sequence[EndpointStatus]) -> frozenset[Endpoint]:
    return frozenset(status.endpoint for status in statuses)


def _session(row: Row) -> Session:
    peer_id, user, token_hash, certificate_der, listed, host, online_since, statuses = row
    known = (peer_id, user, token_hash, certificate_der, bool(listed), host, online_since)
    return Session(*known, read_statuses(statuses))
