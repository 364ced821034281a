"""Who fetches which pieces of one content, under one manifest. Pure: events in, commands out.

Promises:
    A piece is in at most one stream at a time, so no stream writes where another has verified.
    At most `streams` streams are open. A banned source is never opened again.
    Pieces of a stream that ended, for whatever reason, are free again unless they were verified.
    When nothing is open and no source may be asked, now or later, `is_starved` holds.

A stream takes a range of consecutive pieces. One that is behind loses the tail of its range to a
source that has nothing else to do; one that is stuck in its last piece is abandoned for it.
`now` is monotonic seconds.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import NewType

from p2p_client.content.manifest import PieceIndex
from p2p_client.download.picker.runs import Run, Runs
from p2p_client.download.picker.spans import range_length, tail_length
from p2p_client.models import PeerId

StreamId = NewType("StreamId", int)

FIRST_BACKOFF_SECONDS = 0.25
LONGEST_BACKOFF_SECONDS = 4.0
MOST_STRIKES = 4
STUCK_SECONDS = 2.0
"""A stream that gave nothing for this long may lose the piece it is in to an idle source. Doubled
each time that happens, so that sources that all are slow do not take pieces from each other."""
LONGEST_STUCK_SECONDS = 64.0
TAIL_WORTH_SECONDS = 0.5
"""A tail that its stream would finish within this time is left to it."""
SLOWNESS = 4.0
"""A stream this many times slower than an idle source makes room for it."""


class Failure(Enum):
    """Why a stream ended early, by remedy."""

    MISBEHAVED = "misbehaved"  # never again
    UNAVAILABLE = "unavailable"  # others first, later again, a few times
    STALLED = "stalled"  # the same, but fewer times: each one costs the whole idle timeout
    STALE = "stale"  # not before it was located again


@dataclass(frozen=True, slots=True)
class Open:
    """Fetch pieces [first, stop) from the source, in order."""

    stream: StreamId
    source: PeerId
    first: int
    stop: int


@dataclass(frozen=True, slots=True)
class Abandon:
    """End the stream now, wherever it is, and report it closed."""

    stream: StreamId


Command = Open | Abandon


@dataclass(slots=True)
class _Asked:
    """What is known of one source."""

    strikes: int = 0
    retry_at: float = 0.0
    is_banned: bool = False
    is_stale: bool = False
    rate: float | None = None  # pieces a second, of its last streams
    streams: int = 0

    def is_usable(self) -> bool:
        return not (self.is_banned or self.is_stale) and self.strikes < MOST_STRIKES


@dataclass(slots=True)
class _Stream:
    source: PeerId
    stop: int  # first piece that is not its any more; may shrink
    next_verified: int  # all before it, from its start on, are verified
    begun: int  # first piece of which nothing has come yet
    opened_at: float
    heard_at: float
    verified_at: float
    verified_count: int = 0
    is_cut: bool = False  # asked for more than is wanted by now
    is_abandoned: bool = False

    def rate(self, now: float) -> float:
        """Pieces a second over its whole life; falls while nothing comes."""
        return self.verified_count / max(now - self.opened_at, 1e-3)

    def is_stuck(self, now: float, patience: float, hoped_rate: float | None) -> bool:
        """Silent for too long, or in one piece for much longer than another source would be."""
        if now - self.heard_at >= patience:
            return True
        in_piece = now - self.verified_at
        return bool(hoped_rate) and in_piece >= max(patience, SLOWNESS / (hoped_rate or 1))


@dataclass(slots=True)
class Plan:
    """The state of one download under one manifest; `streams` >= 1 may be open at once."""

    missing: Iterable[Run]
    streams: int
    _free: Runs = field(init=False)
    _open: dict[StreamId, _Stream] = field(init=False, default_factory=dict)
    _asked: dict[PeerId, _Asked] = field(init=False, default_factory=dict)
    _last_stream: int = field(init=False, default=0)
    _patience: float = field(init=False, default=STUCK_SECONDS)

    def __post_init__(self) -> None:
        self._free = Runs(self.missing)

    # -- what the caller tells

    def offer(self, source: PeerId) -> None:
        """The source was located (again): it may be asked, unless it is banned."""
        asked = self._asked.setdefault(source, _Asked())
        asked.is_stale = False
        asked.retry_at = 0.0
        asked.strikes = min(asked.strikes, MOST_STRIKES - 1)

    def ban(self, source: PeerId) -> None:
        self._asked.setdefault(source, _Asked()).is_banned = True

    def drop(self, pieces: Iterable[Run]) -> None:
        """Pieces that were held turned out bad: fetch them."""
        for first, stop in pieces:
            self._free.give(first, stop)

    def heard(self, stream: StreamId, piece: int, now: float) -> None:
        """Bytes came; `piece` is the last one that they touch."""
        entry = self._open[stream]
        entry.begun = max(entry.begun, piece + 1)
        entry.heard_at = now

    def verified(self, stream: StreamId, piece: PieceIndex, now: float) -> None:
        """The next piece of the stream is on disk and right."""
        entry = self._open[stream]
        if piece != entry.next_verified or piece >= entry.stop:
            raise ValueError(f"piece {piece} is not the next one of this stream")
        entry.next_verified = piece + 1
        entry.begun = max(entry.begun, piece + 1)
        entry.verified_at = now
        entry.verified_count += 1
        asked = self._asked[entry.source]
        asked.strikes = 0

    def closed(self, stream: StreamId, now: float, failure: Failure | None = None) -> None:
        """The stream has ended, nothing of it is under way; its unverified pieces are free."""
        entry = self._open.pop(stream)
        self._free.give(entry.next_verified, entry.stop)
        asked = self._asked[entry.source]
        asked.streams -= 1
        if entry.verified_count or not asked.rate:
            asked.rate = entry.rate(now)
        if failure is None and entry.is_abandoned and not entry.verified_count:
            failure = Failure.UNAVAILABLE
        match failure:
            case Failure.MISBEHAVED:
                asked.is_banned = True
            case Failure.STALE:
                asked.is_stale = True
                asked.strikes += 1
            case Failure.UNAVAILABLE | Failure.STALLED:
                wait = min(FIRST_BACKOFF_SECONDS * 2**asked.strikes, LONGEST_BACKOFF_SECONDS)
                asked.strikes += 2 if failure is Failure.STALLED else 1
                asked.retry_at = now + wait
            case None:
                pass

    # -- what the caller asks

    def stop_of(self, stream: StreamId) -> int:
        """The first piece that the stream must not fetch; may have shrunk since it was opened."""
        return self._open[stream].stop

    @property
    def is_complete(self) -> bool:
        return not self._open and not self._free

    def is_starved(self) -> bool:
        """Nothing is open and nobody may be asked, now or later, until a source is offered."""
        return not self._open and not any(asked.is_usable() for asked in self._asked.values())

    def wants_locate(self) -> bool:
        """Whether some source waits to be located again before it may be asked."""
        return any(
            asked.is_stale and not asked.is_banned and asked.strikes < MOST_STRIKES
            for asked in self._asked.values()
        )

    def next(self, now: float) -> list[Command]:
        """What to do now; call it after every event and a few times a second.

        Cost: O(streams + sources) a command.
        """
        commands: list[Command] = [
            self._end(stream)
            for stream, entry in self._open.items()
            if entry.is_cut and entry.next_verified >= entry.stop and not entry.is_abandoned
        ]
        while len(self._open) < self.streams:
            command = self._open_one(now)
            if command is None:
                break
            commands.append(command)
            if isinstance(command, Abandon):
                break
        else:
            commands.extend(self._make_room(now))
        return commands

    # -- how it decides

    def _open_one(self, now: float) -> Command | None:
        source = self._best_source(now)
        if source is None:
            return None
        if self._free:
            return self._open_free(source, now)
        return self._steal(source, now)

    def _best_source(self, now: float) -> PeerId | None:
        """Fewest streams open first, then the ones never tried, then the fastest."""
        ready = [
            (asked.streams, asked.strikes, -1e9 if asked.rate is None else -asked.rate, peer_id)
            for peer_id, asked in self._asked.items()
            if asked.is_usable() and asked.retry_at <= now and asked.streams == 0
        ]
        return min(ready)[3] if ready else None

    def _open_free(self, source: PeerId, now: float) -> Open:
        usable = sum(asked.is_usable() for asked in self._asked.values())
        length = range_length(self._free.total, self.streams, usable)
        first, stop = self._free.take(length)
        return self._begin_stream(source, first, stop, now)

    def _begin_stream(self, source: PeerId, first: int, stop: int, now: float) -> Open:
        self._last_stream += 1
        stream = StreamId(self._last_stream)
        self._open[stream] = _Stream(source, stop, first, first, now, now, now)
        self._asked[source].streams += 1
        return Open(stream, source, first, stop)

    def _steal(self, thief: PeerId, now: float) -> Command | None:
        """The tail of the stream that would end last; failing that, the piece one is stuck in."""
        thief_rate = self._asked[thief].rate
        behind = [
            (-1.0 if rate == 0 else -(left / rate), stream, left, rate)
            for stream, entry in self._open.items()
            if entry.source != thief
            and not entry.is_abandoned
            and (left := entry.stop - max(entry.begun, entry.next_verified + 1)) > 0
            and ((rate := entry.rate(now)) > 0 or now - entry.opened_at >= STUCK_SECONDS / 2)
            and (rate == 0 or left / rate >= TAIL_WORTH_SECONDS)
        ]
        if behind:
            never = [item for item in behind if item[3] == 0]
            _, stream, left, rate = min(never or behind)
            victim = self._open[stream]
            tail = tail_length(left, rate, thief_rate)
            victim.stop -= tail
            victim.is_cut = True
            return self._begin_stream(thief, victim.stop, victim.stop + tail, now)
        return self._abandon_stuck(thief, now)

    def _abandon_stuck(self, thief: PeerId, now: float) -> Abandon | None:
        for stream, entry in self._open.items():
            if entry.source != thief and entry.next_verified < entry.stop:
                hoped = self._asked[thief].rate
                if not entry.is_abandoned and entry.is_stuck(now, self._patience, hoped):
                    return self._abandon(stream)
        return None

    def _abandon(self, stream: StreamId) -> Abandon:
        self._patience = min(2 * self._patience, LONGEST_STUCK_SECONDS)
        return self._end(stream)

    def _end(self, stream: StreamId) -> Abandon:
        self._open[stream].is_abandoned = True
        return Abandon(stream)

    def _make_room(self, now: float) -> list[Command]:
        """With every stream taken: a much slower one ends, so that an idle source has its place."""
        idle = self._best_source(now)
        if idle is None:
            return []
        hoped = self._asked[idle].rate
        if hoped is None:
            hoped = max((asked.rate or 0.0 for asked in self._asked.values()), default=0.0)
        for stream, entry in self._open.items():
            if entry.is_abandoned or now - entry.opened_at < STUCK_SECONDS:
                continue
            if entry.is_stuck(now, 2 * self._patience, hoped):
                return [self._abandon(stream)]
            cut = max(entry.begun, entry.next_verified)
            if hoped > SLOWNESS * entry.rate(now) and cut < entry.stop:
                self._free.give(cut, entry.stop)
                entry.stop, entry.is_cut = cut, True
        return []
