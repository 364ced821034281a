"""How many sources hold each piece, kept up to date as they come to hold more. Pure.

Counted in bit-sliced numbers: plane j holds bit j of the count of every piece, so that one addition
counts all pieces at once.
"""

from p2p_client.download.picker.pieces import Pieces, without


class Rarity:
    """Counts holders of pieces.

    Cost: one set operation a plane for each change, log2(sources) planes.
    """

    __slots__ = ("_held", "_planes")

    def __init__(self) -> None:
        self._planes: list[Pieces] = []
        self._held: Pieces | None = 0

    def add(self, pieces: Pieces) -> None:
        """One more source holds these."""
        carry = pieces
        for level, plane in enumerate(self._planes):
            if not carry:
                break
            self._planes[level] = plane ^ carry
            carry &= plane
        if carry:
            self._planes.append(carry)
        self._held = None if self._held is None else self._held | pieces

    def remove(self, pieces: Pieces) -> None:
        """One source less holds these; each was added before."""
        borrow = pieces
        for level, plane in enumerate(self._planes):
            if not borrow:
                break
            self._planes[level] = plane = plane ^ borrow
            borrow &= plane
        self._held = None

    @property
    def held(self) -> Pieces:
        """The pieces that anybody holds."""
        if self._held is None:
            self._held = 0
            for plane in self._planes:
                self._held |= plane
        return self._held

    def rarest(self, pieces: Pieces) -> Pieces:
        """Those of the pieces that the fewest sources hold."""
        for plane in reversed(self._planes):
            pieces = without(pieces, plane) or pieces
        return pieces

    def count(self, piece: int) -> int:
        return sum((plane >> piece & 1) << level for level, plane in enumerate(self._planes))
