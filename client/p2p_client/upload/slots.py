"""Who may have a stream now: so many in all, and half of these for one user. Pure."""

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator

from p2p_client.upload.refusals import TooManyStreams


class Slots:
    """Counts the streams that are served.

    Args:
        most: streams at once; one user gets half of them, at least one, so that nobody can keep
            all others out.
        on_idle: told when the last stream has ended.
    """

    def __init__(self, most: int, on_idle: Callable[[], None]) -> None:
        self._most = most
        self._on_idle = on_idle
        self._most_per_user = max(1, most // 2)
        self._by_user: Counter[str] = Counter()

    @property
    def taken_count(self) -> int:
        return self._by_user.total()

    @contextlib.contextmanager
    def taken(self, user: str) -> Iterator[None]:
        """Holds a slot for as long as the context lasts. Raises TooManyStreams."""
        if self.taken_count >= self._most:
            raise TooManyStreams(self._most)
        if self._by_user[user] >= self._most_per_user:
            raise TooManyStreams(self._most_per_user)
        self._by_user[user] += 1
        try:
            yield
        finally:
            self._by_user[user] -= 1
            if not self._by_user[user]:
                del self._by_user[user]
            if not self._by_user:
                self._on_idle()
