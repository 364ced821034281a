"""Which of the waiting calls is served next. Pure: one policy, a function of what it is given.

1. The user with the fewest running streams: a hundred calls of one do not delay the one of another.
2. Among these, whoever got the least of late; users within 16 MiB of each other are equals.
3. Among the calls of equals, the one for what was sent least often: what few have is passed on by
   more. Waiting counts too, so that nobody waits for ever for what everybody has.
4. First come, first served.
"""

from collections.abc import Sequence

from p2p_client.records import dataclass

EQUAL_BYTES = 16 << 20
"""Small enough to be made up for in a second, large enough for rarity to have a say."""
SECONDS_WORTH_A_COPY = 15.0
"""So much waiting makes up for one copy that was sent already."""


@dataclass(frozen=True, slots=True)
class Standing:
    """One waiting call, as far as it matters when its turn comes."""

    running: int  # streams of its user
    served_bytes: float  # by its user, of late
    rarity: float  # copies sent of what it asks for
    waited_seconds: float
    arrival: int


def next_of(standings: Sequence[Standing]) -> int:
    """The index of the call to serve next; there is at least one. Cost: O(calls)."""
    fewest = min(standing.running for standing in standings)
    least = min(s.served_bytes for s in standings if s.running == fewest)
    return min(
        (
            (s.rarity - s.waited_seconds / SECONDS_WORTH_A_COPY, s.arrival, index)
            for index, s in enumerate(standings)
            if s.running == fewest and s.served_bytes - least <= EQUAL_BYTES
        )
    )[2]
