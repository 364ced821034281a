"""Query in SQL: the next rows in order, by whichever way is short.

There are two ways to a page. *Gathering* takes all candidates of a narrow index, verifies and sorts
them: good while they are few. *Walking* follows the order's own index and verifies what it passes:
good while matches are frequent. Which it is shows by looking: indices are asked whether they have
few candidates; if none has, a short walk is tried; if that meets too little, for the matches lie
far back in the order, a larger set is gathered, at worst from all paths. So a rare word and a word
in every path both cost little, and the worst is one pass over the index of paths.

Of many candidates in the order of paths those that lie first are gathered first, as far as it is
known (`zones.py`), and the rest only if they do not make a page.
"""

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import apsw

from p2p_server.directory.errors import Overloaded
from p2p_server.directory.models import (
    Criteria,
    Digest,
    Order,
    Page,
    PeerId,
    Resource,
    ResourceRow,
    SortKey,
)
from p2p_server.store.clauses import Clause
from p2p_server.store.sqlite.answers.criteria import (
    ORDERINGS,
    conditions,
    narrowings,
    stretches,
    wanted_trigrams,
)
from p2p_server.store.sqlite.answers.holders import peers_by_id
from p2p_server.store.sqlite.answers.rarity import Rarity
from p2p_server.store.sqlite.answers.zones import MOST_ZONES, Placed, Zones
from p2p_server.store.sqlite.sql import Value, all_rows, rows_at_once

FEW = 2_000  # candidates: gathered in a few milliseconds
MANY = 50_000  # gathered in the time that a long walk takes
MANY_PLACED = 150_000  # the first of them gathered in that time
SHORT_WALK_STEPS = 200_000  # of SQLite's machine: some 12,000 rows passed
SHORT_WALK_ROWS = 12_000
STEPS_BETWEEN_LOOKS = 20_000
MOST_SECONDS = 3.0  # a caller does not wait longer than 5
GATHERED_WHOLE = 6  # pages' worth of candidates: to choose among them would save nothing
FIRST_PAGES = 1.5  # gathered first, in pages' worth of candidates; then so many times as many:
GROWTH = 4

_COLUMNS = (
    "r.row, r.folded_path, r.path, r.size_bytes, r.digest, r.manifest_digest, r.modified_us, "
    "r.media_type, p.peer_id"
)
_TOLD = (
    "row, folded_path, path, size_bytes, lower(hex(digest)), lower(hex(manifest_digest)), "
    "modified_us, media_type, peer_id"
)
ALL_PATHS = "resources AS r INDEXED BY resources_by_path"
CANDIDATES = "json_each(?) AS candidate CROSS JOIN resources AS r ON r.row = candidate.value"
_PEERS = "CROSS JOIN peers AS p ON p.catalog = r.catalog"


@dataclass(frozen=True, slots=True)
class Hints:
    """What is known of the rows beside the database: makes a query shorter, and never different."""

    rarity: Rarity = field(default_factory=Rarity)
    zones: Zones = field(default_factory=Zones)


NOTHING_KNOWN = Hints()


def query(
    connection: apsw.Connection,
    criteria: Criteria,
    after: SortKey | None,
    limit: int,
    hints: Hints = NOTHING_KNOWN,
) -> Page:
    """Raises Overloaded when it would take longer than MOST_SECONDS."""
    if any("\0" in text for text in (*criteria.words, criteria.glob, criteria.name)):
        return Page(())  # no path has one, and SQL would take the text to end there
    search = _Search(connection, criteria, after, limit, hints)
    rows = tuple(_resource_row(row, criteria.order) for row in search.rows())
    return Page(rows, peers_by_id(connection, dict.fromkeys(row.peer_id for row in rows)))


class _Search:
    """One query on its way."""

    def __init__(
        self,
        connection: apsw.Connection,
        criteria: Criteria,
        after: SortKey | None,
        limit: int,
        hints: Hints,
    ) -> None:
        self._connection = connection
        self._ordering = ORDERINGS[criteria.order]
        self._wanted = conditions(criteria)
        placed = hints.zones.placed if criteria.order is Order.PATH else None
        self._placed = placed
        self._narrowings = narrowings(criteria, hints.rarity)
        # A later page begins where matches were: there a short walk is worth trying.
        self._is_far_back = (
            placed is not None
            and after is None
            and hints.rarity.rows_before(wanted_trigrams(criteria)) > SHORT_WALK_ROWS
        )
        self._stretches = stretches(criteria.order, after)
        self._after = after
        self._limit = limit
        self._ends_at = time.monotonic() + MOST_SECONDS

    def rows(self) -> list[list[Any]]:
        if (few := self._candidates(FEW)) is not None:
            return self._gather(few)
        if not self._wanted:
            return self._in_order(self._ordering.walk)
        if not self._is_far_back:
            try:
                return self._in_order(self._ordering.walk, most_steps=SHORT_WALK_STEPS)
            except _TooFar:
                pass
        many = self._candidates(MANY_PLACED if self._placed else MANY)
        return self._in_order(ALL_PATHS) if many is None else self._gather(many)

    def _candidates(self, most: int) -> str | None:
        """Rows (a JSON array) from the first index that names so few; None: all name more."""
        for narrowing in self._narrowings:
            with _bounded(self._connection, self._ends_at):
                ((count, rows),) = all_rows(
                    self._connection,
                    f"SELECT count(*), json_group_array(row) FROM (SELECT {narrowing.row} AS row "
                    f"FROM {narrowing.table} WHERE {narrowing.clause.sql} LIMIT ?)",
                    (*narrowing.clause.values, most + 1),
                )
            if count <= most:
                return str(rows)
        return None

    def _gather(self, candidates: str) -> list[list[Any]]:
        if self._placed is not None:
            rows: list[int] = json.loads(candidates)
            if len(rows) > GATHERED_WHOLE * self._limit:
                return self._gather_first(rows, self._placed)
        return self._in_order(CANDIDATES, (candidates,))

    def _gather_first(self, rows: list[int], placed: Placed) -> list[list[Any]]:
        """The candidates of the first zones, and of more until there is a page of which every row
        lies in them: whatever is left out lies behind."""
        pool = placed.pool(rows, self._after.folded_path if self._after else None)
        count = self._limit * FIRST_PAGES
        while True:
            zone = pool.zone_holding(round(count))
            found = self._in_order(CANDIDATES, (json.dumps(pool.up_to(zone)),))
            if zone == MOST_ZONES:
                return found
            if len(found) >= self._limit and placed.zone_of(found[-1][1]) <= zone:
                return found
            count *= GROWTH

    def _in_order(
        self, tables: str, values: Sequence[Value] = (), most_steps: int | None = None
    ) -> list[list[Any]]:
        """What fulfils the criteria, from a FROM clause. Raises _TooFar after so many steps."""
        found: list[list[Any]] = []
        for stretch in self._stretches:
            clauses = [stretch, Clause("p.visible"), *self._wanted]
            with _bounded(self._connection, self._ends_at, most_steps):
                found += rows_at_once(
                    self._connection,
                    _TOLD,
                    f"SELECT {_COLUMNS} FROM {tables} {_PEERS} "
                    f"WHERE {' AND '.join(clause.sql for clause in clauses)} "
                    f"ORDER BY {self._ordering.sql} LIMIT ?",
                    (
                        *values,
                        *(value for clause in clauses for value in clause.values),
                        self._limit - len(found),
                    ),
                )
            if len(found) >= self._limit:
                break
        return found


class _TooFar(Exception):
    """A short walk became a long one."""


@contextmanager
def _bounded(
    connection: apsw.Connection, ends_at: float, most_steps: int | None = None
) -> Iterator[None]:
    """Stops a statement that runs too far (_TooFar) or too long (Overloaded)."""
    looks = 0
    stop: Exception | None = None

    def look() -> bool:
        nonlocal looks, stop
        looks += 1
        if most_steps is not None and looks * STEPS_BETWEEN_LOOKS > most_steps:
            stop = _TooFar()
        elif time.monotonic() > ends_at:
            stop = Overloaded("the query takes too long; ask for something more specific")
        return stop is not None

    connection.set_progress_handler(look, STEPS_BETWEEN_LOOKS)
    try:
        yield
    except apsw.InterruptError:
        if stop is None:
            raise  # the store is closing
        raise stop from None
    finally:
        connection.set_progress_handler(None)


def _resource_row(row: Sequence[Any], order: Order) -> ResourceRow:
    """From the columns of _TOLD."""
    number, folded_path, path, size_bytes, digest, manifest, modified_us, media_type, peer = row
    resource = Resource(
        path, size_bytes, Digest(digest), Digest(manifest), modified_us / 1e6, media_type
    )
    value: str | int = size_bytes
    if order is Order.PATH:
        value = folded_path
    elif order is Order.NEWEST:
        value = modified_us
    return ResourceRow(resource, PeerId(peer), SortKey(value, folded_path, number))
