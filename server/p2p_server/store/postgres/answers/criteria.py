"""Criteria in SQL: what a row must fulfil, and which indices can name the rows that may.

Owns the translation of `Criteria` and of keyset positions. It runs nothing; `search.py` does.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from p2p_server.directory.models import Criteria, Order, SortKey
from p2p_server.directory.query import TRIGRAM_LENGTH
from p2p_server.store.clauses import (
    Clause,
    digest_clause,
    media_type_clause,
    name_clause,
    path_clause,
    size_clause,
    texts_of,
)

_STARS = re.compile(r"(\*\*+|\*|\?)")
_SPECIAL = re.compile(r"([\\%_])")


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


def conditions(criteria: Criteria) -> list[Clause[object]]:
    """All that a row `r` must fulfil. No index is of use for them: that is for `narrowings`."""
    clauses: list[Clause[object]] = [
        Clause("strpos(r.folded_path, ?) > 0", (text,)) for text in texts_of(criteria)
    ]
    if criteria.owner:
        clauses.append(_owner_clause(criteria))
    if criteria.path:
        clauses.append(path_clause(criteria))
    if criteria.min_size_bytes is not None or criteria.max_size_bytes is not None:
        clauses.append(size_clause(criteria))
    if criteria.name:
        clauses.append(name_clause(criteria))
    if criteria.digest_prefix:
        clauses.append(digest_clause(criteria))
    if criteria.media_type:
        clauses.append(media_type_clause(criteria))
    if criteria.glob:
        clauses.append(Clause("(r.folded_path || '') ~ ?", (glob_expression(criteria.glob),)))
    return clauses


def narrowings(criteria: Criteria) -> list[Clause[object]]:
    """What an index can answer, the likely narrowest first."""
    found: list[Clause[object]] = []
    if criteria.path:
        found.append(path_clause(criteria))
    if criteria.digest_prefix:
        found.append(digest_clause(criteria))
    if criteria.name:
        found.append(name_clause(criteria))
    if long := [text for text in texts_of(criteria) if len(text) >= TRIGRAM_LENGTH]:
        found.append(_like(long))
    if criteria.owner:
        found.append(_owner_clause(criteria))
    if criteria.min_size_bytes is not None or criteria.max_size_bytes is not None:
        found.append(size_clause(criteria))
    if criteria.media_type:
        found.append(media_type_clause(criteria))
    return found


def likeness(criteria: Criteria) -> list[Clause[object]]:
    """What `conditions` say of the text, in a form that is quicker to verify, and that PostgreSQL
    may answer from the trigram index if it likes."""
    texts = texts_of(criteria)
    return [_like(texts)] if texts else []


def behind(order: Order, after: SortKey | None) -> Clause[object]:
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


def _like(texts: Sequence[str]) -> Clause[object]:
    patterns = tuple("%" + _SPECIAL.sub(r"\\\1", text) + "%" for text in texts)
    return Clause(" AND ".join(["r.folded_path LIKE ?"] * len(patterns)), patterns)


def _owner_clause(criteria: Criteria) -> Clause[object]:
    owned = "SELECT catalog FROM peers WHERE folded_user = ? AND visible AND catalog IS NOT NULL"
    return Clause(f"r.catalog = ANY(ARRAY({owned}))", (criteria.owner,))
