"""Whereabouts in the order of paths each row lies, so that few candidates of many are looked up.

The index of trigrams names rows by number, and numbers follow the order in which they came. Here
the order of paths is cut into some thousand *zones*, and two bytes a row tell which one it is in:
of ten thousand candidates those of the first zones are looked up, and if they make a page, no
other. A row's path never changes, so neither does its zone; rows that are not placed yet are looked
up always, and no number is given twice while this runs (`catalog/announce.py`). So what is known
here makes a query shorter, and never different.

Placing goes on in slices, in whatever thread reads: all rows once, along the index of paths, then
those that came since. Nothing of it is on disk.
"""

import json
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import apsw

from p2p_server.store.sqlite.sql import all_rows, first_row, rows_at_once

ZONES: Final = 4_096
LEAST_IN_ZONE: Final = 64
MOST_ROWS: Final = 16 << 20  # two bytes each; where numbers reach far, old rows are not placed
SLICE_ROWS: Final = 8_192  # placed in a few milliseconds
MOST_ZONES: Final = 1 << 16
SAMPLE: Final = 1_000  # of the candidates
SPARE_SAMPLES: Final = 2

_END_OF_ZONE = (
    "SELECT folded_path FROM resources INDEXED BY resources_by_path WHERE folded_path > ? "
    "ORDER BY folded_path LIMIT 1 OFFSET ?"
)
_IN_ZONE = (
    "SELECT json_group_array(row) FROM resources INDEXED BY resources_by_path "
    "WHERE folded_path > ? AND folded_path <= ?"
)
_BEHIND = (
    "SELECT json_group_array(row) FROM resources INDEXED BY resources_by_path WHERE folded_path > ?"
)
_NEW = "SELECT row, folded_path FROM resources WHERE row > ? ORDER BY row LIMIT ?"


@dataclass(frozen=True, slots=True)
class Placed:
    """The zones of the rows from `first` to `last`."""

    ends: Sequence[str]  # the last path of each zone, but of the last zone, which has no end
    first: int
    last: int
    zones: "array[int]" = field(repr=False)  # by row, from `first` on

    def zone_of(self, folded_path: str) -> int:
        return bisect_left(self.ends, folded_path)

    def pool(self, rows: list[int], after_path: str | None) -> "Pool":
        """Of some rows (of which no other is asked for) those that may lie behind a path."""
        rows.sort()  # they nearly always are
        begin, end = bisect_left(rows, self.first), bisect_right(rows, self.last)
        least = 0 if after_path is None else self.zone_of(after_path)
        return Pool(self, rows[:begin] + rows[end:], rows[begin:end], least)


@dataclass(frozen=True, slots=True)
class Pool:
    """Candidates: those that may lie anywhere, and those whose zones are known. There may be very
    many, so they are passed as few times as possible."""

    held: Placed
    loose: list[int]
    placed: list[int]
    least: int  # the zone in which it begins

    def zone_holding(self, count: int) -> int:
        """A zone up to which there are about so many; MOST_ZONES: it takes all. By a sample."""
        step = -(-len(self.placed) // SAMPLE)
        first, zones = self.held.first, self.held.zones
        found = sorted(zones[row - first] for row in self.placed[:: step or 1])
        place = bisect_left(found, self.least) + count // (step or 1) + SPARE_SAMPLES
        return found[place] if place < len(found) else MOST_ZONES

    def up_to(self, zone: int) -> list[int]:
        """With all the loose ones."""
        first, zones, least = self.held.first, self.held.zones, self.least
        return self.loose + [row for row in self.placed if least <= zones[row - first] <= zone]


@dataclass(slots=True)
class _Placing:
    """The rows from `first` to `last`, being placed; half of it is of no use to anybody."""

    first: int
    last: int
    in_zone: int
    zones: "array[int]"
    ends: list[str] = field(default_factory=list)


class Zones:
    """What is placed, and the placing. `placed` is asked for in any thread; `place` too, but in one
    at a time."""

    def __init__(self) -> None:
        self.placed: Placed | None = None
        self._placing: _Placing | None = None
        self._placed_at_first = 0

    def place(self, connection: apsw.Connection) -> bool:
        """Places a slice; whether there is more to do at once."""
        if self._placing is not None:
            return self._go_on(self._placing, connection)
        placed = self.placed
        if placed is None or self._has_outgrown(placed):
            return self._begin(connection)
        return self._catch_up(placed, connection)

    def _has_outgrown(self, placed: Placed) -> bool:
        """Zones that were cut through few rows hold too many each, one day."""
        rows = placed.last - placed.first + 1
        return rows > min(MOST_ROWS, 2 * self._placed_at_first + SLICE_ROWS)

    def _begin(self, connection: apsw.Connection) -> bool:
        row = first_row(connection, "SELECT min(row), max(row) FROM resources")
        if row is None or row[0] is None:
            return False
        last = row[1]
        first = max(row[0], last - MOST_ROWS // 2 + 1)  # the other half may be added
        in_zone = max(LEAST_IN_ZONE, (last - first + 1) // ZONES)
        zones = array("H", bytes(2 * (last - first + 1)))
        self._placing = _Placing(first, last, in_zone, zones)
        return True

    def _go_on(self, placing: _Placing, connection: apsw.Connection) -> bool:
        for _ in range(max(1, SLICE_ROWS // placing.in_zone)):
            if not _place_zone(placing, connection):
                self._placing = None
                self._placed_at_first = placing.last - placing.first + 1
                self.placed = Placed(
                    tuple(placing.ends), placing.first, placing.last, placing.zones
                )
                break
        return True

    def _catch_up(self, placed: Placed, connection: apsw.Connection) -> bool:
        rows = rows_at_once(connection, "row, folded_path", _NEW, (placed.last, SLICE_ROWS))
        if not rows:
            return False
        zones, last = placed.zones, rows[-1][0]
        if last - placed.first + 1 > MOST_ROWS + SLICE_ROWS:  # of very many none is left
            return self._begin(connection)
        zones.extend(array("H", bytes(2 * (last - placed.last))))
        for row, path in rows:
            zones[row - placed.first] = placed.zone_of(path)
        self.placed = Placed(placed.ends, placed.first, last, zones)
        return len(rows) == SLICE_ROWS


def _place_zone(placing: _Placing, connection: apsw.Connection) -> bool:
    """The next one; whether another follows."""
    start = placing.ends[-1] if placing.ends else ""
    end = first_row(connection, _END_OF_ZONE, (start, placing.in_zone - 1))
    # A path that very many share makes one large zone.
    is_last = end is None or len(placing.ends) + 1 == MOST_ZONES
    if is_last or end is None:
        end = None  # the last zone has none
        rows = all_rows(connection, _BEHIND, (start,))
    else:
        rows = all_rows(connection, _IN_ZONE, (start, end[0]))
    zone = len(placing.ends)
    first, last, zones = placing.first, placing.last, placing.zones
    for row in json.loads(rows[0][0]):
        if first <= row <= last:
            zones[row - first] = zone
    if end is not None:
        placing.ends.append(end[0])
    return not is_last
