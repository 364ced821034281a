"""The plan against sources that mean ill, located again and again.

Whatever they say, claim and withhold: what one good source has comes in a time that their number
bounds, and where there is no good one, it ends.
"""

from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from tests.support.downloads.simulated import Mood, Simulated, a_world

from p2p_client.download.plan import Failure
from p2p_client.models import PeerId

UNSHRUNK = (Phase.explicit, Phase.reuse, Phase.generate)  # to make worlds smaller takes minutes
PIECES = 100
ALL = frozenset(range(PIECES))

HOW = st.none() | st.sampled_from(Failure)
EVIL = st.builds(
    Simulated,
    rate=st.floats(2, 500),
    lasts=st.integers(0, 20),
    how=HOW,
    mood=st.none() | st.sampled_from(Mood),
    away_seconds=st.sampled_from([0.0, 0.0, 0.7, 5.0, 40.0]),
    has=st.none() | st.sets(st.integers(0, PIECES - 1), max_size=40),
    claims=st.sampled_from([set(), set(range(PIECES))]),
)
FAILING = st.builds(
    Simulated,
    rate=st.floats(2, 500),
    lasts=st.integers(0, 20),
    how=HOW,
    away_seconds=st.sampled_from([0.0, 0.0, 0.7, 5.0, 17.0]),
    has=st.none() | st.sets(st.integers(0, PIECES - 1), max_size=40),
    claims=st.sampled_from([set(), set(range(PIECES))]),
)
REFRESH = st.sampled_from([0.5, 2.0, 30.0])
ME = st.sampled_from([None, PeerId("source-3")])


@settings(max_examples=150, deadline=None, phases=UNSHRUNK)
@given(st.lists(EVIL, max_size=12), REFRESH, st.integers(0, 1 << 32), ME)
def test_with_one_good_source_every_piece_comes_in_a_bounded_time(
    evil: list[Simulated], refresh_seconds: float, seed: int, me: PeerId | None
) -> None:
    world = a_world(PIECES, *(one.copy() for one in evil), Simulated(rate=20), seed=seed, me=me)
    world.refresh_seconds = refresh_seconds

    assert world.run()

    assert world.verified == ALL
    assert world.now <= 10 + 30 * len(evil)


@settings(max_examples=150, deadline=None, phases=UNSHRUNK)
@given(st.lists(FAILING, min_size=1, max_size=8), REFRESH, st.integers(0, 1 << 32))
def test_where_all_fail_in_the_end_it_ends(
    failing: list[Simulated], refresh_seconds: float, seed: int
) -> None:
    world = a_world(PIECES, *(one.copy() for one in failing), seed=seed)
    world.refresh_seconds = refresh_seconds

    world.run()

    # Each stall costs the idle timeout, and a source may stall twice after each piece that it gave.
    assert world.now <= 125 + 60 * len(failing)


def test_one_that_claims_all_and_lets_us_wait_does_not_keep_whole_sources_from_being_asked() -> (
    None
):
    tease = Simulated(rate=50, lasts=5, mood=Mood.QUEUES, has=set(range(40)), claims=set(ALL))
    world = a_world(PIECES, tease, Simulated(rate=20))
    world.refresh_seconds = 0.5

    assert world.run()

    assert world.now < 30


def test_those_that_only_let_us_wait_do_not_hand_a_piece_round_among_them() -> None:
    teases = [Simulated(lasts=0, mood=mood) for mood in (Mood.QUEUES, Mood.TEASES) * 3]
    world = a_world(PIECES, *teases, Simulated(rate=20))
    world.refresh_seconds = 0.5

    assert world.run()

    assert world.now < 30


def test_two_that_stall_in_turns_are_given_up_however_often_they_are_located() -> None:
    stall = [Simulated(rate=145, lasts=16), Simulated(lasts=19, has={84}), Simulated(lasts=0)]
    world = a_world(PIECES, *stall)
    world.refresh_seconds = 0.5

    assert not world.run()


def test_who_has_chances_left_is_asked_before_those_that_had_them_all() -> None:
    spent = [Simulated(lasts=0, how=Failure.UNAVAILABLE) for _ in range(8)]
    world = a_world(1, *spent, Simulated(rate=20, has={0}))
    world.plan.learned(PeerId("source-8"), 1)
    world.refresh_seconds = 0.1

    assert world.run()
