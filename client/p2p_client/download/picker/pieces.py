"""Sets of pieces as plain integers: bit i set = piece i is in the set.

A set of 65,536 pieces is 8 KiB, and `&`, `|`, `^` run over it at some GB a second; nothing else in
Python is as quick for sets of this kind. Nothing here uses `~`: negative numbers are slow.
"""

from p2p_client.content.piece_map import PieceMap

Pieces = int


def span(first: int, stop: int) -> Pieces:
    """Pieces [first, stop); none where stop <= first."""
    return ((1 << (stop - first)) - 1) << first if stop > first else 0


def held_pieces(held: PieceMap) -> Pieces:
    return int.from_bytes(held.to_bytes(), "little")


def missing_pieces(held: PieceMap) -> Pieces:
    return span(0, held.piece_count) ^ held_pieces(held)


def without(pieces: Pieces, others: Pieces) -> Pieces:
    """Those that are not among the others."""
    return pieces ^ (pieces & others)


def stripes(block: int, rank: int, ranks: int, piece_count: int) -> Pieces:
    """Every `ranks`-th block of consecutive pieces, from the one of this rank on."""
    pieces, width = span(rank * block, (rank + 1) * block), block * ranks
    while width < piece_count:
        pieces |= pieces << width
        width *= 2
    return pieces & span(0, piece_count)


def first_from(pieces: Pieces, at: int) -> int:
    """The first piece of the set at or after `at`, going round to 0 at the end; set not empty."""
    ahead = pieces >> at
    if ahead:
        return at + _lowest(ahead)
    return _lowest(pieces)


def length_of_run(pieces: Pieces, at: int, most: int) -> int:
    """How many consecutive pieces from `at` on are in the set, counted up to `most`."""
    ahead = (pieces >> at) & span(0, most)
    return _lowest(ahead + 1)


def length_of_tail(pieces: Pieces, stop: int, most: int) -> int:
    """How many consecutive pieces just before `stop` are in the set, counted up to `most`."""
    most = min(most, stop)
    gaps = ((pieces >> (stop - most)) & span(0, most)) ^ span(0, most)
    return most - gaps.bit_length()


def _lowest(bits: int) -> int:
    return (bits & -bits).bit_length() - 1
