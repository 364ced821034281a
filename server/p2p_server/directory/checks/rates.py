"""How often somebody may do something: a bucket of turns a minute for each of them."""

from collections.abc import Hashable
from typing import Final, Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)

_SPARE: Final = 1_024


class Rates(Generic[Key]):
    """Turns come back evenly; a minute's worth may be taken at once. `a_minute` 0: no such limit.

    Cost: a small tuple for each key that took a turn within the last minute or so.
    """

    def __init__(self, a_minute: int) -> None:
        self._a_minute = a_minute
        self._left: dict[Key, tuple[float, float]] = {}  # turns left, and when that was so
        self._most_kept = _SPARE

    def take(self, key: Key, now: float) -> float:
        """Takes a turn: 0; or the seconds until there is one."""
        if not self._a_minute:
            return 0.0
        left = self._left_at(key, now)
        if left < 1:
            return (1 - left) * 60 / self._a_minute
        self._left[key] = (left - 1, now)
        if len(self._left) > self._most_kept:
            self._forget_full(now)
        return 0.0

    def _left_at(self, key: Key, now: float) -> float:
        left, at = self._left.get(key, (float(self._a_minute), now))
        return min(float(self._a_minute), left + (now - at) * self._a_minute / 60)

    def _forget_full(self, now: float) -> None:
        """What has all its turns again is as one that was never seen."""
        self._left = {
            key: held
            for key, held in self._left.items()
            if self._left_at(key, now) < self._a_minute
        }
        self._most_kept = 2 * len(self._left) + _SPARE
