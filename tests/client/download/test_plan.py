"""The plan against simulated sources.

Whatever mix of rates, deaths and lies: it ends with every piece held as long as one good source
stays, no piece is ever in two streams, and hardly anything is fetched twice.
"""

import itertools
from dataclasses import dataclass, field

from hypothesis import example, given, settings
from hypothesis import strategies as st

from p2p_client.content.manifest import PieceIndex
from p2p_client.download.plan import Abandon, Failure, Open, Plan, StreamId
from p2p_client.models import PeerId

STEP_SECONDS = 0.1
LONGEST_SECONDS = 4000.0


@dataclass
class Simulated:
    """A source that gives `rate` pieces a second and fails after `lasts` pieces, as `how`."""

    rate: float = 10.0
    lasts: int | None = None
    how: Failure | None = None  # None with `lasts`: it stalls
    gave: int = 0


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
    idle_timeout_seconds: float = 30.0
    now: float = 0.0
    verified: set[int] = field(default_factory=set)
    fetched: float = 0.0
    opened: list[Open] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.plan = Plan([(0, self.piece_count)], self.streams)
        self.running: dict[StreamId, Running] = {}
        self.silent_since: dict[StreamId, float] = {}
        for peer_id in self.sources:
            self.plan.offer(peer_id)

    def run(self) -> bool:
        while not (self.plan.is_complete or self.plan.is_starved()):
            assert self.now < LONGEST_SECONDS, "it goes on for ever"
            for command in self.plan.next(self.now):
                self._obey(command)
            assert len(self.running) <= self.streams
            self._check_disjoint()
            self.now += STEP_SECONDS
            for stream in list(self.running):
                self._advance(stream)
        return self.plan.is_complete

    def _obey(self, command: Open | Abandon) -> None:
        if isinstance(command, Abandon):
            self._close(command.stream, None)
            return
        assert 0 <= command.first < command.stop <= self.piece_count
        self.opened.append(command)
        self.running[command.stream] = Running(command, command.first, command.first)
        self.silent_since[command.stream] = self.now

    def _advance(self, stream: StreamId) -> None:
        running = self.running[stream]
        source = self.sources[running.command.source]
        if source.lasts is not None and source.gave >= source.lasts:
            if source.how is not None:
                if source.how is Failure.MISBEHAVED:
                    self.fetched += 1  # the bad piece
                self._close(stream, source.how)
            elif self.now - self.silent_since[stream] >= self.idle_timeout_seconds:
                self._close(stream, Failure.STALLED)
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

    def _close(self, stream: StreamId, failure: Failure | None) -> None:
        del self.running[stream], self.silent_since[stream]
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


def a_world(piece_count: int, *sources: Simulated, streams: int = 4) -> World:
    named = {PeerId(f"source-{number}"): source for number, source in enumerate(sources)}
    return World(piece_count, named, streams)


SOURCES = st.builds(
    Simulated,
    rate=st.floats(2, 500),
    lasts=st.none() | st.integers(0, 40),
    how=st.none() | st.sampled_from(Failure),
)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 600), st.lists(SOURCES, max_size=10), st.integers(1, 6))
@example(64, [Simulated(500, 0, Failure.MISBEHAVED)] * 9, 4)
def test_with_one_good_source_every_piece_comes(
    piece_count: int, others: list[Simulated], streams: int
) -> None:
    copies = [Simulated(other.rate, other.lasts, other.how) for other in others]
    world = a_world(piece_count, *copies, Simulated(rate=20), streams=streams)

    assert world.run()

    assert world.verified == set(range(piece_count))
    # Each source may spoil a piece or two with its failures; slowness alone may not.
    assert world.waste <= 0.02 * piece_count + 2 * len(others) + 2


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 600),
    st.lists(
        st.builds(
            Simulated,
            rate=st.floats(2, 500),
            lasts=st.integers(0, 40),
            how=st.none() | st.sampled_from(Failure),
        ),
        max_size=8,
    ),
)
def test_with_failing_sources_only_it_ends_and_loses_nothing(
    piece_count: int, sources: list[Simulated]
) -> None:
    copies = [Simulated(source.rate, source.lasts, source.how) for source in sources]
    world = a_world(piece_count, *copies)

    is_complete = world.run()

    assert is_complete == (world.verified == set(range(piece_count)))
    assert not world.running


@settings(max_examples=30, deadline=None)
@given(st.integers(200, 2000), st.lists(st.floats(2, 500), min_size=1, max_size=8))
def test_honest_sources_of_any_speed_fetch_hardly_anything_twice(
    piece_count: int, rates: list[float]
) -> None:
    world = a_world(piece_count, *(Simulated(rate) for rate in rates))

    assert world.run()

    assert world.waste <= 0.02 * piece_count


def test_a_lone_source_gives_all_in_one_stream() -> None:
    world = a_world(1000, Simulated(rate=100))

    assert world.run()

    assert [(command.first, command.stop) for command in world.opened] == [(0, 1000)]


def test_sources_share_the_work_by_their_speed() -> None:
    fast, slow = Simulated(rate=90), Simulated(rate=10)
    world = a_world(1000, fast, slow)

    assert world.run()

    assert fast.gave > 4 * slow.gave
    assert slow.gave >= 20
    assert world.now < 1.25 * 1000 / 100


def test_a_stalled_stream_does_not_hold_up_the_end() -> None:
    world = a_world(200, Simulated(rate=50), Simulated(rate=50, lasts=10, how=None))

    assert world.run()

    assert world.now < 15


def test_a_source_that_comes_later_takes_its_share() -> None:
    world = a_world(1000, Simulated(rate=10))
    late = PeerId("late")
    for command in world.plan.next(0.0):
        world._obey(command)
    for _ in range(200):
        world.now += STEP_SECONDS
        for stream in list(world.running):
            world._advance(stream)
    world.sources[late] = Simulated(rate=100)
    world.plan.offer(late)

    assert world.run()

    assert world.sources[late].gave > 500


def test_a_banned_source_is_never_asked_again_even_when_located_again() -> None:
    plan = Plan([(0, 10)], 1)
    plan.offer(PeerId("liar"))
    (command,) = plan.next(0.0)
    assert isinstance(command, Open)
    plan.closed(command.stream, 1.0, Failure.MISBEHAVED)
    plan.offer(PeerId("liar"))

    assert plan.next(100.0) == []
    assert plan.is_starved()


def test_a_stale_source_waits_until_it_is_located_again() -> None:
    plan = Plan([(0, 10)], 1)
    plan.offer(PeerId("stale"))
    (command,) = plan.next(0.0)
    assert isinstance(command, Open)
    plan.closed(command.stream, 1.0, Failure.STALE)

    assert plan.next(100.0) == []
    assert plan.wants_locate()

    plan.offer(PeerId("stale"))

    assert plan.next(100.0) == [Open(StreamId(2), PeerId("stale"), 0, 10)]


def test_an_unavailable_source_is_retried_later_a_few_times() -> None:
    plan = Plan([(0, 10)], 1)
    plan.offer(PeerId("busy"))
    attempts, now = 0, 0.0
    while not plan.is_starved():
        for command in plan.next(now):
            assert isinstance(command, Open)
            attempts += 1
            plan.closed(command.stream, now, Failure.UNAVAILABLE)
            assert plan.next(now) == []
        now += 0.25

    assert attempts == 4
    assert now > 1.5
