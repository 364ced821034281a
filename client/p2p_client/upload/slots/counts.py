"""How often each part of a content was sent, so that what few have can go first. Pure.

Ours alone is counted: what downloaders pass on to each other is not known here. That is enough for
one who has what nobody else has, and it is then that it matters.
"""

from array import array
from collections import OrderedDict

from p2p_client.content.manifest import piece_size_of
from p2p_client.models import Digest
from p2p_client.records import dataclass

MOST_CELLS = 4_096
"""Parts that are told apart: pieces, in contents of up to 4 GiB; several at a time beyond."""
MOST_CONTENTS = 64
_HIGHEST = 0xFFFF


@dataclass(frozen=True, slots=True)
class Wish:
    """What a call wants of a content: pieces [first, stop) out of `piece_count`."""

    digest: Digest
    first: int
    stop: int
    piece_count: int
    piece_bytes: int

    @property
    def cells(self) -> range:
        if self.first >= self.stop:
            return range(0)
        size = -(-self.piece_count // MOST_CELLS) or 1
        return range(self.first // size, -(-self.stop // size))


def wish_of(digest: Digest, size_bytes: int, offset: int, end: int) -> Wish:
    """The pieces that the bytes [offset, end) touch."""
    piece_bytes = piece_size_of(size_bytes)
    count = -(-size_bytes // piece_bytes)
    return Wish(digest, offset // piece_bytes, -(-end // piece_bytes), count, piece_bytes)


class SentCounts:
    """Counts of the contents asked for last."""

    def __init__(self) -> None:
        self._by_content: OrderedDict[Digest, array[int]] = OrderedDict()

    def add(self, wish: Wish) -> None:
        """What is wished for is about to be sent: it counts at once, so that a second call for the
        same does not seem as rare as the first."""
        counts = self._counts(wish)
        for cell in wish.cells:
            if counts[cell] < _HIGHEST:
                counts[cell] += 1

    def take_back(self, wish: Wish) -> None:
        """This part was not sent after all."""
        counts = self._counts(wish)
        for cell in wish.cells:
            if counts[cell]:
                counts[cell] -= 1

    def rarity(self, wish: Wish | None) -> float:
        """How often the average part of it was sent; 0 where nothing is counted."""
        counts = self._by_content.get(wish.digest) if wish is not None else None
        if wish is None or counts is None or not wish.cells:
            return 0.0
        cells = wish.cells
        return sum(counts[cells.start : cells.stop]) / len(cells)

    def _counts(self, wish: Wish) -> "array[int]":
        counts = self._by_content.get(wish.digest)
        if counts is None:
            counts = array("H", bytes(2 * max(1, min(wish.piece_count, MOST_CELLS))))
            self._by_content[wish.digest] = counts
            if len(self._by_content) > MOST_CONTENTS:
                self._by_content.popitem(last=False)
        self._by_content.move_to_end(wish.digest)
        return counts
