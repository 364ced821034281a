"""The directory's clock, as we know it from its answers. Pure: the caller says what its own is."""

from datetime import datetime, timedelta


class DirectoryClock:
    """Tells the directory's time from our monotonic clock and the latest answer.

    Our wall clock counts only until the first answer: it may be hours off.

    Args:
        wall: our own wall clock (aware, UTC) at `now`.
        now: monotonic seconds.
    """

    def __init__(self, wall: datetime, now: float) -> None:
        self._directory_time, self._seen_at = wall, now

    def observe(self, directory_time: datetime, now: float) -> None:
        """An answer that came just now; it is late by at most its round trip."""
        self._directory_time, self._seen_at = directory_time, now

    def now(self, now: float) -> datetime:
        return self._directory_time + timedelta(seconds=now - self._seen_at)
