"""The plan against simulated sources.

Whatever mix of rates, deaths and lies: it ends with every piece held as long as one good source
stays, no piece is ever in two streams, and hardly anything is fetched twice.
"""

import random
from dataclasses import replace

from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.support.downloads.simulated import STEP_SECONDS, Simulated, a_world, bits

from p2p_client.content.manifest import PieceIndex
from p2p_client.download.picker.pieces import span
from p2p_client.download.plan import Abandon, Failure, Open, Plan, StreamId
from p2p_client.models import PeerId

SOURCES = st.builds(
    Simulated,
    rate=st.floats(2, 500),
    lasts=st.none() | st.integers(0, 40),
    how=st.none() | st.sampled_from(Failure),
)
PARTIAL = st.builds(
    Simulated,
    rate=st.floats(2, 500),
    lasts=st.none() | st.integers(0, 40),
    how=st.none() | st.sampled_from(Failure),
    has=st.sets(st.integers(0, 199), max_size=60),
    gains=st.lists(st.integers(0, 199), max_size=60),
    claims=st.sets(st.integers(0, 199), max_size=10),
)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 600), st.lists(SOURCES, max_size=10), st.integers(1, 6))
@example(64, [Simulated(500, 0, Failure.MISBEHAVED)] * 9, 4)
def test_with_one_good_source_every_piece_comes(
    piece_count: int, others: list[Simulated], streams: int
) -> None:
    copies = [other.copy() for other in others]
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
    copies = [source.copy() for source in sources]
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
    plan = Plan(span(0, 10), 1)
    plan.offer(PeerId("liar"))
    (command,) = plan.next(0.0)
    assert isinstance(command, Open)
    plan.closed(command.stream, 1.0, Failure.MISBEHAVED)
    plan.offer(PeerId("liar"))

    assert plan.next(100.0) == []
    assert plan.is_starved(100.0)


def test_a_stale_source_waits_until_it_is_located_again() -> None:
    plan = Plan(span(0, 10), 1)
    plan.offer(PeerId("stale"))
    (command,) = plan.next(0.0)
    assert isinstance(command, Open)
    plan.closed(command.stream, 1.0, Failure.STALE)

    assert plan.next(100.0) == []
    assert plan.is_starved(100.0)

    plan.offer(PeerId("stale"))

    assert plan.next(100.0) == [Open(StreamId(2), PeerId("stale"), 0, 10)]


def test_an_unavailable_source_is_retried_later_a_few_times() -> None:
    plan = Plan(span(0, 10), 1)
    plan.offer(PeerId("busy"))
    attempts, now = 0, 0.0
    while not plan.is_starved(now):
        for command in plan.next(now):
            assert isinstance(command, Open)
            attempts += 1
            plan.closed(command.stream, now, Failure.UNAVAILABLE)
            assert plan.next(now) == []
        now += 0.25

    assert attempts == 4
    assert now > 1.5


@settings(max_examples=80, deadline=None)
@given(
    st.lists(SOURCES, max_size=4),
    st.lists(PARTIAL, max_size=8),
    st.integers(0, 1 << 32),
    st.sampled_from([None, PeerId("source-3")]),
)
def test_in_any_swarm_with_one_good_whole_source_every_piece_comes_once(
    whole: list[Simulated], partial: list[Simulated], seed: int, me: PeerId | None
) -> None:
    others = [other.copy() for other in (*whole, *partial)]
    world = a_world(200, *others, Simulated(rate=20), seed=seed, me=me)

    assert world.run()

    assert world.verified == set(range(200))
    assert world.waste <= 0.02 * 200 + world.in_flight_at_failures + 1e-6


@settings(max_examples=80, deadline=None)
@given(st.lists(PARTIAL, min_size=1, max_size=8), st.integers(0, 1 << 32))
def test_partial_sources_alone_give_all_that_the_good_ones_have(
    partial: list[Simulated], seed: int
) -> None:
    good = [replace(one, lasts=None, how=None, claims=set()) for one in partial[::2]]
    world = a_world(200, *(one.copy() for one in (*good, *partial[1::2])), seed=seed)

    is_complete = world.run()

    there = set().union(*((one.has or set()) | set(one.gains) for one in good))
    assert world.verified >= there
    assert is_complete == (world.verified == set(range(200)))
    assert not world.running


def test_a_whole_source_is_left_what_nobody_else_has() -> None:
    seeder = Simulated(rate=10)
    neighbour = Simulated(rate=100, has=set(range(150)))
    world = a_world(200, seeder, neighbour)

    assert world.run()

    assert seeder.gave <= 60
    assert world.now < 7


def test_a_whole_source_helps_where_the_others_would_take_long() -> None:
    seeder = Simulated(rate=100)
    neighbour = Simulated(rate=2, has=set(range(200)))
    world = a_world(200, seeder, neighbour)

    assert world.run()

    assert seeder.gave > 150
    assert world.now < 6


def test_the_rarest_piece_comes_first() -> None:
    plan = Plan(span(0, 10), 4, seed=7)
    for name, pieces in (("a", {1, 2, 3}), ("b", {2, 3}), ("c", {3})):
        plan.offer(PeerId(name), is_whole=False)
        plan.learned(PeerId(name), bits(pieces))

    asked = {
        command.source: command.first for command in plan.next(0.0) if isinstance(command, Open)
    }

    assert asked == {"a": 1, "b": 2, "c": 3}


def test_peers_with_different_seeds_ask_a_seeder_for_different_pieces() -> None:
    first = set()
    for seed in random.Random(1).sample(range(1 << 32), 20):
        plan = Plan(span(0, 1000), 4, seed)
        plan.offer(PeerId("seeder"))
        plan.offer(PeerId("neighbour"), is_whole=False)
        (command,) = plan.next(0.0)
        assert isinstance(command, Open)
        assert command.stop == command.first + 1
        first.add(command.first)

    assert len(first) >= 18


def test_a_long_range_is_cut_short_when_a_swarm_comes() -> None:
    world = a_world(1000, Simulated(rate=20))
    for command in world.plan.next(0.0):
        world._obey(command)
    for _ in range(20):
        world.now += STEP_SECONDS
        for stream in list(world.running):
            world._advance(stream)
    neighbour = PeerId("neighbour")
    world.sources[neighbour] = Simulated(rate=200, has=set(range(500, 1000)))
    world.plan.offer(neighbour, is_whole=False)
    world.plan.learned(neighbour, span(500, 1000))

    assert world.run()

    assert world.sources[neighbour].gave > 450


def test_a_lone_source_is_not_asked_from_the_beginning_on_by_one_who_shares() -> None:
    plans = [Plan(span(0, 1000), 4, seed, PeerId("me")) for seed in (1, 2)]
    asked = []
    for plan in plans:
        plan.offer(PeerId("seeder"))
        asked += plan.next(0.0)

    first, second = asked
    assert isinstance(first, Open)
    assert isinstance(second, Open)
    assert first.stop == second.stop == 1000
    assert 0 != first.first != second.first != 0


def test_what_a_partial_source_does_not_have_after_all_is_not_asked_of_it_again() -> None:
    plan = Plan(span(0, 10), 1)
    plan.offer(PeerId("liar"), is_whole=False)
    plan.learned(PeerId("liar"), span(4, 5))
    (command,) = plan.next(0.0)
    assert isinstance(command, Open)
    plan.closed(command.stream, 0.0, Failure.LACKING)

    assert plan.next(100.0) == []
    plan.learned(PeerId("liar"), span(4, 5))
    assert plan.next(100.0) == [Open(StreamId(2), PeerId("liar"), 4, 5)]


def test_partial_sources_without_anything_new_are_waited_for_a_while() -> None:
    plan = Plan(span(0, 10), 1)
    plan.offer(PeerId("neighbour"), is_whole=False)

    assert plan.next(0.0) == []
    assert not plan.is_starved(1.0)
    assert plan.is_starved(2.5)


def test_a_stuck_piece_is_taken_over_by_one_that_has_it_only() -> None:
    plan = Plan(span(0, 2), 4)
    plan.offer(PeerId("seeder"))
    plan.offer(PeerId("neighbour"), is_whole=False)
    plan.learned(PeerId("neighbour"), span(0, 1))
    opened = {c.source: c for c in plan.next(0.0) if isinstance(c, Open)}
    assert opened.keys() == {"seeder", "neighbour"}
    plan.heard(opened[PeerId("neighbour")].stream, 0, 0.1)
    plan.verified(opened[PeerId("neighbour")].stream, PieceIndex(0), 0.1)
    plan.closed(opened[PeerId("neighbour")].stream, 0.1)

    assert plan.next(50.0) == []

    plan.learned(PeerId("neighbour"), span(1, 2))
    assert plan.next(50.0) == [Abandon(opened[PeerId("seeder")].stream)]
