"""What one download has to tell: bytes, who gave them, who failed and why."""

from collections import Counter
from collections.abc import Callable

from p2p_client.download.events import Event, Progress, Queued, SourceFailed
from p2p_client.download.waiting import Place, Telling
from p2p_client.errors import SourceError
from p2p_client.models import Source

PROGRESS_SECONDS = 0.2


class Tally:
    """Counts, and tells `on_event` at a bearable pace. `now` is monotonic seconds."""

    def __init__(self, on_event: Callable[[Event], None]) -> None:
        self.fetched_bytes = 0
        self.verified_count = 0  # pieces, in this run
        self._on_event = on_event
        self._given: Counter[str] = Counter()
        self._failed: dict[tuple[str, str], SourceFailed] = {}
        self._told_at: float | None = None
        self._places = Telling()

    @property
    def sources(self) -> tuple[str, ...]:
        """Users that gave verified bytes in this run, the most generous first."""
        return tuple(user for user, _ in self._given.most_common())

    def fetched(self, size_bytes: int) -> None:
        self.fetched_bytes += size_bytes

    def verified(self, source: Source, size_bytes: int) -> None:
        self._given[source.user] += size_bytes
        self.verified_count += 1

    def gave(self, user: str, size_bytes: int) -> None:
        """Verified by others, who count for themselves."""
        self._given[user] += size_bytes

    def disown(self) -> None:
        """What was given so far turned out to be of another content."""
        self._given.clear()

    def failed(self, source: Source, error: SourceError) -> None:
        """Told once for each source and reason."""
        key = source.peer_id, error.reason
        if key not in self._failed:
            endpoint = source.endpoints[0] if source.endpoints else None
            self._failed[key] = event = SourceFailed(
                source.user, source.peer_id, endpoint, error.reason, str(error)
            )
            self._on_event(event)

    def queued(self, source: Source, place: Place, now: float) -> None:
        """The source lets us wait."""
        if self._places.is_news(source.peer_id, place, now):
            self._on_event(
                Queued(
                    source.user, place.position, place.waiting_count, place.expected_wait_seconds
                )
            )

    def repeat(self, failed: SourceFailed) -> None:
        """Tells what another download told of a source, unless that was told here already."""
        if self._failed.setdefault((failed.peer_id, failed.reason), failed) is failed:
            self._on_event(failed)

    def progress(self, verified_bytes: int, size_bytes: int, now: float) -> None:
        if self._told_at is None or now - self._told_at >= PROGRESS_SECONDS:
            self._told_at = now
            self._on_event(Progress(verified_bytes, self.fetched_bytes, size_bytes))

    def failures(self) -> str:
        """Each source that failed with its reasons, for people; empty when none did."""
        by_source: dict[str, list[str]] = {}
        for event in self._failed.values():
            where = f"{event.user} at {event.endpoint}" if event.endpoint else event.user
            by_source.setdefault(where, []).append(event.message)
        return "; ".join(f"{where}: {', '.join(why)}" for where, why in by_source.items())
