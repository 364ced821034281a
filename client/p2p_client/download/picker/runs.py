"""A set of pieces as runs of consecutive ones: small, however large the content."""

from bisect import bisect_left
from collections.abc import Iterable, Iterator

from p2p_client.content.piece_map import PieceMap

Run = tuple[int, int]
"""Pieces [first, stop); empty runs (first == stop) are lawful wherever runs are taken."""


class Runs:
    """Disjoint runs in ascending order, merged where they touch."""

    __slots__ = ("_runs", "total")

    def __init__(self, runs: Iterable[Run] = ()) -> None:
        self._runs: list[Run] = []
        self.total = 0
        for first, stop in runs:
            self.give(first, stop)

    def __bool__(self) -> bool:
        return bool(self._runs)

    def __iter__(self) -> Iterator[Run]:
        return iter(self._runs)

    def take(self, most: int) -> Run:
        """Takes out the lowest consecutive pieces, at most `most`. Raises IndexError if empty."""
        first, stop = self._runs[0]
        if stop - first <= most:
            del self._runs[0]
        else:
            stop = first + most
            self._runs[0] = (stop, self._runs[0][1])
        self.total -= stop - first
        return first, stop

    def give(self, first: int, stop: int) -> None:
        """Puts [first, stop) in. Raises ValueError when a part of it is in already."""
        if first >= stop:
            return
        at = bisect_left(self._runs, (first, stop))
        before = self._runs[at - 1] if at else None
        after = self._runs[at] if at < len(self._runs) else None
        if (before and before[1] > first) or (after and after[0] < stop):
            raise ValueError(f"pieces {first} to {stop} are in already")
        self.total += stop - first
        if after and after[0] == stop:
            stop = after[1]
            del self._runs[at]
        if before and before[1] == first:
            first = before[0]
            at -= 1
            del self._runs[at]
        self._runs.insert(at, (first, stop))


def missing_runs(held: PieceMap) -> Iterator[Run]:
    """The runs of pieces that the map does not hold, ascending. Cost: O(pieces missing)."""
    first = stop = -1
    for index in held.missing():
        if index != stop:
            if stop > first:
                yield first, stop
            first = index
        stop = index + 1
    if stop > first:
        yield first, stop
