"""Criteria in SQL: what a row must fulfil, and which indices can name the rows that may.

Owns the translation of `Criteria` and of keyset positions. It runs nothing; `search.py` does.
"""

from dataclasses import dataclass

from p2p_server.directory.models import Criteria, Order, SortKey
from p2p_server.directory.query import TRIGRAM_LENGTH, fold, glob_literals, trigrams
from p2p_server.store.sqlite.answers.rarity import Rarity
from p2p_server.store.sqlite.sql import Value

MOST_TRIGRAMS = 64  # looked at; few of them are asked for


@dataclass(frozen=True, slots=True)
class Clause:
    """A condition and the values of its question marks."""

    sql: str
    values: tuple[Value, ...] = ()


@dataclass(frozen=True, slots=True)
class Narrowing:
    """An index that names all rows which can fulfil one criterion."""

    table: str
    row: str
    clause: Clause


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


def conditions(criteria: Criteria) -> list[Clause]:
    """All that a row `r` must fulfil, cheap conditions first.

    What needs only folded path and catalog stands in the index of paths; SQLite looks into the
    table for the rest.
    """
    clauses = [Clause("instr(r.folded_path, ?)", (text,)) for text in _texts(criteria)]
    if criteria.owner:
        clauses.append(_owner_clause(criteria))
    if criteria.path:
        clauses.append(_path_clause(criteria))
    if criteria.min_size_bytes is not None:
        clauses.append(Clause("r.size_bytes >= ?", (criteria.min_size_bytes,)))
    if criteria.max_size_bytes is not None:
        clauses.append(Clause("r.size_bytes <= ?", (criteria.max_size_bytes,)))
    if criteria.name:
        clauses.append(_name_clause(criteria))
    if criteria.digest_prefix:
        clauses.append(_digest_clause(criteria))
    if criteria.media_type:
        clauses.append(_media_type_clause(criteria))
    if criteria.glob:
        clauses.append(Clause("glob_matches(?, r.folded_path)", (criteria.glob,)))
    return clauses


def wanted_trigrams(criteria: Criteria) -> tuple[str, ...]:
    return trigrams(_texts(criteria), MOST_TRIGRAMS)


def narrowings(criteria: Criteria, rarity: Rarity) -> list[Narrowing]:
    """The indices that may help, the likely narrowest first."""
    found: list[Narrowing] = []
    if criteria.path:
        found.append(_by_index("resources_by_path", _path_clause(criteria)))
    if criteria.digest_prefix:
        found.append(_by_index("resources_by_digest", _digest_clause(criteria)))
    if criteria.name:
        found.append(_by_index("resources_by_name", _name_clause(criteria)))
    if wanted := wanted_trigrams(criteria):
        found.append(_by_trigrams(rarity.rarest(wanted)))
    if criteria.owner:
        found.append(_by_index("resources_by_catalog", _owner_clause(criteria)))
    if criteria.min_size_bytes is not None or criteria.max_size_bytes is not None:
        found.append(_by_index("resources_by_size", _size_clause(criteria)))
    if criteria.media_type:
        found.append(_by_index("resources_by_media_type", _media_type_clause(criteria)))
    return found


def stretches(order: Order, after: SortKey | None) -> list[Clause]:
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


def _texts(criteria: Criteria) -> tuple[str, ...]:
    """What must stand in the folded path as it is, longest first: few rows have it."""
    texts = {*criteria.words, *glob_literals(criteria.glob), fold(criteria.name)} - {""}
    return tuple(sorted(texts, key=lambda text: (-len(text), text)))


def _by_index(index: str, clause: Clause) -> Narrowing:
    return Narrowing(f"resources AS r INDEXED BY {index}", "r.row", clause)


def _by_trigrams(wanted: tuple[str, ...]) -> Narrowing:
    assert all(len(trigram) == TRIGRAM_LENGTH for trigram in wanted)
    quoted = " AND ".join('"' + trigram.replace('"', '""') + '"' for trigram in wanted)
    return Narrowing("paths", "paths.rowid", Clause("paths MATCH ?", (quoted,)))


def _owner_clause(criteria: Criteria) -> Clause:
    owned = "r.catalog IN (SELECT catalog FROM peers WHERE folded_user = ? AND visible)"
    return Clause(owned, (criteria.owner,))


def _path_clause(criteria: Criteria) -> Clause:
    return Clause("r.folded_path = ? AND r.path = ?", (fold(criteria.path), criteria.path))


def _name_clause(criteria: Criteria) -> Clause:
    return Clause("r.name = ?", (criteria.name,))


def _digest_clause(criteria: Criteria) -> Clause:
    prefix = criteria.digest_prefix
    least, greatest = bytes.fromhex(prefix.ljust(64, "0")), bytes.fromhex(prefix.ljust(64, "f"))
    return Clause("r.digest BETWEEN ? AND ?", (least, greatest))


def _size_clause(criteria: Criteria) -> Clause:
    least = criteria.min_size_bytes or 0
    if criteria.max_size_bytes is None:
        return Clause("r.size_bytes >= ?", (least,))
    return Clause("r.size_bytes BETWEEN ? AND ?", (least, criteria.max_size_bytes))


def _media_type_clause(criteria: Criteria) -> Clause:
    wanted = criteria.media_type
    if wanted.endswith("/"):
        return Clause("r.media_type >= ? AND r.media_type < ?", (wanted, wanted[:-1] + "0"))
    return Clause("r.media_type = ?", (wanted,))
