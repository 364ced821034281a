"""Who fetches which pieces of one content, under one manifest. Pure: events in, commands out.

Promises:
    A piece is in at most one stream at a time, so no stream writes where another has verified.
    A source has at most one stream, and is asked only for what it has, as far as it says.
    A banned source is never opened again.
    Pieces of a stream that ended, for whatever reason, are free again unless they were verified.
    When nothing is open and no source may be asked, now or later, `is_starved` holds.

A stream takes a range of consecutive pieces. Among whole sources ranges are long and in order. As
soon as there is a partial source there is a swarm: ranges are short, the rarest pieces come first,
and the whole sources, which everybody asks, are left those that nobody else has.

Whose work an idle source takes over is judged in `picker/overtaking.py`, and carried out here.
`now` is monotonic seconds.
"""

from dataclasses import field

from p2p_client.content.manifest import PieceIndex
from p2p_client.download.picker import spans
from p2p_client.download.picker.overtaking import Overtaking
from p2p_client.download.picker.pieces import (
    Pieces,
    first_from,
    length_of_run,
    span,
    without,
)
from p2p_client.download.picker.roster import Roster
from p2p_client.download.picker.standing import Failure, Standing, Stream, StreamId
from p2p_client.models import PeerId
from p2p_client.records import dataclass

__all__ = ["Abandon", "Command", "Failure", "Open", "Plan", "StreamId"]

HUNGER_SECONDS = 2.0
"""How long partial sources are waited for when none of them has a piece that is missing."""
QUEUE_PAUSE_SECONDS = 1.0
"""When a source is asked again whose queue was left."""
MOST_THIEVES = 8
_MOST_DRAWN = (1 << 64) - 1


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
class Plan:
    """The state of one download under one manifest.

    Args:
        missing: the pieces to fetch.
        streams: how many may be open at once, >= 1; twice as many in a swarm.
        seed: what ties are broken by, so that peers with different seeds ask for different pieces.
        me: our name for others, if they fetch from us: then a lone source, which they may be
            asking too, is not asked from the beginning on, and in a swarm we get our share first.
        piece_count: of the whole content; 0: up to the last missing piece.
    """

    missing: Pieces
    streams: int
    seed: int = 0
    me: PeerId | None = None
    piece_count: int = 0
    _free: Pieces = field(init=False)
    _open: dict[StreamId, Stream] = field(init=False, default_factory=dict)
    _roster: Roster = field(init=False)
    _last_stream: int = field(init=False, default=0)
    _overtaking: Overtaking = field(init=False, default_factory=Overtaking)
    _fed_at: float | None = field(init=False, default=None)
    _drawn: int = field(init=False)
    _origin: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self._free = self.missing
        self.piece_count = max(1, self.piece_count, self.missing.bit_length())
        self._roster = Roster(self.piece_count, self.me)
        self._drawn = self.seed & _MOST_DRAWN
        if self.me is not None:
            self._origin = self._draw()

    # -- what the caller tells

    def offer(self, source: PeerId, *, is_whole: bool = True) -> None:
        """The source was located (again): it may be asked, unless it is banned."""
        self._roster.offer(source, is_whole=is_whole)

    def learned(self, source: PeerId, pieces: Pieces) -> None:
        """The partial source says that it has these too."""
        self._roster.learned(source, pieces)

    def forget(self, source: PeerId) -> None:
        """Nothing is known any more of what the partial source has."""
        self._roster.forget(source)

    def ban(self, source: PeerId) -> None:
        self._roster.ban(source)

    def heard(self, stream: StreamId, piece: int, now: float) -> None:
        """Bytes came; `piece` is the last one that they touch."""
        entry = self._open[stream]
        if entry.is_queued:
            entry.begin_again(now)
        entry.begun = max(entry.begun, piece + 1)
        entry.heard_at = now

    def queued(self, stream: StreamId, now: float) -> None:
        """The source says that the stream waits for a slot: until bytes come it is as good as idle.
        It keeps its place, and so the piece it is in, for as long as there is other work."""
        entry = self._open[stream]
        entry.is_queued, entry.heard_at = True, now
        self._roster[entry.source].queued_at = now

    def verified(self, stream: StreamId, piece: PieceIndex, now: float) -> None:
        """The next piece of the stream is on disk and right."""
        entry = self._open[stream]
        if piece != entry.next_verified or piece >= entry.stop:
            raise ValueError(f"piece {piece} is not the next one of this stream")
        entry.next_verified = piece + 1
        entry.begun = max(entry.begun, piece + 1)
        entry.verified_at = now
        entry.verified_count += 1
        self._roster[entry.source].has_verified()

    def closed(self, stream: StreamId, now: float, failure: Failure | None = None) -> None:
        """The stream has ended, nothing of it is under way; its unverified pieces are free."""
        entry = self._open.pop(stream)
        left = span(entry.next_verified, entry.stop)
        self._free |= left
        standing = self._roster[entry.source]
        standing.streams -= 1
        if entry.is_queued and failure is None:
            standing.retry_at = now + QUEUE_PAUSE_SECONDS
            return
        standing.waited_in_vain = standing.waited_in_vain or entry.is_queued
        standing.has_given(entry.rate(now), verified=bool(entry.verified_count))
        if failure is None and entry.is_abandoned and not entry.verified_count:
            failure = Failure.UNAVAILABLE
        if failure is not None:
            self._roster.strike(entry.source, failure, left, now)

    # -- what the caller asks

    def stop_of(self, stream: StreamId) -> int:
        """The first piece that the stream must not fetch; may have shrunk since it was opened."""
        return self._open[stream].stop

    @property
    def is_complete(self) -> bool:
        return not self._open and not self._free

    @property
    def is_swarm(self) -> bool:
        """Whether some usable source has only a part: others are fetching the same."""
        return self._roster.is_swarm

    def is_starved(self, now: float) -> bool:
        """Nothing is open and nobody may be asked, now or later, until a source is offered.

        Or all that is open is one more try with sources that had all their chances: offered again
        and again, they would keep us from saying so for ever.
        """
        usable = self._roster.usable()
        if self._is_fed or any(self._may_help(standing) for standing in usable):
            return False
        if all(standing.is_spent for standing in usable):
            return True
        return self._fed_at is not None and now - self._fed_at >= HUNGER_SECONDS

    def next(self, now: float) -> list[Command]:
        """What to do now; call it after every event and a few times a second.

        Cost: O(streams + sources) a command, each a few operations on sets of pieces.
        """
        commands: list[Command] = [
            self._end(stream) for stream, entry in self._open.items() if entry.is_past_its_cut
        ]
        is_swarm = self.is_swarm
        if is_swarm:
            self._shorten(now)
        most = 2 * self.streams if is_swarm else self.streams
        while self._busy_count() < most and len(self._open) < 2 * most:
            command = self._open_one(now, is_swarm=is_swarm)
            if command is None:
                break
            commands.append(command)
            if isinstance(command, Abandon):
                break
        else:
            commands.extend(self._make_room(now, is_swarm=is_swarm))
        if self._is_fed or self._fed_at is None:
            self._fed_at = now
        return commands

    # -- how it decides

    @property
    def _is_fed(self) -> bool:
        return any(self._is_hopeful(entry) for entry in self._open.values())

    def _is_hopeful(self, entry: Stream) -> bool:
        standing = self._roster[entry.source]
        if entry.is_queued:
            return not standing.waited_in_vain
        return entry.has_given_bytes or not standing.is_spent

    def _may_help(self, standing: Standing) -> bool:
        """Whether it may have something that is missing, and has chances left to give it."""
        if standing.is_spent or standing.is_whole:
            return not standing.is_spent
        opened = (standing.claims & span(e.next_verified, e.stop) for e in self._open.values())
        return bool(standing.claims & self._free) or any(opened)

    def _busy_count(self) -> int:
        return sum(not entry.is_queued for entry in self._open.values())

    def _open_one(self, now: float, *, is_swarm: bool) -> Command | None:
        ready = self._roster.ready(now, is_swarm=is_swarm)
        for source, standing in ready if self._free else ():
            run = self._run_for(standing, now, is_swarm=is_swarm)
            if run is not None:
                return self._begin_stream(source, *run, now, is_long=not is_swarm)
        for thief, standing in ready[:MOST_THIEVES]:
            if command := self._steal(thief, standing, now):
                return command
            stuck = self._overtaking.stuck_for(standing, self._open, now)
            if stuck is not None:
                return self._end(stuck)
        return None

    def _run_for(self, standing: Standing, now: float, *, is_swarm: bool) -> tuple[int, int] | None:
        """The free pieces [first, stop) that the source should give next; None: none."""
        if not is_swarm:
            usable = len(self._roster.usable())
            length = spans.range_length(self._free.bit_count(), self.streams, usable)
            first = first_from(self._free, self._origin)
            return first, first + length_of_run(self._free, first, length)
        pool = self._roster.pool_of(standing, self._free, now)
        if not pool:
            return None
        first = first_from(self._roster.rarest(pool), self._draw())
        length = spans.swarm_range_length(standing.rate)
        return first, first + length_of_run(pool, first, length)

    def _begin_stream(
        self, source: PeerId, first: int, stop: int, now: float, *, is_long: bool
    ) -> Open:
        self._last_stream += 1
        stream = StreamId(self._last_stream)
        self._free = without(self._free, span(first, stop))
        self._open[stream] = Stream(source, stop, first, first, now, now, now, is_long=is_long)
        self._roster[source].streams += 1
        return Open(stream, source, first, stop)

    def _shorten(self, now: float) -> None:
        """Ranges that were given out before there was a swarm: what lies far ahead is free again,
        for others have some of it, and the rest is to be asked for in another order."""
        for entry in self._open.values():
            if entry.is_long:
                entry.is_long = False
                kept = entry.first_untouched + spans.swarm_range_length(entry.rate(now))
                self._cut(entry, kept)

    def _cut(self, entry: Stream, stop: int) -> None:
        self._free |= span(stop, entry.stop)
        entry.cut(stop)

    # -- who is behind

    def _steal(self, thief: PeerId, standing: Standing, now: float) -> Open | None:
        found = self._overtaking.tail_for(standing, self._open, now)
        if found is None:
            return None
        stream, tail = found
        victim = self._open[stream]
        first, stop = victim.stop - tail, victim.stop
        self._cut(victim, first)
        return self._begin_stream(thief, first, stop, now, is_long=victim.is_long)

    def _make_room(self, now: float, *, is_swarm: bool) -> list[Command]:
        """With every stream taken: a much slower one ends, so that an idle source has its place."""
        ready = (standing for _, standing in self._roster.ready(now, is_swarm=is_swarm))
        if is_swarm:
            ready = (one for one in ready if self._roster.pool_of(one, self._free, now))
        standing = next(ready, None)
        if standing is None:
            return []
        hoped = self._roster.best_rate() if standing.rate is None else standing.rate
        slow, stuck = self._overtaking.room_for(standing, hoped, self._open, now)
        for stream in slow:
            entry = self._open[stream]
            self._cut(entry, entry.first_untouched)
        return [] if stuck is None else [self._end(stuck)]

    def _end(self, stream: StreamId) -> Abandon:
        self._open[stream].is_abandoned = True
        return Abandon(stream)

    def _draw(self) -> int:
        """A piece index, by chance that the seed decides (Knuth's MMIX generator)."""
        self._drawn = (self._drawn * 6364136223846793005 + 1442695040888963407) & _MOST_DRAWN
        return (self._drawn >> 33) % self.piece_count
