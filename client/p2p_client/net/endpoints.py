"""Which addresses of ours to offer to the directory: the interfaces', and what the user names."""

import asyncio
import ipaddress
import socket
from collections.abc import Iterable, Sequence

from p2p_client.config import Address
from p2p_client.models import Endpoint
from p2p_client.net.checks import Literal, is_dialable, lawful_endpoint, parse_literal

MOST_CANDIDATES = 15  # one less than Register takes: the directory adds what it sees
RESOLVE_SECONDS = 3.0


async def candidate_endpoints(
    listen: Address,
    port: int,
    advertise: Sequence[Address] = (),
    directory: Sequence[Address] = (),
) -> tuple[Endpoint, ...]:
    """Where a peer that listens on `listen` (bound to `port`) might be reached, likeliest first.

    What the user advertises comes first, names resolved here; then the interfaces' addresses, where
    all are listened on. Loopback only where the directory itself is there: from elsewhere nobody
    could use it, and what the directory sees us at covers the rest. An advertised name that does
    not resolve is left out; port 0 in `advertise` means `port`.
    """
    hosts = await asyncio.gather(*(_resolve(address.host) for address in advertise))
    found = [
        Endpoint(host, address.port or port)
        for address, resolved in zip(advertise, hosts, strict=True)
        for host in resolved
    ]
    listening = await _resolve(listen.host)
    if any(ipaddress.ip_address(host).is_unspecified for host in listening):
        with_ipv6 = any(":" in host for host in listening)
        found += [Endpoint(host, port) for host in _interface_hosts(with_ipv6)]
        if await _is_on_loopback(directory):
            found += [Endpoint(host, port) for host in ("127.0.0.1", "::1")[: 1 + with_ipv6]]
    else:
        found += [Endpoint(host, port) for host in listening]
    lawful = (lawful_endpoint(endpoint.host, endpoint.port) for endpoint in found)
    return tuple(dict.fromkeys(at for at in lawful if at is not None))[:MOST_CANDIDATES]


def _interface_hosts(with_ipv6: bool) -> list[str]:
    """IPv4 first: where both work it is the one more often open between two peers."""
    import ifaddr  # it asks a program of the system's for the C library, at once

    literals = _literals(
        ip.ip if isinstance(ip.ip, str) else ip.ip[0]
        for adapter in ifaddr.get_adapters()
        for ip in adapter.ips
    )
    hosts = [at for at in literals if not at.is_loopback and is_dialable(at)]
    return [
        str(at) for at in sorted(hosts, key=lambda at: at.version) if at.version == 4 or with_ipv6
    ]


def _literals(hosts: Iterable[str]) -> list[Literal]:
    return [literal for host in hosts if (literal := parse_literal(host)) is not None]


async def _is_on_loopback(directory: Sequence[Address]) -> bool:
    for address in directory:
        literals = _literals(await _resolve(address.host))
        if any(literal.is_loopback for literal in literals):
            return True
    return False


async def _resolve(host: str) -> list[str]:
    literal = parse_literal(host)
    if literal is not None:
        return [str(literal)]
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(RESOLVE_SECONDS):
            found = await loop.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:  # a name that is not there; the timeout is one, too
        return []
    return list(dict.fromkeys(str(address[0]) for *_, address in found))
