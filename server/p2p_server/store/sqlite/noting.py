"""Peers that come and go in a transaction, noted for those who follow.

A note is None while nobody follows; then nothing is looked up for it. The store tells what was
noted after the commit.
"""

from collections.abc import Callable
from dataclasses import dataclass

import apsw

from p2p_server.directory.watching.changes import Change, PeerCame, PeerLeft
from p2p_server.store.sqlite.answers.holders import peer
from p2p_server.store.sqlite.sql import Row, Value, all_rows, first_row

Note = Callable[[Change], None]


@dataclass(frozen=True, slots=True)
class Presence:
    """Which peers were visible before something changed."""

    connection: apsw.Connection
    note: Note | None
    rows: list[Row]

    @classmethod
    def before(
        cls, connection: apsw.Connection, column: str, keys: list[Value], note: Note | None
    ) -> "Presence":
        """Of the peers that have one of the keys in a column."""
        rows: list[Row] = []
        if note is not None:
            for key in keys:
                rows += all_rows(
                    connection, f"SELECT number, visible FROM peers WHERE {column} = ?", (key,)
                )
        return cls(connection, note, rows)

    def compare(self) -> None:
        """Notes those whose visibility is not what it was."""
        if self.note is None:
            return
        for number, was_visible in self.rows:
            now = first_row(
                self.connection, "SELECT visible FROM peers WHERE number = ?", (number,)
            )
            row = peer(self.connection, number)
            if now is not None and row is not None and now[0] != was_visible:
                self.note(PeerLeft(row) if was_visible else PeerCame(row))
