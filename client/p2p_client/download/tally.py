"""What one download has to tell: bytes, who gave them, who failed and why."""

from collections import Counter
from collections.abc import Callable, Sequence

from p2p_client.download.events import Event, Progress, Queued, SourceFailed
from p2p_client.download.sources.waiting import QueuePlace, Telling
from p2p_client.errors import SourceError
from p2p_client.models import PeerId, Source

PROGRESS_SECONDS = 0.2
MOST_REASONS_OF_ONE = 4
"""A reason is the source's own word: one that finds a new one each time is not listened to."""
MOST_SOURCES_NAMED = 12


class Tally:
    """Counts, and tells `on_event` at a bearable pace. `now` is monotonic seconds."""

    def __init__(self, on_event: Callable[[Event], None]) -> None:
        self.fetched_bytes = 0
        self.verified_count = 0  # pieces, in this run
        self._on_event = on_event
        self._given: Counter[str] = Counter()
        self._failed: dict[PeerId, dict[str, SourceFailed]] = {}  # by reason
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
        endpoint = source.endpoints[0] if source.endpoints else None
        self.repeat(SourceFailed(source.user, source.peer_id, endpoint, error.reason, str(error)))

    def queued(self, source: Source, place: QueuePlace, now: float) -> None:
        """The source lets us wait."""
        if self._places.is_news(source.peer_id, place, now):
            self._on_event(
                Queued(
                    source.user, place.position, place.waiting_count, place.expected_wait_seconds
                )
            )

    def repeat(self, failed: SourceFailed) -> None:
        """Tells what another download told of a source, unless that was told here already."""
        reasons = self._failed.setdefault(failed.peer_id, {})
        if failed.reason not in reasons and len(reasons) < MOST_REASONS_OF_ONE:
            reasons[failed.reason] = failed
            self._on_event(failed)

    def progress(self, verified_bytes: int, size_bytes: int, now: float) -> None:
        if self._told_at is None or now - self._told_at >= PROGRESS_SECONDS:
            self._told_at = now
            self._on_event(Progress(verified_bytes, self.fetched_bytes, size_bytes))

    def failures(self) -> str:
        """Each source that failed with its reasons, for people; empty when none did."""
        named = [_failure(tuple(reasons.values())) for reasons in self._failed.values()]
        if others := named[MOST_SOURCES_NAMED:]:
            named[MOST_SOURCES_NAMED:] = [f"and {len(others)} more"]
        return "; ".join(named)


def _failure(events: Sequence[SourceFailed]) -> str:
    """Of one source; its address is said once, by one of the messages or here."""
    who = events[0].user
    if all(event.address for event in events):
        who = f"{who} at {events[0].address}"
    return f"{who}: {', '.join(event.message for event in events)}"
