"""How many reports are looked into. Pure.

A report costs us the reading of one piece, so reports are few: an honest downloader sends one for
each bad piece and does not ask us again for that content.
"""

from collections import OrderedDict

BURST = 32
PER_SECOND = 1.0
BURST_OF_ONE = 4
PER_SECOND_OF_ONE = 1 / 15
MOST_USERS = 1_024


class _Allowance:
    """So many at once, and so many a second in the long run."""

    __slots__ = ("_at", "_left", "_most", "_per_second")

    def __init__(self, most: float, per_second: float, now: float) -> None:
        self._most = self._left = most
        self._per_second = per_second
        self._at = now

    def has_one(self, now: float) -> bool:
        self._left = min(self._most, self._left + (now - self._at) * self._per_second)
        self._at = now
        return self._left >= 1

    def take(self) -> None:
        self._left -= 1


class ReportLimits:
    """Per user and in all. Users that were not heard of for longest are forgotten first."""

    def __init__(self, now: float) -> None:
        self._all = _Allowance(BURST, PER_SECOND, now)
        self._of_user: OrderedDict[str, _Allowance] = OrderedDict()

    def take(self, user: str, now: float) -> bool:
        """Whether one more report of the user is looked into."""
        own = self._of_user.pop(user, None) or _Allowance(BURST_OF_ONE, PER_SECOND_OF_ONE, now)
        self._of_user[user] = own
        if len(self._of_user) > MOST_USERS:
            self._of_user.popitem(last=False)
        if not (own.has_one(now) and self._all.has_one(now)):
            return False
        own.take()
        self._all.take()
        return True
