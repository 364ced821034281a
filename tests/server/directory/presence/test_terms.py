"""Leases grow with the number of peers, so that heartbeats stay few."""

import pytest

from p2p_server.directory.presence.leases import (
    LONGEST_LEASE_SECONDS,
    MOST_HEARTBEATS_PER_SECOND,
    LeaseTerms,
    spread,
)


@pytest.mark.parametrize("sessions", [0, 1, 100, 2_000])
def test_with_few_peers_the_lease_is_the_shortest(sessions: int) -> None:
    terms = LeaseTerms(30.0, is_exact=False).of(sessions)

    assert (terms.lease_seconds, terms.heartbeat_seconds) == (30.0, 10.0)


@pytest.mark.parametrize("sessions", [2_001, 5_000, 10_000, 20_000])
def test_with_many_the_heartbeats_stay_few(sessions: int) -> None:
    terms = LeaseTerms(30.0, is_exact=False).of(sessions)

    assert sessions / terms.heartbeat_seconds <= MOST_HEARTBEATS_PER_SECOND + 1e-9
    assert 30.0 < terms.lease_seconds <= LONGEST_LEASE_SECONDS


def test_no_lease_is_longer_than_five_minutes() -> None:
    assert LeaseTerms(30.0, is_exact=False).of(10**6).lease_seconds == LONGEST_LEASE_SECONDS
    assert LeaseTerms(900.0, is_exact=False).of(10**6).lease_seconds == 900.0


@pytest.mark.parametrize("sessions", [0, 10**6])
def test_a_lease_that_was_asked_for_is_exact(sessions: int) -> None:
    assert LeaseTerms(7.0, is_exact=True).of(sessions).lease_seconds == 7.0


def test_those_who_come_at_once_are_spread_over_half_an_interval() -> None:
    intervals = [spread(10.0, number.to_bytes(2, "big")) for number in range(0, 1 << 16, 64)]

    assert 5.0 <= min(intervals) < 5.1
    assert 9.9 < max(intervals) <= 10.0
    halves = sum(interval < 7.5 for interval in intervals)
    assert halves == len(intervals) // 2
