"""A lease ends when it should, neither earlier nor later, however often it is renewed."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from p2p_server.directory.presence.leases import LeaseClock, Leases

keys = st.sampled_from("abcdefgh")


class LeasesAgreeWithAPlainDict(RuleBasedStateMachine):
    """The heap is an optimisation; a dict of ends is the specification."""

    def __init__(self) -> None:
        super().__init__()
        self.leases: Leases[str] = Leases()
        self.model: dict[str, float] = {}
        self.now = 0.0

    @rule(key=keys, seconds=st.floats(0, 10))
    def grant(self, key: str, seconds: float) -> None:
        self.leases.grant(key, self.now + seconds)
        self.model[key] = self.now + seconds

    @rule(key=keys)
    def revoke(self, key: str) -> None:
        self.leases.revoke(key)
        self.model.pop(key, None)

    @rule(seconds=st.floats(0, 5))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def sweep(self) -> None:
        expected = {key for key, ends_at in self.model.items() if ends_at <= self.now}
        expired = self.leases.expire(self.now)
        assert len(expired) == len(set(expired))
        assert set(expired) == expected
        for key in expected:
            del self.model[key]

    @rule(key=keys)
    def renew_often(self, key: str) -> None:
        for i in range(40):
            self.grant(key, i / 10)

    @invariant()
    def the_same_keys_hold(self) -> None:
        assert len(self.leases) == len(self.model)
        assert all(key in self.leases for key in self.model)

    @invariant()
    def renewals_do_not_pile_up(self) -> None:
        assert len(self.leases._heap) <= 2 * len(self.model) + 64


TestLeases = LeasesAgreeWithAPlainDict.TestCase
TestLeases.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)


def test_leases_expire_earliest_first() -> None:
    leases: Leases[str] = Leases()
    for key, ends_at in (("late", 3.0), ("early", 1.0), ("middle", 2.0)):
        leases.grant(key, ends_at)

    assert leases.expire(5) == ["early", "middle", "late"]


def test_lease_time_goes_with_the_clock_while_it_is_looked_at() -> None:
    clock = LeaseClock(100.0, longest_step_seconds=0.5)

    assert [round(clock.look(100 + i / 4), 6) for i in range(1, 5)] == [0.25, 0.5, 0.75, 1.0]


def test_a_pause_of_the_directory_is_not_charged() -> None:
    clock = LeaseClock(100.0, longest_step_seconds=0.5)

    assert clock.look(160.0) == 0.5
    assert clock.look(160.25) == 0.75


def test_a_directory_that_is_always_late_still_ends_leases() -> None:
    clock = LeaseClock(0.0, longest_step_seconds=0.5)
    for at in range(1, 61):
        time = clock.look(float(at))

    assert time == 30.0
