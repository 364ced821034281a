"""Turns a minute, for each who takes them."""

from p2p_server.directory.checks.rates import Rates


def test_a_minute_s_worth_may_be_taken_at_once_and_comes_back_evenly() -> None:
    rates: Rates[str] = Rates(60)

    assert [rates.take("ann", 0.0) for _ in range(60)] == [0.0] * 60
    assert rates.take("ann", 0.0) == 1.0
    assert rates.take("ann", 0.5) == 0.5
    assert rates.take("ann", 1.0) == 0.0
    assert rates.take("bob", 1.0) == 0.0


def test_no_limit_is_no_limit() -> None:
    rates: Rates[str] = Rates(0)

    assert not any(rates.take("ann", 0.0) for _ in range(10_000))


def test_who_was_not_seen_for_a_minute_is_forgotten() -> None:
    rates: Rates[int] = Rates(10)
    for number in range(10_000):
        rates.take(number, float(number))

    assert len(rates._left) < 2_000
