"""Running a statement, and values that stand in columns in a form of their own.

The one place where values come out of SQL untyped: the schema is STRICT.
"""

import json
from collections.abc import Sequence
from typing import Any

import apsw

from p2p_server.directory.models import Digest, Endpoint, EndpointStatus, Resource, Verdict

Row = tuple[Any, ...]
Value = str | int | float | bytes | None


def all_rows(connection: apsw.Connection, sql: str, values: Sequence[Value] = ()) -> list[Row]:
    return connection.execute(sql, values).fetchall()


def first_row(connection: apsw.Connection, sql: str, values: Sequence[Value] = ()) -> Row | None:
    return connection.execute(sql, values).fetchone()


def rows_at_once(
    connection: apsw.Connection, columns: str, sql: str, values: Sequence[Value] = ()
) -> list[list[Any]]:
    """The rows of a SELECT, of `columns` (no blobs), in its order, by one step of SQLite.

    A thread lets go of the interpreter at each step and has to come by it again, which takes up to
    a switch interval while others are busy: fifty rows in as many steps are fifty waits.
    """
    row = first_row(
        connection,
        f"SELECT '[' || coalesce(group_concat(json_array({columns})), '') || ']' FROM ({sql})",
        values,
    )
    assert row is not None
    found: list[list[Any]] = json.loads(row[0])
    return found


RESOURCE = "path, size_bytes, digest, manifest_digest, modified_us, media_type"
_MOST_MICROSECONDS = 1 << 62


def resource_of(row: Row) -> Resource:
    """From the columns of RESOURCE."""
    path, size_bytes, digest, manifest_digest, modified_us, media_type = row
    return Resource(
        path,
        size_bytes,
        Digest(digest.hex()),
        Digest(manifest_digest.hex()),
        modified_us / 1e6,
        media_type,
    )


def microseconds(modified_at: float) -> int:
    return max(-_MOST_MICROSECONDS, min(_MOST_MICROSECONDS, round(modified_at * 1e6)))


def read_statuses(text: str) -> tuple[EndpointStatus, ...]:
    return tuple(
        EndpointStatus(Endpoint(host, port), Verdict(verdict))
        for host, port, verdict in json.loads(text)
    )


def written_statuses(statuses: Sequence[EndpointStatus]) -> str:
    return json.dumps([[s.endpoint.host, s.endpoint.port, s.verdict.value] for s in statuses])
