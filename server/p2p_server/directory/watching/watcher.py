"""One open watch: what it is told of, and its place in the log. Who tells it is `feed.py`."""

from dataclasses import dataclass
from typing import Protocol

from p2p_server.directory.errors import DirectoryError
from p2p_server.directory.watching.log import ChangeLog, Happening, Watched


class Signal(Protocol):
    def set(self) -> None: ...

    async def wait(self, seconds: float) -> bool:
        """Returns when it was set since the last wait, or after so long; whether it was set."""
        ...


@dataclass(slots=True, eq=False)
class Watcher:
    watched: Watched
    user: str  # folded
    token_hash: bytes
    signal: Signal
    log: ChangeLog
    number: int  # the entry to read next, where there is news
    took_at: float  # when it last took something
    has_news: bool = False
    ended: DirectoryError | None = None  # why it must end

    @property
    def place(self) -> int:
        """Where to go on. Without news nothing is missed, however much the log went on."""
        return self.number if self.has_news else self.log.next_number

    @property
    def is_behind(self) -> bool:
        """Whether events were dropped before it read them."""
        return self.place < self.log.oldest

    @property
    def lags(self) -> bool:
        """Whether it has yet to read what stands in the older half of a log that fills up."""
        log = self.log
        return log.weight > log.most_held // 2 and self.place < (log.oldest + log.next_number) // 2

    def put(self, log: ChangeLog, number: int | None = None) -> None:
        """Moves it to an entry, or to the end."""
        self.log, self.has_news = log, number is not None
        self.number = log.next_number if number is None else number

    def note(self, number: int) -> None:
        """That entry is to be read."""
        if not self.has_news:
            self.number, self.has_news = number, True
        self.signal.set()

    def read(self, now: float) -> list[Happening]:
        """The next events; none: there is no news."""
        self.took_at = now
        if not self.has_news:
            return []
        events, self.number = self.log.read(self.watched, self.number)
        self.has_news = self.number < self.log.next_number
        return events
