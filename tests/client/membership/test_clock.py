from datetime import UTC, datetime, timedelta

from p2p_client.membership.clock import DirectoryClock

NOON = datetime(2024, 5, 6, 12, tzinfo=UTC)


def test_our_own_clock_counts_only_until_the_first_answer() -> None:
    clock = DirectoryClock(NOON + timedelta(hours=7), 100.0)
    assert clock.now(110.0) == NOON + timedelta(hours=7, seconds=10)

    clock.observe(NOON, 120.0)

    assert clock.now(150.0) == NOON + timedelta(seconds=30)


def test_the_latest_answer_counts() -> None:
    clock = DirectoryClock(NOON, 0.0)
    clock.observe(NOON, 10.0)
    clock.observe(NOON - timedelta(days=1), 20.0)

    assert clock.now(20.0) == NOON - timedelta(days=1)
