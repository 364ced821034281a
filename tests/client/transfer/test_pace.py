"""A limit holds over time, whatever is taken and however many take it, and is shared evenly."""

import asyncio
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.jumping import run_jumping

from p2p_client.transfer.pace import LATE_SECONDS, Bucket, Fairness, Pace

KIB, MIB = 1 << 10, 1 << 20
RATE = 1_000_000.0


@given(st.lists(st.tuples(st.integers(1, 1 << 20), st.floats(0, 0.5)), min_size=1, max_size=60))
def test_no_more_than_the_rate_and_one_burst_passes(takes: list[tuple[int, float]]) -> None:
    bucket, now, taken = Bucket(RATE), 100.0, 0
    for count, idle_seconds in takes:
        now += bucket.take(count, now)
        taken += count
        assert taken <= RATE * (now - 100.0 + LATE_SECONDS) * (1 + 1e-9)
        now += idle_seconds


@given(st.lists(st.integers(1, 1 << 20), min_size=1, max_size=60))
def test_who_never_idles_gets_exactly_the_rate(counts: list[int]) -> None:
    bucket, now = Bucket(RATE), 0.0
    for count in counts:
        now += bucket.take(count, now)

    assert now == pytest.approx(sum(counts) / RATE)


def test_who_comes_late_now_and_then_still_gets_the_rate() -> None:
    bucket, now = Bucket(RATE), 0.0
    for _ in range(100):
        now += bucket.take(100_000, now) + 0.9 * LATE_SECONDS

    assert now == pytest.approx(10.0, rel=0.02)


def test_a_pause_earns_nothing() -> None:
    bucket = Bucket(RATE)
    bucket.take(1, 0.0)

    assert bucket.take(500_000, 60.0) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("rate", "chunk_bytes"),
    [(None, 1 << 20), (1e9, 1 << 20), (1_000_000.0, 125_000), (20_000.0, 16 << 10)],
)
def test_chunks_are_small_where_the_rate_is(rate: float | None, chunk_bytes: int) -> None:
    assert Pace(rate).chunk_bytes == chunk_bytes


# -- streams that share a limit


async def takes_for(
    pace: Pace, seconds: float, *streams: tuple[str, int], busy_seconds: float = 0.0005
) -> Counter[tuple[str, int]]:
    """What each stream (user, bytes at a time) gets when all want as much as they can have;
    `busy_seconds` is what sending takes each time."""
    got: Counter[tuple[str, int]] = Counter()

    async def stream(user: str, size_bytes: int) -> None:
        with pace.share(user) as share:
            while True:
                await share.keep(size_bytes)
                got[user, size_bytes] += size_bytes
                await asyncio.sleep(busy_seconds)

    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(stream(*each)) for each in streams]
        await asyncio.sleep(seconds)
        for task in running:
            task.cancel()
    return got


@pytest.mark.parametrize("rate", [100e3, 1e6, 25e6, 200e6])
@pytest.mark.parametrize("count", [1, 2, 8, 64])
@pytest.mark.parametrize("seconds", [1.0, 20.0])
def test_the_rate_is_kept_within_a_twentieth(rate: float, count: int, seconds: float) -> None:
    pace = Pace(rate)
    streams = [(f"user{number}", pace.chunk_bytes + number) for number in range(count)]
    got = run_jumping(takes_for(pace, seconds, *streams))

    # What is paid for when the time is up has not been counted.
    assert rate * seconds * 0.95 - pace.chunk_bytes <= got.total() <= rate * seconds * 1.05


def test_streams_with_large_chunks_do_not_starve_those_with_small_ones() -> None:
    large, small = ("a", MIB), ("b", 16 * KIB)
    got = run_jumping(takes_for(Pace(25e6), 20.0, large, small))

    assert got[large] == pytest.approx(got[small], rel=0.05)


def test_the_streams_of_one_user_share_alike_whatever_their_chunks() -> None:
    large, small = ("a", MIB), ("a", 16 * KIB)
    got = run_jumping(takes_for(Pace(25e6), 20.0, large, small))

    assert got[large] == pytest.approx(got[small], rel=0.05)


def test_a_user_with_many_streams_gets_no_more_than_one_with_one() -> None:
    many = [("many", 500 * KIB + number) for number in range(9)]
    got = run_jumping(takes_for(Pace(25e6), 20.0, *many, ("one", 500 * KIB)))

    assert got["one", 500 * KIB] == pytest.approx(got.total() / 2, rel=0.05)
    assert min(got[each] for each in many) > 0.8 * got.total() / 18


def test_a_slow_stream_leaves_its_part_to_the_others() -> None:
    async def run() -> Counter[tuple[str, int]]:
        pace = Pace(10e6)
        async with asyncio.TaskGroup() as tasks:
            slow = tasks.create_task(takes_for(pace, 10.0, ("slow", 100_000), busy_seconds=0.1))
            fast = tasks.create_task(takes_for(pace, 10.0, ("fast", MIB)))
        return slow.result() + fast.result()

    got = run_jumping(run())
    assert got.total() >= 0.95 * 100e6 - 2 * MIB
    assert got["fast", MIB] >= 85e6


def test_one_who_gives_up_waiting_pays_nothing() -> None:
    async def run() -> float:
        pace, loop = Pace(1e6), asyncio.get_running_loop()
        began_at = loop.time()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(pace.keep(1_000_000))
            given_up = [tasks.create_task(pace.keep(1_000_000)) for _ in range(5)]
            await asyncio.sleep(0.5)
            for task in given_up:
                task.cancel()
            tasks.create_task(pace.keep(1_000_000))
        return loop.time() - began_at

    assert run_jumping(run()) == pytest.approx(2.0, rel=0.01)


def test_one_who_gives_up_while_paying_leaves_the_rate_to_others() -> None:
    async def run() -> float:
        pace, loop = Pace(1e6), asyncio.get_running_loop()
        began_at = loop.time()
        async with asyncio.TaskGroup() as tasks:
            paying = tasks.create_task(pace.keep(10_000_000))
            await asyncio.sleep(0)
            tasks.create_task(pace.keep(1_000_000))
            await asyncio.sleep(1.0)
            paying.cancel()
        return loop.time() - began_at

    assert run_jumping(run()) == pytest.approx(2.0, abs=LATE_SECONDS + 0.01)


def test_without_a_limit_nothing_waits() -> None:
    async def run() -> None:
        pace = Pace(None)
        with pace.share("a") as share:
            await share.keep(1 << 60)
        await pace.keep(1 << 60)

    run_jumping(run())


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, MIB)), min_size=1, max_size=6))
def test_whoever_always_wants_more_is_never_more_than_two_chunks_behind(
    streams: list[tuple[str, int]],
) -> None:
    fairness = Fairness()
    flows = [fairness.open(user) for user, _ in streams]
    got: Counter[str] = Counter({user: 0 for user, _ in streams})
    for _ in range(400):
        for flow in flows:
            fairness.want(flow)
        flow = fairness.next_of(flows)
        size_bytes = streams[flows.index(flow)][1]
        fairness.took(flow, size_bytes)
        got[flow.user] += size_bytes

    assert max(got.values()) - min(got.values()) <= 2 * MIB


def test_leaving_and_coming_back_is_no_gain() -> None:
    fairness = Fairness()
    stays, leaves = fairness.open("stays"), fairness.open("leaves")
    for flow in (stays, leaves):
        fairness.want(flow)
    fairness.took(leaves, 100)
    fairness.close(leaves)
    back = fairness.open("leaves")
    fairness.want(back)

    assert fairness.next_of([back, stays]) is stays


@pytest.mark.parametrize(
    ("rate", "streams"), [(None, 4), (16 * KIB, 2), (100_000, 2), (800 * KIB, 3), (20e6, 4)]
)
def test_at_a_low_rate_few_streams_run(rate: float | None, streams: int) -> None:
    assert Pace(rate).streams(4) == streams
    assert Pace(rate).streams(1) == 1
