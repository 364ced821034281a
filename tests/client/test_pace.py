"""A limit holds over time, whatever is taken and however many take it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p_client.pace import LATE_SECONDS, Bucket, Pace

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
def test_who_never_idles_gets_the_whole_rate(counts: list[int]) -> None:
    bucket, now = Bucket(RATE), 0.0
    for count in counts:
        now += bucket.take(count, now)

    assert now <= sum(counts) / RATE + 1e-6


def test_streams_that_share_a_limit_wait_behind_each_other() -> None:
    bucket = Bucket(RATE)

    waits = [bucket.take(1_000_000, 0.0) for _ in range(3)]

    assert waits == pytest.approx([1, 2, 3])


@pytest.mark.parametrize(
    ("rate", "chunk_bytes"),
    [(None, 1 << 20), (1e9, 1 << 20), (1_000_000.0, 125_000), (20_000.0, 16 << 10)],
)
def test_chunks_are_small_where_the_rate_is(rate: float | None, chunk_bytes: int) -> None:
    assert Pace(rate).chunk_bytes == chunk_bytes
