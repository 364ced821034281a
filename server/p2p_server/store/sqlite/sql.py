"""Running a statement. The one place where values come out of SQL untyped: the schema is STRICT."""

from collections.abc import Sequence
from typing import Any

import apsw

Row = tuple[Any, ...]
Value = str | int | float | bytes | None


def all_rows(connection: apsw.Connection, sql: str, values: Sequence[Value] = ()) -> list[Row]:
    return connection.execute(sql, values).fetchall()


def first_row(connection: apsw.Connection, sql: str, values: Sequence[Value] = ()) -> Row | None:
    return connection.execute(sql, values).fetchone()
