"""What a source says of a stream that waits for one of its upload slots. Pure.

Waiting is no fault of the source, but it is not endless either: a stream that only ever waits is
given up, as one that sends nothing is, only much later. Until then its work is anybody's.
"""

from p2p_client.records import dataclass

LONGEST_WAIT_SECONDS = 1_800.0
TOLD_SECONDS = 1.0
"""How often at most one source's places are passed on."""
_MOST_CALLS = 1_000_000
_LONGEST_EXPECTED_SECONDS = 7 * 86_400.0


@dataclass(frozen=True, slots=True)
class QueuePlace:
    """As the source says; within bounds, whatever it says."""

    position: int  # calls served before ours
    waiting_count: int
    expected_wait_seconds: float | None

    @classmethod
    def within_bounds(
        cls, position: int, waiting_count: int, expected_wait_seconds: float | None
    ) -> "QueuePlace":
        position = max(0, min(position, _MOST_CALLS))
        if expected_wait_seconds is not None:
            expected_wait_seconds = max(0.0, min(expected_wait_seconds, _LONGEST_EXPECTED_SECONDS))
        count = max(position + 1, min(waiting_count, _MOST_CALLS))
        return cls(position, count, expected_wait_seconds)


class Wait:
    """One stream's waiting, over all its turns; `now` is monotonic seconds."""

    def __init__(self) -> None:
        self._since: float | None = None

    def served(self) -> None:
        self._since = None

    def is_too_long(self, now: float) -> bool:
        """To be asked whenever the source says that we wait."""
        if self._since is None:
            self._since = now
        return now - self._since >= LONGEST_WAIT_SECONDS


class Telling:
    """Which places are worth passing on: new ones, at a bearable pace, for each source."""

    def __init__(self) -> None:
        self._told: dict[str, tuple[float, QueuePlace]] = {}

    def is_news(self, source: str, place: QueuePlace, now: float) -> bool:
        told = self._told.get(source)
        if told is not None and (now - told[0] < TOLD_SECONDS or told[1] == place):
            return False
        self._told[source] = (now, place)
        return True
