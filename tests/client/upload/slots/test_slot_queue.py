"""Slots go round fairly: nobody is kept out, nobody waits for ever, and never too many run."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from p2p_client.models import Digest
from p2p_client.upload.refusals import TooManyStreams
from p2p_client.upload.slots.counts import Wish
from p2p_client.upload.slots.order import EQUAL_BYTES, Standing, next_of
from p2p_client.upload.slots.queue import TURN_SECONDS, Call, SlotQueue

MIB = 1 << 20
DIGEST = Digest("d" * 64)


def a_wish(first: int, stop: int, count: int = 100) -> Wish:
    return Wish(DIGEST, first, stop, count, MIB)


def waiting(queue: SlotQueue, user: str, now: float = 0.0, wish: Wish | None = None) -> Call:
    call = Call(user, wish, can_wait=True)
    queue.ask(call, now)
    return call


def started(queue: SlotQueue, now: float = 0.0) -> list[Call]:
    return queue.admit(now)


# -- who gets a slot


def test_one_user_gets_half_of_the_slots_and_all_users_no_more_than_there_are() -> None:
    queue = SlotQueue(4)
    for user in ("a", "a"):
        queue.ask(Call(user), 0.0)
    with pytest.raises(TooManyStreams, match="serves 2"):
        queue.ask(Call("a"), 0.0)
    queue.ask(Call("b"), 0.0)
    queue.ask(last := Call("c"), 0.0)
    with pytest.raises(TooManyStreams, match="serves 4"):
        queue.ask(Call("d"), 0.0)
    assert queue.running_count == 4

    queue.leave(last)
    queue.ask(Call("d"), 0.0)
    assert queue.running_count == 4


def test_a_single_slot_can_be_had_by_anybody() -> None:
    queue = SlotQueue(1)
    for user in ("a", "b"):
        queue.ask(call := Call(user), 0.0)
        assert call.started_at is not None
        queue.leave(call)


def test_who_does_not_wait_does_not_overtake_who_does() -> None:
    queue = SlotQueue(2)
    queue.ask(running := Call("a"), 0.0)
    queue.ask(Call("b"), 0.0)
    waits = waiting(queue, "c")
    queue.leave(running)

    with pytest.raises(TooManyStreams):
        queue.ask(Call("d"), 1.0)
    assert started(queue, 1.0) == [waits]


def test_a_hundred_calls_of_one_user_do_not_delay_the_one_of_another() -> None:
    queue = SlotQueue(2, most_waiting_of_one=100)
    calls = [waiting(queue, "greedy") for _ in range(100)]
    modest = waiting(queue, "modest")

    assert calls[0].started_at is not None
    assert modest.started_at is not None


def test_the_user_that_got_least_of_late_is_next() -> None:
    queue = SlotQueue(2)
    served, other = Call("served"), Call("other")
    queue.ask(served, 0.0)
    queue.ask(other, 0.0)
    queue.sent(served, 10 * EQUAL_BYTES, 1.0)
    again, newcomer = waiting(queue, "served", 1.0), waiting(queue, "newcomer", 2.0)
    queue.leave(served)

    assert started(queue, 3.0) == [newcomer]
    queue.leave(other)
    assert started(queue, 3.0) == [again]


def test_what_a_user_got_is_forgiven_in_time() -> None:
    queue = SlotQueue(1)
    queue.ask(served := Call("served"), 0.0)
    queue.sent(served, 10 * EQUAL_BYTES, 1.0)
    first, second = waiting(queue, "served", 1.0), waiting(queue, "newcomer", 2.0)
    queue.leave(served)

    assert started(queue, 600.0) == [first]
    assert second.started_at is None


# -- which range goes first


def test_of_equal_users_the_one_who_wants_what_few_have_is_next() -> None:
    queue = SlotQueue(1)
    queue.ask(busy := Call("x", a_wish(0, 10)), 0.0)
    for piece in range(10):
        queue.sent(busy, MIB, 0.1 * piece)
    same, other = waiting(queue, "a", 1.0, a_wish(0, 10)), waiting(queue, "b", 2.0, a_wish(10, 20))
    queue.leave(busy)

    assert started(queue, 3.0) == [other]
    queue.leave(other)
    assert started(queue, 3.0) == [same]


def test_waiting_makes_up_for_copies_that_were_sent() -> None:
    common = Standing(0, 0.0, rarity=3.0, waited_seconds=60.0, arrival=1)
    rare = Standing(0, 0.0, rarity=0.0, waited_seconds=0.0, arrival=2)

    assert next_of([common, rare]) == 0


def test_a_range_under_way_counts_as_sent_until_it_is_known_not_to_be() -> None:
    queue = SlotQueue(2)
    wish = a_wish(0, 10)
    queue.ask(call := Call("a", wish), 0.0)
    assert queue.counts.rarity(wish) == 1

    queue.sent(call, 4 * MIB, 1.0)
    queue.leave(call)
    assert queue.counts.rarity(a_wish(0, 4)) == 1
    assert queue.counts.rarity(a_wish(4, 10)) == 0


# -- who may wait, and what they are told


def test_the_queue_is_bounded_for_one_user_and_for_all() -> None:
    queue = SlotQueue(1, most_waiting=4, most_waiting_of_one=2)
    queue.ask(Call("busy"), 0.0)
    for user in ("a", "a", "b", "b"):
        waiting(queue, user)
    with pytest.raises(TooManyStreams, match="2"):
        waiting(queue, "a")

    newcomer = Call("c", can_wait=True)
    displaced = queue.ask(newcomer, 1.0)
    assert displaced is not None
    assert displaced.user in ("a", "b")
    assert len(queue.waiting) == 4
    waiting(queue, "d")  # now everybody has one waiting, and nobody makes room any more
    with pytest.raises(TooManyStreams, match="4"):
        waiting(queue, "e")


def test_those_who_go_round_do_not_keep_a_newcomer_out_however_many_they_are() -> None:
    queue = SlotQueue(2, most_waiting=4)
    for number in range(6):  # one identity for each place there is
        waiting(queue, f"sybil{number}")
        started(queue)
    now = 0.0
    for _ in range(6):  # all had their turn, and came back for more
        now += TURN_SECONDS
        for call in [call for call in queue._running if queue.is_turn_over(call, now)]:
            queue.sent(call, 100 * MIB, now)
            queue.rejoin(call, now)
            started(queue, now)
    assert len(queue.waiting) == 4

    honest = waiting(queue, "honest", now)
    with pytest.raises(TooManyStreams):
        waiting(queue, "sybil0", now)
    now += TURN_SECONDS
    over = [call for call in queue._running if queue.is_turn_over(call, now)]
    for call in over:
        queue.sent(call, 100 * MIB, now)
        queue.rejoin(call, now)

    assert honest in started(queue, now)


def test_the_places_of_all_that_wait_are_the_order_in_which_they_start() -> None:
    queue = SlotQueue(1)
    queue.ask(busy := Call("busy"), 0.0)
    calls = [waiting(queue, user, 0.1) for user in ("a", "a", "b", "c", "b")]
    places = queue.places(0.2)
    queue.leave(busy)
    order = []
    while fresh := started(queue, 0.2):
        order += fresh
        queue.leave(fresh[0])

    assert sorted(place.position for place in places.values()) == [0, 1, 2, 3, 4]
    assert {place.waiting_count for place in places.values()} == {5}
    assert places[calls[0]].position == 0
    assert order[0] is calls[0]
    # The first of each user come before anybody's second.
    assert {call.user for call in calls if places[call].position < 3} == {"a", "b", "c"}


def test_the_wait_is_told_from_how_fast_the_queue_moves() -> None:
    queue = SlotQueue(1)
    queue.ask(running := Call("busy"), 0.0)
    calls = [waiting(queue, f"user{number}") for number in range(8)]
    assert queue.places(0.0)[calls[0]].expected_wait_seconds is None
    for second in range(1, 5):
        queue.leave(running)
        (running,) = started(queue, 2.0 * second)

    places = queue.places(9.0)
    assert places[calls[4]].expected_wait_seconds == pytest.approx(7.0 / 4)
    assert places[calls[7]].expected_wait_seconds == pytest.approx(4 * 7.0 / 4)


def test_a_turn_ends_where_others_wait_and_goes_round() -> None:
    queue = SlotQueue(2)
    queue.ask(long := Call("long", can_wait=True), 0.0)
    queue.ask(other := Call("other"), 0.0)
    assert not queue.is_turn_over(long, 10 * TURN_SECONDS)

    waits = waiting(queue, "new", 1.0)
    assert not queue.is_turn_over(long, 1.0)
    assert queue.is_turn_over(long, TURN_SECONDS)
    queue.sent(long, 20 * EQUAL_BYTES, TURN_SECONDS)
    queue.rejoin(long, TURN_SECONDS)
    assert started(queue, TURN_SECONDS) == [waits]
    queue.leave(other)
    assert started(queue, TURN_SECONDS) == [long]


# -- all of it


class AnyMixOfCalls(RuleBasedStateMachine):
    """Never too many streams, in all or of one user; a slot that may be used is; and whoever waits
    is served in the end."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = SlotQueue(4, most_waiting=6, most_waiting_of_one=3)
        self.now = 0.0
        self.calls: list[Call] = []

    @rule(user=st.sampled_from("abcd"), can_wait=st.booleans(), first=st.integers(0, 90))
    def ask(self, user: str, can_wait: bool, first: int) -> None:
        call = Call(user, a_wish(first, first + 10), can_wait=can_wait)
        try:
            displaced = self.queue.ask(call, self.now)
        except TooManyStreams:
            return
        self.calls.append(call)
        if displaced is not None:
            assert displaced.started_at is None
            self.calls.remove(displaced)

    @precondition(lambda self: self.calls)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        call = data.draw(st.sampled_from(self.calls))
        self.calls.remove(call)
        self.queue.leave(call)
        self.queue.leave(call)

    @precondition(lambda self: any(call.started_at is not None for call in self.calls))
    @rule(data=st.data(), size_bytes=st.integers(1, 8 * MIB))
    def send(self, data: st.DataObject, size_bytes: int) -> None:
        running = [call for call in self.calls if call.started_at is not None]
        call = data.draw(st.sampled_from(running))
        self.queue.sent(call, size_bytes, self.now)
        if self.queue.is_turn_over(call, self.now):
            self.queue.rejoin(call, self.now)

    @rule(seconds=st.floats(0, 20), width=st.integers(1, 8))
    def pass_time(self, seconds: float, width: int) -> None:
        self.now += seconds
        self.queue.width = width

    @invariant()
    def slots_are_used_and_never_too_many(self) -> None:
        running_before = Counter(c.user for c in self.calls if c.started_at is not None)
        fresh = self.queue.admit(self.now)
        running = Counter(c.user for c in self.calls if c.started_at is not None)
        assert running.total() == self.queue.running_count
        if fresh:
            assert running.total() <= self.queue.width
            assert all(running[call.user] <= self.queue.most_of_one for call in fresh)
        for call in self.queue.waiting:
            assert (
                running.total() >= self.queue.width or running[call.user] >= self.queue.most_of_one
            )
        assert running_before.total() + len(fresh) == running.total()

    @invariant()
    def places_are_a_permutation(self) -> None:
        places = self.queue.places(self.now)
        assert sorted(p.position for p in places.values()) == list(range(len(places)))
        assert set(places) == set(self.queue.waiting)

    def teardown(self) -> None:
        self.queue.width = 4
        left = set(self.queue.waiting)
        for _ in range(len(self.calls) + 1):
            left -= set(self.queue.admit(self.now))
            for call in [c for c in self.calls if c.started_at is not None]:
                self.queue.leave(call)
        assert not left
        assert self.queue.running_count == 0


TestAnyMixOfCalls = AnyMixOfCalls.TestCase
TestAnyMixOfCalls.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from("abc"), st.integers(6, 12), min_size=1), st.integers(1, 6))
def test_users_that_always_want_more_get_the_same(calls: dict[str, int], width: int) -> None:
    """However many of their calls wait."""
    queue, now = SlotQueue(width), 0.0
    active = [waiting(queue, user) for user, count in calls.items() for _ in range(count)]
    got = Counter(dict.fromkeys(calls, 0))
    for _ in range(200):
        queue.admit(now)
        now += 0.5
        for call in [call for call in active if call.started_at is not None]:
            got[call.user] += 1
            queue.sent(call, 32 * MIB, now)
            queue.leave(call)
            active.remove(call)
            active.append(waiting(queue, call.user, now))

    assert max(got.values()) - min(got.values()) <= 2 * width
