"""How much one stream takes, and where a stream that is behind is cut. Pieces throughout."""

LONGEST_RANGE_PIECES = 64
SHORTEST_RANGE_PIECES = 16
WORTH_A_STREAM_PIECES = 4
"""Fewer than this do not pay for opening one more stream."""
BLOCKS_PER_PEER = 8
SWARM_RANGE_SECONDS = 0.25
"""What a stream takes in a swarm: others do not know what we asked for, and ask for it again."""


def range_length(free_pieces: int, streams: int, sources: int) -> int:
    """How many pieces the next stream takes, >= 1, given `free_pieces` >= 1 that nobody fetches.

    A lone source gets all: every new stream costs a round trip, and a source that joins later can
    still take the tail. Several sources get ranges short enough that each serves some, and long
    enough that the round trips between them do not show.
    """
    if sources <= 1 or streams <= 1:
        return free_pieces
    fair = -(-free_pieces // min(streams, sources))
    wanted = max(SHORTEST_RANGE_PIECES, min(LONGEST_RANGE_PIECES, fair // 2))
    return min(free_pieces, max(WORTH_A_STREAM_PIECES, min(fair, wanted)))


def swarm_range_length(rate: float | None) -> int:
    """How many pieces the next stream takes in a swarm, >= 1; `rate` in pieces a second."""
    if rate is None:
        return 1
    return max(1, min(LONGEST_RANGE_PIECES, round(rate * SWARM_RANGE_SECONDS)))


def block_length(piece_count: int, peers: int) -> int:
    """How many consecutive pieces belong to the same peer of a swarm, >= 1: some blocks for each,
    for not all are equally fast."""
    return max(1, min(LONGEST_RANGE_PIECES, piece_count // (BLOCKS_PER_PEER * peers)))


def tail_length(remaining_pieces: int, victim_rate: float, thief_rate: float | None) -> int:
    """How many of the pieces that a slow stream has not begun another source takes over.

    Split so that both end at the same time.

    Args:
        remaining_pieces: not yet begun by the victim, >= 1.
        victim_rate: pieces a second, 0 for one that gave nothing so far.
        thief_rate: pieces a second; None: not known yet, taken to be the victim's.
    """
    if victim_rate <= 0:
        return remaining_pieces
    taker = victim_rate if thief_rate is None else thief_rate
    return min(remaining_pieces, max(1, round(remaining_pieces * taker / (taker + victim_rate))))
