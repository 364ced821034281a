"""Criteria in SQL: what a row must fulfil, and which indices can name the rows that may.

Owns the translation of `Criteria` and of keyset positions. It runs nothing; `search.py` does.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from p2p_server.directory.models import Criteria, Order, SortKey
from p2p_server.directory.query import TRIGRAM_LENGTH, fold, glob_literals

_STARS = re.compile(r"(\*\*+|\*|\?)")
_SPECIAL = re.compile(r"([\\%_])")


@dataclass(frozen=True, slots=True)
class Clause:
    """A condition and the values of its question marks."""

    sql: str
    values: tuple[object, ...] = ()


@dataclass(frozen=True, slots=True)
class Ordering:
    """How an order is walked: by which column, in which direction."""

    column: str
    descending: bool

    @property
    def sql(self) -> str:
        if self.column == "folded_path":
            return "r.folded_path, r.number"
        return f"r.{self.column}{' DESC' if self.descending else ''}, r.folded_path, r.number"


ORDERINGS = {
    Order.PATH: Ordering("folded_path", descending=False),
    Order.LARGEST: Ordering("size_bytes", descending=True),
    Order.SMALLEST: Ordering("size_bytes", descending=False),
    Order.NEWEST: Ordering("modified_us", descending=True),
}


def numbered(sql: str) -> str:
    """The statement with PostgreSQL's $1, $2 … in the place of question marks."""
    first, *others = sql.split("?")
    return first + "".join(f"${at}{part}" for at, part in enumerate(others, 1))


def conditions(criteria: Criteria) -> list[Clause]:
    """All that a row `r` must fulfil. No index is of use for them: that is for `narrowings`."""
    clauses = [Clause("strpos(r.folded_path, ?) > 0", (text,)) for text in _texts(criteria)]
    if criteria.owner:
        clauses.append(_owner_clause(criteria))
    if criteria.path:
        clauses.append(_path_clause(criteria))
    if criteria.min_size_bytes is not None or criteria.max_size_bytes is not None:
        clauses.append(_size_clause(criteria))
    if criteria.name:
        clauses.append(Clause("r.name = ?", (criteria.name,)))
    if criteria.digest_prefix:
        clauses.append(_digest_clause(criteria))
    if criteria.media_type:
        clauses.append(_media_type_clause(criteria))
    if criteria.glob:
        clauses.append(Clause("(r.folded_path || '') ~ ?", (glob_expression(criteria.glob),)))
    return clauses


def narrowings(criteria: Criteria) -> list[Clause]:
    """What an index can answer, the likely narrowest first."""
    found: list[Clause] = []
    if criteria.path:
        found.append(_path_clause(criteria))
    if criteria.digest_prefix:
        found.append(_digest_clause(criteria))
    if criteria.name:
        found.append(Clause("r.name = ?", (criteria.name,)))
    if long := [text for text in _texts(criteria) if len(text) >= TRIGRAM_LENGTH]:
        found.append(_like(long))
    if criteria.owner:
        found.append(_owner_clause(criteria))
    if criteria.min_size_bytes is not None or criteria.max_size_bytes is not None:
        found.append(_size_clause(criteria))
    if criteria.media_type:
        found.append(_media_type_clause(criteria))
    return found


def likeness(criteria: Criteria) -> list[Clause]:
    """What `conditions` say of the text, in a form that is quicker to verify, and that PostgreSQL
    may answer from the trigram index if it likes."""
    texts = _texts(criteria)
    return [_like(texts)] if texts else []


def behind(order: Order, after: SortKey | None) -> Clause:
    """What lies behind a key, in order, as a range that an index can enter at its beginning.

    For rows of equal value the path decides, and it may run against the direction of the value.
    """
    if after is None:
        return Clause("true")
    rest = Clause("(r.folded_path, r.number) > (?, ?)", (after.folded_path, after.row))
    ordering = ORDERINGS[order]
    if order is Order.PATH:
        return rest
    column, beyond = f"r.{ordering.column}", "<" if ordering.descending else ">"
    return Clause(
        f"{column} {beyond}= ? AND ({column} {beyond} ? OR {rest.sql})",
        (after.value, after.value, *rest.values),
    )


def glob_expression(glob: str) -> str:
    """A regular expression for the folded paths that match (syntax: QueryRequest.glob).

    Without anything that PostgreSQL's engine would have to go back for: it reads a path once.
    """
    begin = "" if "/" in glob else "(?:.*/)?"
    return f"^{begin}{''.join(map(_token, _STARS.split(glob)))}$"


def _token(token: str) -> str:
    match token:
        case "?":
            return "[^/]"
        case "*":
            return "[^/]*"
        case _ if token.startswith("**"):
            return ".*"
        case _:
            return re.sub(r"([^\w\s/])", r"\\\1", token)


def _texts(criteria: Criteria) -> tuple[str, ...]:
    """What must stand in the folded path as it is, longest first: few rows have it."""
    texts = {*criteria.words, *glob_literals(criteria.glob), fold(criteria.name)} - {""}
    return tuple(sorted(texts, key=lambda text: (-len(text), text)))


def _like(texts: Sequence[str]) -> Clause:
    patterns = tuple("%" + _SPECIAL.sub(r"\\\1", text) + "%" for text in texts)
    return Clause(" AND ".join(["r.folded_path LIKE ?"] * len(patterns)), patterns)


def _owner_clause(criteria: Criteria) -> Clause:
    owned = "SELECT catalog FROM peers WHERE folded_user = ? AND visible AND catalog IS NOT NULL"
    return Clause(f"r.catalog = ANY(ARRAY({owned}))", (criteria.owner,))


def _path_clause(criteria: Criteria) -> Clause:
    return Clause("r.folded_path = ? AND r.path = ?", (fold(criteria.path), criteria.path))


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
