"""Dialling is fair between networks, remembers, and ends where it could be misused."""

from p2p_server.directory.models import Endpoint, PeerId
from p2p_server.directory.presence.reach.dialling import (
    FAILURE_KEPT_SECONDS,
    FAILURE_WINDOW_SECONDS,
    FOUND_KEPT_SECONDS,
    MOST_FAILURES_PER_NETWORK,
    MOST_QUEUED_PER_NETWORK,
    Dialling,
    DialOrder,
)
from p2p_server.directory.presence.reach.endpoints import Answer


def order(port: int = 1, observed_host: str = "8.8.8.8", certificate: bytes = b"c") -> DialOrder:
    endpoint = Endpoint("9.9.9.9", port)
    return DialOrder(PeerId("p"), b"t", certificate, endpoint, observed_host)


def test_networks_take_turns() -> None:
    dialling = Dialling()
    for port in (1, 2, 3):
        dialling.add(order(port, "8.8.8.8"))
    dialling.add(order(4, "8.8.4.4"))

    taken = [dialling.take() for _ in range(5)]

    assert [o.endpoint.port if o else None for o in taken] == [1, 4, 2, 3, None]


def test_an_answer_is_known_for_a_while_to_the_same_peer_alone() -> None:
    dialling = Dialling()
    dialling.learn(order(), Answer.THIS_PEER, now=0)

    assert dialling.known(order(), FOUND_KEPT_SECONDS - 1) is Answer.THIS_PEER
    assert dialling.known(order(), FOUND_KEPT_SECONDS) is None
    assert dialling.known(order(certificate=b"other"), 1) is None
    assert dialling.known(order(port=2), 1) is None


def test_a_failure_is_known_for_a_shorter_while() -> None:
    dialling = Dialling()
    dialling.learn(order(), Answer.NOBODY, now=0)

    assert dialling.known(order(), FAILURE_KEPT_SECONDS - 1) is Answer.NOBODY
    assert dialling.known(order(), FAILURE_KEPT_SECONDS) is None


def test_a_network_with_too_many_failures_gets_no_more_dials_for_a_while() -> None:
    dialling = Dialling()
    for port in range(1, MOST_FAILURES_PER_NETWORK + 1):
        assert dialling.known(order(port), now=1) is None
        dialling.learn(order(port), Answer.NOBODY, now=1)

    assert dialling.known(order(60_000), now=2) is Answer.NOBODY
    assert dialling.known(order(60_000, "8.8.4.4"), now=2) is None
    assert dialling.known(order(60_000), now=2 + FAILURE_WINDOW_SECONDS) is None


def test_one_network_cannot_fill_the_queue() -> None:
    dialling = Dialling()

    added = [dialling.add(order(i + 1)) for i in range(MOST_QUEUED_PER_NETWORK + 1)]

    assert added == [True] * MOST_QUEUED_PER_NETWORK + [False]
    assert dialling.add(order(1, "8.8.4.4"))
