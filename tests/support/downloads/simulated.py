"""Sources that are simulated, and a plan that is run against them in simulated time."""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import Enum

from p2p_client.content.manifest import PieceIndex
from p2p_client.download.picker.pieces import span
from p2p_client.download.plan import Abandon, Failure, Open, Plan, StreamId
from p2p_client.download.sources.waiting import LONGEST_WAIT_SECONDS
from p2p_client.models import PeerId

STEP_SECONDS = 0.1
LONGEST_SECONDS = 20_000.0


class Mood(Enum):
    """How a source keeps a stream without giving a piece."""

    TRICKLES = "trickles"  # a byte now and then
    QUEUES = "queues"  # it only ever lets us wait
    TEASES = "teases"  # now this, now that


@dataclass
class Simulated:
    """A source that gives `rate` pieces a second and fails after `lasts` pieces, as `how`.

    With a `mood` it does not fail then, but has this and that to say, for ever. `away_seconds`: it
    is there for so long, then away for so long, and so on.

    A partial one has the pieces `has`, comes to hold those of `gains` one after another, `rate` of
    them a second, and says that it has `claims` besides.
    """

    rate: float = 10.0
    lasts: int | None = None
    how: Failure | None = None  # None with `lasts`: it stalls
    gave: int = 0
    mood: Mood | None = None
    away_seconds: float = 0.0
    has: set[int] | None = None  # None: whole
    gains: list[int] = field(default_factory=list)
    claims: set[int] = field(default_factory=set)
    gained: float = 0.0

    def is_away(self, now: float) -> bool:
        return bool(self.away_seconds) and int(now / self.away_seconds) % 2 == 1

    def copy(self) -> "Simulated":
        has = None if self.has is None else set(self.has)
        return replace(self, has=has, gains=list(self.gains))


@dataclass
class Running:
    command: Open
    progress: float  # pieces, with fractions
    next_piece: int


@dataclass
class World:
    """Runs a plan in simulated time; checks what must hold at every step."""

    piece_count: int
    sources: dict[PeerId, Simulated]
    streams: int = 4
    seed: int = 0
    me: PeerId | None = None
    idle_timeout_seconds: float = 30.0
    refresh_seconds: float = 0.0  # how often all sources are located again; 0: never
    now: float = 0.0
    verified: set[int] = field(default_factory=set)
    fetched: float = 0.0
    in_flight_at_failures: float = 0.0
    opened: list[Open] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.plan = Plan(span(0, self.piece_count), self.streams, self.seed, self.me)
        self.running: dict[StreamId, Running] = {}
        self.silent_since: dict[StreamId, float] = {}
        self.queued_since: dict[StreamId, float] = {}
        self.refreshed_at = 0.0
        self._offer()

    def _offer(self) -> None:
        for peer_id, source in self.sources.items():
            if source.is_away(self.now):
                continue
            self.plan.offer(peer_id, is_whole=source.has is None)
            if source.has is not None:
                self.plan.learned(peer_id, bits(source.has | source.claims))

    def run(self) -> bool:
        while not (self.plan.is_complete or self.plan.is_starved(self.now)):
            assert self.now < LONGEST_SECONDS, "it goes on for ever"
            for command in self.plan.next(self.now):
                self._obey(command)
            # Twice as many in a swarm, and twice as many again where some wait for a slot.
            assert len(self.running) <= 4 * self.streams
            self._check_disjoint()
            self.now += STEP_SECONDS
            for stream in list(self.running):
                self._advance(stream)
            self._grow()
            if self.refresh_seconds and self.now - self.refreshed_at >= self.refresh_seconds:
                self.refreshed_at = self.now
                self._offer()
        return self.plan.is_complete

    def _grow(self) -> None:
        for peer_id, source in self.sources.items():
            if source.has is not None and source.gains:
                source.gained += source.rate * STEP_SECONDS
                new = [
                    source.gains.pop() for _ in range(min(len(source.gains), int(source.gained)))
                ]
                source.gained -= len(new)
                source.has.update(new)
                self.plan.learned(peer_id, bits(new))

    def _obey(self, command: Open | Abandon) -> None:
        if isinstance(command, Abandon):
            running = self.running.get(command.stream)
            if running is not None:
                self.in_flight_at_failures += running.progress - running.next_piece
                self._close(command.stream, None)
            return
        assert 0 <= command.first < command.stop <= self.piece_count
        self.opened.append(command)
        self.running[command.stream] = Running(command, command.first, command.first)
        self.silent_since[command.stream] = self.now

    def _advance(self, stream: StreamId) -> None:
        running = self.running[stream]
        source = self.sources[running.command.source]
        if source.is_away(self.now):
            self._close(stream, Failure.UNAVAILABLE)
            return
        wanted = range(running.command.first, running.command.stop)
        if source.has is not None and not source.has.issuperset(wanted):
            self._close(stream, Failure.LACKING)
            return
        if source.lasts is not None and source.gave >= source.lasts:
            self._fail(stream, source)
            return
        stop = self.plan.stop_of(stream)
        before = running.progress
        left = self.piece_count if source.lasts is None else source.lasts - source.gave
        running.progress = min(
            running.progress + source.rate * STEP_SECONDS, stop, running.next_piece + left
        )
        self.fetched += running.progress - before
        self.silent_since[stream] = self.now
        if running.progress > running.next_piece:
            last = min(int(running.progress), stop - 1)
            self.plan.heard(stream, last, self.now)
        while running.next_piece + 1 <= running.progress:
            self.plan.verified(stream, PieceIndex(running.next_piece), self.now)
            assert running.next_piece not in self.verified, "a piece was fetched twice"
            self.verified.add(running.next_piece)
            running.next_piece += 1
            source.gave += 1
        if running.next_piece >= self.plan.stop_of(stream):
            self._close(stream, None)

    def _fail(self, stream: StreamId, source: Simulated) -> None:
        running = self.running[stream]
        if source.mood is not None:
            self._say(stream, running, source.mood)
            return
        how = source.how
        if how is None and self.now - self.silent_since[stream] < self.idle_timeout_seconds:
            return
        if how is Failure.MISBEHAVED:
            self.fetched += 1  # the bad piece
            self.in_flight_at_failures += 1
        self.in_flight_at_failures += running.progress - running.next_piece
        self._close(stream, how or Failure.STALLED)

    def _say(self, stream: StreamId, running: Running, mood: Mood) -> None:
        if running.next_piece >= self.plan.stop_of(stream):
            self._close(stream, None)
        elif mood is Mood.TRICKLES or (mood is Mood.TEASES and int(self.now * 10) % 2):
            self.queued_since.pop(stream, None)
            self.plan.heard(stream, running.next_piece, self.now)
        elif self.now - self.queued_since.setdefault(stream, self.now) >= LONGEST_WAIT_SECONDS:
            self._close(stream, Failure.UNAVAILABLE)
        else:
            self.plan.queued(stream, self.now)

    def _close(self, stream: StreamId, failure: Failure | None) -> None:
        del self.running[stream], self.silent_since[stream]
        self.queued_since.pop(stream, None)
        self.plan.closed(stream, self.now, failure)

    def _check_disjoint(self) -> None:
        spans = sorted(
            (running.next_piece, self.plan.stop_of(stream))
            for stream, running in self.running.items()
            if running.next_piece < self.plan.stop_of(stream)
        )
        for (_, stop), (first, _) in itertools.pairwise(spans):
            assert stop <= first, "two streams in one piece"

    @property
    def waste(self) -> float:
        """Pieces fetched beyond those that were needed."""
        return self.fetched - len(self.verified)


def bits(pieces: Iterable[int]) -> int:
    return sum(1 << piece for piece in set(pieces))


def a_world(
    piece_count: int,
    *sources: Simulated,
    streams: int = 4,
    seed: int = 0,
    me: PeerId | None = None,
) -> World:
    named = {PeerId(f"source-{number}"): source for number, source in enumerate(sources)}
    return World(piece_count, named, streams, seed, me)
