"""A stream that waits for a slot is as good as idle: others do its work, and it keeps its place."""

from p2p_client.content.manifest import PieceIndex
from p2p_client.download.picker.pieces import span
from p2p_client.download.picker.standing import QUEUE_SECONDS
from p2p_client.download.plan import QUEUE_PAUSE_SECONDS, Abandon, Open, Plan
from p2p_client.models import PeerId

BUSY, FREE, OTHER = PeerId("busy"), PeerId("free"), PeerId("other")


def opened(plan: Plan, now: float) -> list[Open]:
    return [command for command in plan.next(now) if isinstance(command, Open)]


def a_plan(pieces: int, *sources: PeerId, streams: int = 4) -> Plan:
    plan = Plan(span(0, pieces), streams)
    for source in sources:
        plan.offer(source)
    return plan


def finish(plan: Plan, stream: Open, now: float) -> None:
    """All that is left to the stream comes."""
    piece = stream.first
    while piece < plan.stop_of(stream.stream):
        plan.heard(stream.stream, piece, now)
        plan.verified(stream.stream, PieceIndex(piece), now)
        piece += 1
    plan.closed(stream.stream, now)


def test_the_work_of_one_who_waits_is_taken_over_at_once_but_for_the_piece_it_waits_for() -> None:
    plan = a_plan(20, BUSY)
    (waits,) = opened(plan, 0.0)
    plan.queued(waits.stream, 0.1)
    plan.offer(FREE)

    (taken,) = opened(plan, 0.1)
    assert (taken.source, taken.first, taken.stop) == (FREE, 1, 20)
    assert plan.stop_of(waits.stream) == 1
    assert plan.next(0.2) == []  # the place is kept


def test_when_nothing_else_is_left_the_last_piece_goes_too() -> None:
    plan = a_plan(20, BUSY)
    (waits,) = opened(plan, 0.0)
    plan.queued(waits.stream, 0.1)
    plan.offer(FREE)
    (taken,) = opened(plan, 0.1)
    finish(plan, taken, 2.0)

    assert plan.next(2.0) == [Abandon(waits.stream)]
    plan.closed(waits.stream, 2.0)
    (last,) = opened(plan, 2.0)
    assert (last.source, last.first, last.stop) == (FREE, 0, 1)
    finish(plan, last, 2.1)
    assert plan.is_complete


def test_leaving_a_queue_is_no_strike_against_the_source() -> None:
    plan = a_plan(2, BUSY)
    for turn in range(20):
        now = 10.0 * turn
        (waits,) = opened(plan, now)
        plan.queued(waits.stream, now)
        plan.closed(waits.stream, now)
        assert opened(plan, now + QUEUE_PAUSE_SECONDS / 2) == []
    assert not plan.is_starved(1_000.0)


def test_two_that_let_us_wait_do_not_make_us_give_up_our_places() -> None:
    plan = a_plan(20, BUSY, OTHER)
    streams = opened(plan, 0.0)
    assert len(streams) == 2
    for at in range(1, 100):
        now = 0.1 * at
        for stream in streams:
            plan.queued(stream.stream, now)
        assert not any(isinstance(command, Abandon) for command in plan.next(now))

    finish(plan, streams[0], 11.0)
    # The one that has served us let us wait a moment ago, too.
    assert not any(isinstance(command, Abandon) for command in plan.next(11.0))


def test_one_that_let_us_wait_long_ago_takes_over() -> None:
    plan = a_plan(8, BUSY, OTHER)
    first, second = opened(plan, 0.0)
    plan.queued(first.stream, 0.1)
    plan.queued(second.stream, 0.1)
    finish(plan, first, 1.0)
    plan.queued(second.stream, 0.2 + QUEUE_SECONDS)

    left = plan.next(0.2 + QUEUE_SECONDS)
    while opens := [command for command in left if isinstance(command, Open)]:
        finish(plan, opens[0], 0.2 + QUEUE_SECONDS)
        left = plan.next(0.2 + QUEUE_SECONDS)
    assert left == [Abandon(second.stream)]


def test_those_that_wait_leave_room_for_those_that_serve() -> None:
    busy = [PeerId(f"busy{number}") for number in range(2)]
    plan = a_plan(1_000, *busy, streams=2)
    for stream in opened(plan, 0.0):
        plan.queued(stream.stream, 0.1)
    plan.offer(FREE)

    assert [command.source for command in opened(plan, 0.2)] == [FREE]


def test_many_that_let_us_wait_are_not_all_asked() -> None:
    plan = a_plan(10_000, *(PeerId(f"busy{number}") for number in range(50)), streams=4)
    count = 0
    for at in range(100):
        for stream in opened(plan, 0.1 * at):
            plan.queued(stream.stream, 0.1 * at)
            count += 1

    assert count == 8


def test_how_fast_a_source_is_shows_from_when_it_serves() -> None:
    plan = a_plan(100, BUSY)
    (waits,) = opened(plan, 0.0)
    for second in range(100):
        plan.queued(waits.stream, float(second))
    for piece in range(10):
        plan.heard(waits.stream, piece, 100.0)
        plan.verified(waits.stream, PieceIndex(piece), 100.0 + 0.1 * piece)
    plan.offer(FREE)

    # Ten pieces a second: of the ninety left the newcomer gets about half, not all.
    (taken,) = opened(plan, 101.0)
    assert 30 <= taken.stop - taken.first <= 60
