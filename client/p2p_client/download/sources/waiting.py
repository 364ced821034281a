"""What waiting for a source comes to: in its queue, as it says, and for its bytes. Pure.

Waiting is no fault of the source, but it is not endless either: a stream that only ever waits is
given up, as one that sends nothing is, only much later. Until then its work is anybody's.
"""

from p2p_client.records import dataclass

LONGEST_WAIT_SECONDS = 1_800.0
TOLD_SECONDS = 1.0
"""How often at most one source's places are passed on."""
TRICKLE_SECONDS = 60.0
LEAST_BYTES = 6_000
"""A stream that brings less within that time is given up as one that sends nothing. Far below the
least that a limit may be, and what would take hours for a piece."""
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
    """One stream's waiting, over all its turns; `now` is monotonic seconds.

    A turn that brings next to nothing is none: a byte now and then would keep us for ever.
    """

    def __init__(self) -> None:
        self._since: float | None = None
        self._came_bytes = 0

    def served(self, size_bytes: int) -> None:
        self._came_bytes += size_bytes
        if self._came_bytes >= LEAST_BYTES:
            self._since, self._came_bytes = None, 0

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


class Trickle:
    """Whether a source gives so little that a download from it alone would never end.

    Judged by the time that we wait for it: what our disk or our limit takes is not the source's.
    Silence is judged elsewhere.
    """

    def __init__(self) -> None:
        self._waited_seconds = 0.0
        self._came_bytes = 0

    def restart(self) -> None:
        """The source lets us wait in its queue, and says so."""
        self._waited_seconds, self._came_bytes = 0.0, 0

    def came(self, size_bytes: int, waited_seconds: float) -> str | None:
        """What is wrong, for people, where it is too little; None: nothing."""
        self._waited_seconds += waited_seconds
        self._came_bytes += size_bytes
        if self._waited_seconds < TRICKLE_SECONDS:
            return None
        came_bytes, waited_seconds = self._came_bytes, self._waited_seconds
        self.restart()
        if came_bytes >= LEAST_BYTES:
            return None
        return f"it sent only {came_bytes:,} bytes in {waited_seconds:.0f} s"
