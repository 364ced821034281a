"""Where a peer says it can be reached, what is believed of it, and who is told.

The directory dials what a stranger names, so what it dials and whom it sends there is decided with
care: nobody can point a swarm at a third party, and the directory is no port scanner.
"""

import ipaddress
from collections.abc import Iterable, Sequence
from enum import Enum
from functools import lru_cache

from p2p_server.directory.models import Endpoint, EndpointStatus, Verdict

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_MAX_HOST_CHARACTERS = 64
_THIS_NETWORK = ipaddress.ip_network("0.0.0.0/8")
_PRIVATE = tuple(
    ipaddress.ip_network(text)
    for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7")
)


class Answer(Enum):
    """What was found at an endpoint that was dialled."""

    THIS_PEER = "this peer"
    SOMEBODY_ELSE = "somebody else"
    NOBODY = "nobody"


def address(host: str) -> Address | None:
    """The address a literal stands for, IPv4 in IPv6 unwrapped; None: not a literal of ours."""
    if len(host) > _MAX_HOST_CHARACTERS or "%" in host:  # a zone means nothing to others
        return None
    try:
        found = ipaddress.ip_address(host)
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return mapped or found


def canonical_host(host: str) -> str:
    """One spelling for one address; what is not an address literal: empty."""
    found = address(host)
    return str(found) if found is not None else ""


@lru_cache(maxsize=4_096)  # asked for each peer of each page, and parsing takes the most of it
def is_loopback(host: str) -> bool:
    found = address(host)
    return found is not None and found.is_loopback


def network_of(host: str) -> str:
    """Whose address that is, for counting: in IPv6 a /64 is one holder's."""
    found = address(host)
    if isinstance(found, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((found, 64), strict=False))
    return str(found)


def candidates(
    offered: Iterable[Endpoint], observed_host: str, listen_port: int
) -> list[EndpointStatus]:
    """All that a peer might be reached at, each once, PENDING or REFUSED.

    The address that the directory sees the peer at comes last: peers name those first that they
    prefer.
    """
    endpoints = [_canonical(endpoint) for endpoint in offered]
    if listen_port:
        endpoints.append(Endpoint(observed_host, listen_port))
    return [
        EndpointStatus(
            endpoint, Verdict.PENDING if may_dial(endpoint, observed_host) else Verdict.REFUSED
        )
        for endpoint in dict.fromkeys(endpoints)
    ]


def _canonical(endpoint: Endpoint) -> Endpoint:
    host = canonical_host(endpoint.host) or endpoint.host[:_MAX_HOST_CHARACTERS]
    return Endpoint(host, endpoint.port)


def may_dial(endpoint: Endpoint, observed_host: str) -> bool:
    """Whether the directory may connect there for a peer that it sees at `observed_host`.

    To be asked again right before connecting.
    """
    target = address(endpoint.host)
    if target is None or not 1 <= endpoint.port <= 65_535:
        return False
    if target.is_loopback:  # only a peer of this very machine can mean this machine
        return is_loopback(observed_host)
    return not (
        target.is_unspecified
        or target.is_multicast
        or target.is_link_local
        or target.is_reserved
        or (target.version == 4 and target in _THIS_NETWORK)
    )


def verdict(endpoint: Endpoint, answer: Answer, observed_host: str) -> Verdict:
    """What an answer means for an endpoint.

    A private address that the directory cannot reach may still serve the peer's neighbours, unless
    the directory seems to be such a neighbour itself: it sees the peer at that very address, or met
    somebody else there.
    """
    if answer is Answer.THIS_PEER:
        return Verdict.REACHABLE
    target, seen_at = address(endpoint.host), address(observed_host)
    if target is None or not any(target in network for network in _PRIVATE):
        return Verdict.UNREACHABLE
    is_neighbour = seen_at is None or not seen_at.is_global
    if target == seen_at or (answer is Answer.SOMEBODY_ELSE and is_neighbour):
        return Verdict.UNREACHABLE
    return Verdict.LOCAL_ONLY


def is_visible(statuses: Iterable[EndpointStatus]) -> bool:
    """Whether the peer is listed: somebody may be told one of its endpoints."""
    return any(s.verdict in {Verdict.REACHABLE, Verdict.LOCAL_ONLY} for s in statuses)


def is_pending(statuses: Iterable[EndpointStatus]) -> bool:
    return any(s.verdict is Verdict.PENDING for s in statuses)


def shown_to(
    requester_host: str, statuses: Sequence[EndpointStatus], observed_host: str
) -> tuple[Endpoint, ...]:
    """The endpoints that a requester is told, best first."""
    near = bool(requester_host) and requester_host == observed_host
    own_machine = is_loopback(requester_host)
    loopback: list[Endpoint] = []
    proven: list[Endpoint] = []
    unproven: list[Endpoint] = []
    for status in statuses:
        if status.verdict is Verdict.REACHABLE:
            if not is_loopback(status.endpoint.host):
                proven.append(status.endpoint)
            elif own_machine:
                loopback.append(status.endpoint)
        elif status.verdict is Verdict.LOCAL_ONLY and near:
            unproven.append(status.endpoint)
    return (*loopback, *proven, *unproven)
