"""Criteria as conditions on a row `r` of `resources`, where both databases say them alike.

What they say each in its own way is in `answers/criteria.py` of either.
"""

from dataclasses import dataclass
from typing import Generic, TypeVar

from p2p_server.directory.models import Criteria
from p2p_server.directory.query import fold, glob_literals

V_co = TypeVar("V_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Clause(Generic[V_co]):
    """A condition and the values of its question marks."""

    sql: str
    values: tuple[V_co, ...] = ()


Plain = Clause[str | int | bytes]


def texts_of(criteria: Criteria) -> tuple[str, ...]:
    """What must stand in the folded path as it is, longest first: few rows have it."""
    texts = {*criteria.words, *glob_literals(criteria.glob), fold(criteria.name)} - {""}
    return tuple(sorted(texts, key=lambda text: (-len(text), text)))


def path_clause(criteria: Criteria) -> Plain:
    return Clause("r.folded_path = ? AND r.path = ?", (fold(criteria.path), criteria.path))


def name_clause(criteria: Criteria) -> Plain:
    return Clause("r.name = ?", (criteria.name,))


def digest_clause(criteria: Criteria) -> Plain:
    prefix = criteria.digest_prefix
    least, greatest = bytes.fromhex(prefix.ljust(64, "0")), bytes.fromhex(prefix.ljust(64, "f"))
    return Clause("r.digest BETWEEN ? AND ?", (least, greatest))


def size_clause(criteria: Criteria) -> Plain:
    least = criteria.min_size_bytes or 0
    if criteria.max_size_bytes is None:
        return Clause("r.size_bytes >= ?", (least,))
    return Clause("r.size_bytes BETWEEN ? AND ?", (least, criteria.max_size_bytes))


def media_type_clause(criteria: Criteria) -> Plain:
    wanted = criteria.media_type
    if wanted.endswith("/"):
        return Clause("r.media_type >= ? AND r.media_type < ?", (wanted, wanted[:-1] + "0"))
    return Clause("r.media_type = ?", (wanted,))
