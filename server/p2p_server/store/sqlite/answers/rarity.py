"""Which trigrams of a query are worth asking the index for: the rare ones.

The index intersects lists of rows as long as their trigrams are frequent, so a trigram that stands
in every other path costs more than all the rest and says nothing. How frequent each is, is known
from a sample of the paths, taken now and then; whatever is wrong with it costs time and never a
result, for all that the index names is verified.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import apsw

from p2p_server.directory.query import TRIGRAM_LENGTH
from p2p_server.store.sqlite.sql import all_rows, first_row

SAMPLE: Final = 1_000
ENOUGH: Final = 300  # candidates expected: fewer are not worth another list
MOST_TRIGRAMS: Final = 6


@dataclass(frozen=True, slots=True)
class Rarity:
    """The default knows nothing: all trigrams are alike then."""

    row_count: int = 0
    sampled: int = 0
    paths_with: Counter[str] = field(default_factory=Counter)

    def rarest(self, trigrams: Sequence[str]) -> tuple[str, ...]:
        """As many of them as narrow the candidates down, rarest first; at least one if there is
        one."""
        expected = float(self.row_count or 1 << 40)
        chosen: list[str] = []
        for trigram in sorted(trigrams, key=self._share):
            chosen.append(trigram)
            expected *= self._share(trigram)
            if expected <= ENOUGH or len(chosen) == MOST_TRIGRAMS:
                break
        return tuple(chosen)

    def _share(self, trigram: str) -> float:
        return (self.paths_with[trigram] + 0.5) / (self.sampled + 1)


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
    paths = {path for (path,) in rows if path is not None}
    found: Counter[str] = Counter()
    for path in paths:
        found.update(
            {path[at : at + TRIGRAM_LENGTH] for at in range(len(path) - TRIGRAM_LENGTH + 1)}
        )
    return Rarity(last - first + 1, len(paths), found)
