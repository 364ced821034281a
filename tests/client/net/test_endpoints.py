"""We offer addresses at which others might reach us, and none that could never serve."""

import ipaddress

import ifaddr
import pytest

from p2p_client.config import Address
from p2p_client.models import Endpoint
from p2p_client.net.endpoints import candidate_endpoints

EVERYWHERE = Address("::", 0)
FAR = (Address("198.51.100.1", 50051),)


@pytest.fixture(autouse=True)
def interfaces(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host with a LAN address, a global one, and what must not be offered."""

    def adapter(name: str, *ips: object) -> ifaddr.Adapter:
        return ifaddr.Adapter(name, name, [ifaddr.IP(ip, 24, name) for ip in ips])  # type: ignore[arg-type]  # either kind of address

    adapters = [
        adapter("lo", "127.0.0.1", ("::1", 0, 0)),
        adapter("eth0", ("2001:db8::5", 0, 0), ("fe80::1", 0, 2), "192.168.1.5"),
        adapter("zeroconf", "169.254.3.4"),
    ]
    monkeypatch.setattr(ifaddr, "get_adapters", lambda: adapters)


async def test_all_interfaces_are_offered_but_loopback_and_link_local() -> None:
    assert await candidate_endpoints(EVERYWHERE, 7, (), FAR) == (
        Endpoint("192.168.1.5", 7),
        Endpoint("2001:db8::5", 7),
    )


async def test_a_listener_on_ipv4_offers_ipv4() -> None:
    assert await candidate_endpoints(Address("0.0.0.0", 0), 7) == (Endpoint("192.168.1.5", 7),)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
async def test_loopback_is_offered_where_the_directory_is_there(host: str) -> None:
    offered = await candidate_endpoints(EVERYWHERE, 7, (), [Address(host, 50051)])

    assert offered[-2:] == (Endpoint("127.0.0.1", 7), Endpoint("::1", 7))


async def test_one_address_listened_at_is_the_one_offered() -> None:
    assert await candidate_endpoints(Address("127.0.0.1", 0), 7) == (Endpoint("127.0.0.1", 7),)


async def test_what_the_user_advertises_comes_first_with_its_own_port() -> None:
    advertise = [Address("203.0.113.9", 8000), Address("2001:db8::9", 0)]

    offered = await candidate_endpoints(EVERYWHERE, 7, advertise, FAR)

    assert offered[:2] == (Endpoint("203.0.113.9", 8000), Endpoint("2001:db8::9", 7))


async def test_names_are_resolved_here_and_unknown_ones_left_out() -> None:
    advertise = [Address("localhost", 8000), Address("nowhere.invalid", 8000)]

    offered = await candidate_endpoints(Address("127.0.0.1", 0), 7, advertise)

    assert Endpoint("127.0.0.1", 8000) in offered
    assert all(ipaddress.ip_address(at.host) for at in offered)


async def test_there_are_never_more_than_register_takes() -> None:
    advertise = [Address("203.0.113.9", port) for port in range(1, 100)]

    assert len(await candidate_endpoints(EVERYWHERE, 7, advertise)) == 15
