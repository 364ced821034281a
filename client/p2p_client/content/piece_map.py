"""Which pieces of a content we have."""

from collections.abc import Iterator

from p2p_client.content.manifest import PieceIndex


class PieceMap:
    """A set of piece indices out of `piece_count`, one bit each; bit 0 is the lowest of byte 0."""

    __slots__ = ("_bits", "_held", "piece_count")

    def __init__(self, piece_count: int) -> None:
        self.piece_count = piece_count
        self._bits = bytearray(-(-piece_count // 8))
        self._held = 0

    @classmethod
    def from_bytes(cls, piece_count: int, bits: bytes) -> "PieceMap":
        """Raises ValueError for a wrong length or bits set past the last piece."""
        self = cls(piece_count)
        if len(bits) != len(self._bits):
            raise ValueError(f"{len(bits)} bytes for {piece_count} pieces")
        if piece_count % 8 and bits[-1] >> (piece_count % 8):
            raise ValueError("bits set past the last piece")
        self._bits[:] = bits
        self._held = int.from_bytes(bits, "little").bit_count()
        return self

    def to_bytes(self) -> bytes:
        return bytes(self._bits)

    def add(self, index: PieceIndex) -> None:
        if not 0 <= index < self.piece_count:
            raise IndexError(f"piece {index} of {self.piece_count}")
        if not self.has(index):
            self._bits[index >> 3] |= 1 << (index & 7)
            self._held += 1

    def discard(self, index: PieceIndex) -> None:
        if not 0 <= index < self.piece_count:
            raise IndexError(f"piece {index} of {self.piece_count}")
        if self.has(index):
            self._bits[index >> 3] &= ~(1 << (index & 7))
            self._held -= 1

    def has(self, index: PieceIndex) -> bool:
        return bool(self._bits[index >> 3] >> (index & 7) & 1)

    def missing(self) -> Iterator[PieceIndex]:
        """The indices not held, ascending. Cost: O(pieces / 8) where everything is held."""
        for at, byte in enumerate(self._bits):
            if byte != 0xFF:
                for index in range(at * 8, min(at * 8 + 8, self.piece_count)):
                    if not byte >> (index & 7) & 1:
                        yield PieceIndex(index)

    @property
    def held_count(self) -> int:
        return self._held

    @property
    def is_complete(self) -> bool:
        return self._held == self.piece_count
