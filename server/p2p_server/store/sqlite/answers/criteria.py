"""Criteria in SQL: what a row must fulfil, and which indices can name the rows that may.

Owns the translation of `Criteria` and of keyset positions. It runs nothing; `search.py` does.
"""

from dataclasses import dataclass

from p2p_server.directory.models import Criteria, Order, SortKey
from p2p_server.directory.query import TRIGRAM_LENGTH, trigrams
from p2p_server.store.clauses import (
    Clause,
    digest_clause,
    media_type_clause,
    name_clause,
    path_clause,
    size_clause,
    texts_of,
)
from p2p_server.store.sqlite.answers.rarity import Rarity
from p2p_server.store.sqlite.sql import Value

MOST_TRIGRAMS = 64  # looked at; few of them are asked for


@dataclass(frozen=True, slots=True)
class Narrowing:
    """An index that names all rows which can fulfil one criterion."""

    table: str
    row: str
    clause: Clause[Value]


@dataclass(frozen=True, slots=True)
class Ordering:
    """How an order is walked: which index, by which column."""

    index: str
    column: str
    descending: bool

    @property
    def walk(self) -> str:
        return f"resources AS r INDEXED BY {self.index}"

    @property
    def sql(self) -> str:
        if self.column == "folded_path":
            return "r.folded_path, r.row"
        return f"r.{self.column}{' DESC' if self.descending else ''}, r.folded_path, r.row"


ORDERINGS = {
    Order.PATH: Ordering("resources_by_path", "folded_path", descending=False),
    Order.LARGEST: Ordering("resources_by_size", "size_bytes", descending=True),
    Order.SMALLEST: Ordering("resources_by_size", "size_bytes", descending=False),
    Order.NEWEST: Ordering("resources_by_time", "modified_us", descending=True),
}


def conditions(criteria: Criteria) -> list[Clause[Value]]:
    """All that a row `r` must fulfil, cheap conditions first.

    What needs only folded path and catalog stands in the index of paths; SQLite looks into the
    table for the rest.
    """
    clauses: list[Clause[Value]] = [
        Clause("instr(r.folded_path, ?)", (text,)) for text in texts_of(criteria)
    ]
    if criteria.owner:
        clauses.append(_owner_clause(criteria))
    if criteria.path:
        clauses.append(path_clause(criteria))
    if criteria.min_size_bytes is not None:
        clauses.append(Clause("r.size_bytes >= ?", (criteria.min_size_bytes,)))
    if criteria.max_size_bytes is not None:
        clauses.append(Clause("r.size_bytes <= ?", (criteria.max_size_bytes,)))
    if criteria.name:
        clauses.append(name_clause(criteria))
    if criteria.digest_prefix:
        clauses.append(digest_clause(criteria))
    if criteria.media_type:
        clauses.append(media_type_clause(criteria))
    if criteria.glob:
        clauses.append(Clause("glob_matches(?, r.folded_path)", (criteria.glob,)))
    return clauses


def wanted_trigrams(criteria: Criteria) -> tuple[str, ...]:
    return trigrams(texts_of(criteria), MOST_TRIGRAMS)


def narrowings(criteria: Criteria, rarity: Rarity) -> list[Narrowing]:
    """The indices that may help, the likely narrowest first."""
    found: list[Narrowing] = []
    if criteria.path:
        found.append(_by_index("resources_by_path", path_clause(criteria)))
    if criteria.digest_prefix:
        found.append(_by_index("resources_by_digest", digest_clause(criteria)))
    if criteria.name:
        found.append(_by_index("resources_by_name", name_clause(criteria)))
    if wanted := wanted_trigrams(criteria):
        found.append(_by_trigrams(rarity.rarest(wanted)))
    if criteria.owner:
        found.append(_by_index("resources_by_catalog", _owner_clause(criteria)))
    if criteria.min_size_bytes is not None or criteria.max_size_bytes is not None:
        found.append(_by_index("resources_by_size", size_clause(criteria)))
    if criteria.media_type:
        found.append(_by_index("resources_by_media_type", media_type_clause(criteria)))
    return found


def stretches(order: Order, after: SortKey | None) -> list[Clause[Value]]:
    """What lies behind a key, in order, as ranges that an index can enter at their beginning.

    For rows of equal value the path decides, and it may run against the direction of the value:
    so first the rest of the equal ones, then what lies beyond.
    """
    if after is None:
        return [Clause("1")]
    rest = "r.folded_path >= ? AND (r.folded_path > ? OR r.row > ?)"
    place: tuple[Value, ...] = (after.folded_path, after.folded_path, after.row)
    ordering = ORDERINGS[order]
    if order is Order.PATH:
        return [Clause(rest, place)]
    beyond = f"r.{ordering.column} {'<' if ordering.descending else '>'} ?"
    return [
        Clause(f"r.{ordering.column} = ? AND {rest}", (after.value, *place)),
        Clause(beyond, (after.value,)),
    ]


def _by_index(index: str, clause: Clause[Value]) -> Narrowing:
    return Narrowing(f"resources AS r INDEXED BY {index}", "r.row", clause)


def _by_trigrams(wanted: tuple[str, ...]) -> Narrowing:
    assert all(len(trigram) == TRIGRAM_LENGTH for trigram in wanted)
    quoted = " AND ".join('"' + trigram.replace('"', '""') + '"' for trigram in wanted)
    return Narrowing("paths", "paths.rowid", Clause("paths MATCH ?", (quoted,)))


def _owner_clause(criteria: Criteria) -> Clause[Value]:
    owned = "r.catalog IN (SELECT catalog FROM peers WHERE folded_user = ? AND visible)"
    return Clause(owned, (criteria.owner,))
