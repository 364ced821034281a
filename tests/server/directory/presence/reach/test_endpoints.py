"""The directory dials nobody who did not ask for it, and tells everybody what they can reach."""

import pytest

from p2p_server.directory.models import Endpoint, EndpointStatus, Verdict
from p2p_server.directory.presence.reach.endpoints import (
    Answer,
    candidates,
    canonical_host,
    is_pending,
    is_visible,
    network_of,
    shown_to,
    verdict,
)

PUBLIC, PRIVATE = "203.0.113.9", "10.0.0.5"
GLOBAL = "8.8.8.8"


def judged(host: str, port: int, observed_host: str) -> Verdict:
    (status,) = candidates([Endpoint(host, port)], observed_host, 0)
    return status.verdict


@pytest.mark.parametrize(
    "host",
    [
        "0.0.0.0",
        "0.1.2.3",
        "::",
        "224.0.0.1",
        "239.255.255.250",
        "ff02::1",
        "169.254.169.254",
        "fe80::1",
        "255.255.255.255",
        "240.0.0.1",
        "127.0.0.1",
        "127.9.9.9",
        "::1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "::7f00:1",
        "fe80::1%eth0",
        "localhost",
        "example.com",
        "0x7f.1",
        "2130706433",
        "127.1",
        "010.0.0.1",
        "[::1]",
        "8.8.8.8:80",
        "8.8.8.8/32",
        "",
        " 8.8.8.8",
        "x" * 5_000,
    ],
)
def test_what_is_never_dialled(host: str) -> None:
    assert judged(host, 4000, GLOBAL) is Verdict.REFUSED


@pytest.mark.parametrize("port", [0, -1, 65_536, 2**31 - 1])
def test_ports_that_are_none(port: int) -> None:
    assert judged(GLOBAL, port, GLOBAL) is Verdict.REFUSED


@pytest.mark.parametrize(
    ("host", "observed_host"),
    [
        (GLOBAL, PRIVATE),
        (PRIVATE, GLOBAL),
        ("2001:4860::1", GLOBAL),
        ("fd00::1", GLOBAL),
        ("100.64.0.1", GLOBAL),
        ("127.0.0.1", "127.0.0.1"),
        ("127.0.0.1", "::1"),
        ("::1", "127.0.0.1"),
    ],
)
def test_what_is_dialled(host: str, observed_host: str) -> None:
    assert judged(host, 4000, observed_host) is Verdict.PENDING


def test_one_address_has_one_spelling() -> None:
    assert canonical_host("::ffff:10.0.0.5") == "10.0.0.5"
    assert canonical_host("2001:DB8:0::1") == "2001:db8::1"
    assert canonical_host("nonsense") == ""


def test_candidates_are_named_once_and_the_observed_address_comes_last() -> None:
    found = candidates(
        [Endpoint("10.0.0.5", 1), Endpoint("::ffff:10.0.0.5", 1), Endpoint("10.0.0.6", 1)],
        observed_host="10.0.0.6",
        listen_port=2,
    )

    assert [str(status.endpoint) for status in found] == ["10.0.0.5:1", "10.0.0.6:1", "10.0.0.6:2"]


def test_an_overlong_host_is_cut_in_what_is_told() -> None:
    (status,) = candidates([Endpoint("x" * 5_000, 1)], GLOBAL, 0)

    assert len(status.endpoint.host) == 64


@pytest.mark.parametrize(
    ("host", "answer", "observed_host", "expected"),
    [
        (GLOBAL, Answer.THIS_PEER, GLOBAL, Verdict.REACHABLE),
        (PRIVATE, Answer.THIS_PEER, PRIVATE, Verdict.REACHABLE),
        ("127.0.0.1", Answer.THIS_PEER, "127.0.0.1", Verdict.REACHABLE),
        ("127.0.0.1", Answer.NOBODY, "127.0.0.1", Verdict.UNREACHABLE),
        (GLOBAL, Answer.NOBODY, GLOBAL, Verdict.UNREACHABLE),
        (GLOBAL, Answer.SOMEBODY_ELSE, GLOBAL, Verdict.UNREACHABLE),
        (PRIVATE, Answer.NOBODY, GLOBAL, Verdict.LOCAL_ONLY),
        (PRIVATE, Answer.NOBODY, "10.0.0.6", Verdict.LOCAL_ONLY),
        (PRIVATE, Answer.SOMEBODY_ELSE, GLOBAL, Verdict.LOCAL_ONLY),
        (PRIVATE, Answer.SOMEBODY_ELSE, "10.0.0.6", Verdict.UNREACHABLE),
        (PRIVATE, Answer.SOMEBODY_ELSE, "127.0.0.1", Verdict.UNREACHABLE),
        ("fd00::1", Answer.NOBODY, GLOBAL, Verdict.LOCAL_ONLY),
        ("100.64.0.1", Answer.NOBODY, GLOBAL, Verdict.LOCAL_ONLY),
        ("192.168.1.2", Answer.NOBODY, GLOBAL, Verdict.LOCAL_ONLY),
        ("172.16.0.1", Answer.NOBODY, GLOBAL, Verdict.LOCAL_ONLY),
        ("172.32.0.1", Answer.NOBODY, GLOBAL, Verdict.UNREACHABLE),
    ],
)
def test_verdicts(host: str, answer: Answer, observed_host: str, expected: Verdict) -> None:
    assert verdict(Endpoint(host, 4000), answer, observed_host) is expected


LOOPBACK = EndpointStatus(Endpoint("127.0.0.1", 1), Verdict.REACHABLE)
LAN = EndpointStatus(Endpoint(PRIVATE, 1), Verdict.LOCAL_ONLY)
WAN = EndpointStatus(Endpoint(GLOBAL, 1), Verdict.REACHABLE)
DEAD = EndpointStatus(Endpoint("8.8.4.4", 1), Verdict.UNREACHABLE)
EARLY = EndpointStatus(Endpoint("8.8.4.5", 1), Verdict.PENDING)
ALL = (DEAD, LAN, WAN, EARLY, LOOPBACK)


@pytest.mark.parametrize(
    ("requester", "expected"),
    [
        ("127.0.0.1", (LOOPBACK, WAN)),
        ("::1", (LOOPBACK, WAN)),
        ("9.9.9.9", (WAN,)),
        ("203.0.113.9", (WAN, LAN)),
        ("", (WAN,)),
    ],
)
def test_who_is_shown_what(requester: str, expected: tuple[EndpointStatus, ...]) -> None:
    shown = shown_to(requester, ALL, observed_host="203.0.113.9")

    assert shown == tuple(status.endpoint for status in expected)


def test_an_unknown_requester_is_nobody_s_neighbour() -> None:
    assert shown_to("", [LAN], observed_host="") == ()


def test_a_peer_is_visible_with_one_good_endpoint() -> None:
    assert is_visible([DEAD, LAN])
    assert is_visible([WAN])
    assert not is_visible([DEAD, EARLY])
    assert is_pending([WAN, EARLY])
    assert not is_pending([WAN, DEAD])


def test_a_holder_s_many_ipv6_addresses_count_as_one() -> None:
    assert network_of("2001:db8::1") == network_of("2001:db8::ffff:2")
    assert network_of("2001:db8:0:1::1") != network_of("2001:db8::1")
    assert network_of("10.0.0.1") != network_of("10.0.0.2")
