"""A challenge is good once, for a minute, at the directory that made it."""

import pytest

from p2p_server.directory.errors import ChallengeInvalid, Overloaded
from p2p_server.directory.trust import challenges
from p2p_server.directory.trust.challenges import LIFETIME_SECONDS, Challenges

NOW = 1_700_000_000.0


class Counting:
    """Entropy that never repeats and can be foreseen."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, size: int) -> bytes:
        self.count += 1
        return self.count.to_bytes(size, "big")


def of_one_secret(started_at: float = NOW) -> Challenges:
    return Challenges(b"secret", Counting(), started_at)


def test_a_fresh_challenge_passes() -> None:
    made = of_one_secret()

    made.check(made.make(NOW), NOW + LIFETIME_SECONDS)


def test_challenges_differ() -> None:
    made = of_one_secret()

    assert made.make(NOW) != made.make(NOW)


def test_a_used_challenge_is_refused_as_long_as_it_would_be_good() -> None:
    made = of_one_secret()
    challenge = made.make(NOW)
    made.check(challenge, NOW)
    made.use(challenge, NOW)
    made.use(made.make(NOW + 1), NOW + LIFETIME_SECONDS - 1)

    with pytest.raises(ChallengeInvalid, match="used before"):
        made.check(challenge, NOW + LIFETIME_SECONDS)


@pytest.mark.parametrize("seconds", [LIFETIME_SECONDS + 0.1, 1e6, -6.0])
def test_an_old_one_or_one_from_the_future_is_refused(seconds: float) -> None:
    made = of_one_secret()

    with pytest.raises(ChallengeInvalid):
        made.check(made.make(NOW), NOW + seconds)


def test_one_of_an_earlier_run_is_refused_for_it_may_have_been_used() -> None:
    challenge = of_one_secret().make(NOW)

    with pytest.raises(ChallengeInvalid, match="this run"):
        of_one_secret(NOW + 1).check(challenge, NOW + 2)


def test_another_instance_with_the_same_secret_takes_it() -> None:
    challenge = of_one_secret().make(NOW + 1)

    of_one_secret(NOW).check(challenge, NOW + 2)


def test_every_byte_is_sealed() -> None:
    made = of_one_secret()
    challenge = made.make(NOW)

    for at in range(len(challenge)):
        changed = bytearray(challenge)
        changed[at] ^= 1
        with pytest.raises(ChallengeInvalid):
            made.check(bytes(changed), NOW)
    for wrong in (b"", challenge[:-1], challenge + b"\0"):
        with pytest.raises(ChallengeInvalid):
            made.check(wrong, NOW)


def test_what_is_remembered_is_bounded_and_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(challenges, "MOST_REMEMBERED", 3)
    made = of_one_secret()
    for _ in range(3):
        made.use(made.make(NOW), NOW)

    with pytest.raises(Overloaded):
        made.use(made.make(NOW), NOW)
    made.use(made.make(NOW + 100), NOW + 100)
