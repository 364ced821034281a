"""One host cannot have all the calls that a source answers at once."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p_client.upload.admission.callers import Callers
from p2p_client.upload.refusals import TooManyCalls


def test_a_host_that_takes_no_answers_leaves_room_for_the_others() -> None:
    callers = Callers(most_each=2)
    callers.came("ipv4:10.0.0.1")
    callers.came("ipv4:10.0.0.1")

    with pytest.raises(TooManyCalls):
        callers.came("ipv4:10.0.0.1")
    callers.came("ipv4:10.0.0.2")
    callers.left("ipv4:10.0.0.1")

    callers.came("ipv4:10.0.0.1")


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans())))
def test_no_host_ever_has_more_and_whoever_has_fewer_is_let_in(
    steps: list[tuple[str, bool]],
) -> None:
    callers, held = Callers(most_each=2), dict.fromkeys("abc", 0)
    for host, comes in steps:
        if comes:
            with contextlib.suppress(TooManyCalls):
                callers.came(host)
                held[host] += 1
                assert held[host] <= 2
                continue
            assert held[host] == 2
        elif held[host]:
            callers.left(host)
            held[host] -= 1
