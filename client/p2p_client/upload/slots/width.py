"""How many streams run at once. Pure.

Without a limit on the rate, as many as there are slots. With one, few: a piece helps others only
when it is complete, and sixty streams that share 25 MB/s complete their first piece after three
seconds, three streams after an eighth of one. Where readers are too slow to use the rate, more of
them run, one at a time, until it is used.
"""

BYTES_PER_SECOND_EACH = 8e6
FEWEST = 2  # one reads from the disk while the other sends
LOOK_SECONDS = 0.5
FULL_SHARE = 0.8  # of the rate: the rest is the unevenness of a short look


class Width:
    """
    Args:
        most: slots.
        bytes_per_second: the limit of all streams together; None: none.
    """

    def __init__(self, most: int, bytes_per_second: float | None) -> None:
        self._most = most
        self._rate = bytes_per_second
        self._base = most
        if bytes_per_second is not None:
            self._base = min(most, max(FEWEST, round(bytes_per_second / BYTES_PER_SECOND_EACH)))
        self._extra = 0
        self._sent_bytes = 0
        self._looked_at: float | None = None

    @property
    def streams(self) -> int:
        """How many may run now."""
        return min(self._most, self._base + self._extra)

    def sent(self, size_bytes: int) -> None:
        self._sent_bytes += size_bytes

    def look(self, is_contended: bool, now: float) -> None:
        """Call it a few times a second, and whenever a call starts or ends.

        Args:
            is_contended: whether calls wait while as many as may run do.
        """
        if self._rate is None:
            return
        if not is_contended:
            self._looked_at = None
            return
        if self._looked_at is None:
            self._looked_at, self._sent_bytes = now, 0
            return
        seconds = now - self._looked_at
        if seconds < LOOK_SECONDS:
            return
        is_used = self._sent_bytes >= FULL_SHARE * self._rate * seconds
        self._extra = max(0, self._extra - 1) if is_used else self._extra + 1
        self._extra = min(self._extra, self._most - self._base)
        self._looked_at, self._sent_bytes = now, 0
