"""Which trigrams of a query are worth asking the index for: those that save more than they cost.

The index intersects lists of rows, each as long as its trigram is frequent; what is left is looked
up row by row. So a trigram that stands in every path costs more than all the rest and says nothing,
and so does one whose neighbour was asked for already. How frequent each is, and beside which
others, is known from a sample of the paths, taken now and then; whatever is wrong with it costs
time and never a result, for all that the index names is verified.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import apsw

from p2p_server.directory.query import TRIGRAM_LENGTH
from p2p_server.store.sqlite.sql import all_rows, first_row

SAMPLE: Final = 1_000
MOST_TRIGRAMS: Final = 6
# Looking a candidate up takes as long as passing so many rows of a list (4 µs and 10 ns).
ROWS_PER_CANDIDATE: Final = 400
MOST_LEFT: Final = 0.9  # of the candidates: a sample does not tell more than this from all
# Two trigrams that share two characters say one character more than one does.
NEIGHBOUR_SHARE: Final = 0.1
TRUST_PATHS: Final = 10  # so few that have one trigram say little about others beside it


@dataclass(frozen=True, slots=True)
class Rarity:
    """The default knows nothing: all trigrams are alike then."""

    row_count: int = 0
    sampled: int = 0
    paths_with: Mapping[str, int] = field(default_factory=dict)  # a bit a sampled path, in order

    def rarest(self, trigrams: Sequence[str]) -> tuple[str, ...]:
        """Those to ask for, rarest first: as many as cost the least, for each further one saves
        lookups and is a list to pass. At least one if there is one."""
        if not self.sampled:
            return tuple(trigrams[:MOST_TRIGRAMS])
        chosen, left = self._chain(trigrams)
        rows, lists = float(self.row_count), 0.0
        costs = list[float]()
        for trigram, candidates in zip(chosen, left, strict=True):
            lists += rows * self._share(trigram)
            costs.append(lists + candidates * ROWS_PER_CANDIDATE)
        return tuple(chosen[: costs.index(min(costs)) + 1]) if costs else ()

    def _chain(self, trigrams: Sequence[str]) -> tuple[list[str], list[float]]:
        """Trigrams that each say something beside those before, and the candidates left by each."""
        candidates = float(self.row_count)
        chosen, left = list[str](), list[float]()
        shares = {trigram: self._share(trigram) for trigram in trigrams}  # of the candidates
        while shares and len(chosen) < MOST_TRIGRAMS:
            best = min(shares, key=shares.__getitem__)
            if chosen and shares[best] > MOST_LEFT:
                break
            # One that the sample does not have may yet be in some of the paths.
            candidates *= min(1.0, shares.pop(best) + 1.5 / (self.sampled + 1))
            chosen.append(best)
            left.append(candidates)
            shares = {
                trigram: max(s, self._share_beside(trigram, best)) for trigram, s in shares.items()
            }
        return chosen, left

    def rows_before(self, trigrams: Sequence[str]) -> float:
        """About so many rows lie before the first, by path, that has them all; 0: nothing known."""
        if not self.sampled:
            return 0.0
        having = (1 << self.sampled) - 1
        for trigram in trigrams:
            having &= self.paths_with.get(trigram, 0)
        first = (having & -having).bit_length() - 1 if having else self.sampled
        return self.row_count * first / self.sampled

    def _count(self, trigram: str) -> int:
        return self.paths_with.get(trigram, 0).bit_count()

    def _share(self, trigram: str) -> float:
        return (self._count(trigram) + 0.5) / (self.sampled + 1)

    def _share_beside(self, trigram: str, other: str) -> float:
        """Of the paths that have the other one."""
        both = (self.paths_with.get(trigram, 0) & self.paths_with.get(other, 0)).bit_count()
        share = self._share(trigram)  # as many as elsewhere, until enough paths say otherwise
        share = (both + TRUST_PATHS * share) / (self._count(other) + TRUST_PATHS)
        if trigram[1:] == other[:-1] or trigram[:-1] == other[1:]:
            return max(share, NEIGHBOUR_SHARE)
        return share


def sample(connection: apsw.Connection) -> Rarity:
    """Cost: some 30 ms with very many resources."""
    row = first_row(connection, "SELECT min(row), max(row) FROM resources")
    if row is None or row[0] is None:
        return Rarity()
    first, last = row
    step = max(1, (last - first) // SAMPLE)
    rows = all_rows(
        connection,
        "SELECT (SELECT folded_path FROM resources WHERE row >= at.value ORDER BY row LIMIT 1) "
        "FROM json_each(?) AS at",
        (str(list(range(first, last + 1, step))),),
    )
    paths = sorted({path for (path,) in rows if path is not None})
    found = defaultdict[str, int](int)
    for place, path in enumerate(paths):
        for at in range(len(path) - TRIGRAM_LENGTH + 1):
            found[path[at : at + TRIGRAM_LENGTH]] |= 1 << place
    return Rarity(last - first + 1, len(paths), dict(found))
