"""What a peer that registers is told of its endpoints, and what others are told of them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import ifaddr
import pytest
from tests.contract.conftest import Served
from tests.support.certificates import peer_key_pair
from tests.support.directory.listening import Listener, listen_as
from tests.support.directory.raw import RawDirectory, RawSession, resource
from tests.support.directory.running import directory_running

from p2p.v1 import directory_pb2 as pb
from p2p_server.directory.models import Endpoint, Verdict
from p2p_server.directory.presence.reach.endpoints import Answer, verdict

REACHABLE = pb.ENDPOINT_VERDICT_REACHABLE
UNREACHABLE = pb.ENDPOINT_VERDICT_UNREACHABLE
REFUSED = pb.ENDPOINT_VERDICT_REFUSED
LOCAL_ONLY = pb.ENDPOINT_VERDICT_LOCAL_ONLY


async def verdicts(session: RawSession) -> list[Any]:
    return [status.verdict for status in await session.judged()]


async def test_a_peer_is_listed_at_the_address_it_is_seen_at(served: Served) -> None:
    pair = peer_key_pair()
    listener = await listen_as(pair)
    alice = await served.raw.register("alice", pair, listed=True, listen_port=listener.port)

    assert await verdicts(alice) == [REACHABLE]
    (peer,) = (await alice.list_peers()).peers
    listener.close()
    assert [(e.host, e.port) for e in peer.endpoints] == [("127.0.0.1", listener.port)]


@pytest.mark.slow
async def test_while_a_verdict_is_pending_the_next_heartbeat_is_soon(served: Served) -> None:
    silent = await listen_as(None)
    alice = await served.raw.register("alice", listed=True, endpoints=[silent.endpoint])

    interval = alice.granted.heartbeat_interval.ToTimedelta().total_seconds()
    assert interval == 0.25
    assert alice.granted.endpoint_statuses[0].verdict == pb.ENDPOINT_VERDICT_PENDING
    assert await verdicts(alice) == [UNREACHABLE]
    silent.close()
    assert (await alice.heartbeat()).heartbeat_interval.seconds == 10


async def test_somebody_else_s_address_is_not_listed(served: Served) -> None:
    victim = await served.raw.share("victim")
    address = served.raw.listeners[0].endpoint

    mallory = await served.raw.register("mallory", listed=True, endpoints=[address])

    assert await verdicts(mallory) == [UNREACHABLE]
    await mallory.announce(resource("fake.txt"))
    assert not (await victim.query(owner="mallory")).listed_resources
    assert [peer.user for peer in (await victim.list_peers()).peers] == ["victim"]


async def test_a_victim_is_dialled_a_few_times_whatever_is_advertised(served: Served) -> None:
    dialled = 0

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal dialled
        dialled += 1
        writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    endpoint = {"host": "127.0.0.1", "port": server.sockets[0].getsockname()[1]}
    pair = peer_key_pair()

    for _ in range(10):
        peer = await served.raw.register(
            "mallory", pair, peer_id="x" * 16, listed=True, endpoints=[endpoint] * 16
        )
        assert await verdicts(peer) == [UNREACHABLE]
    server.close()

    assert dialled == 1, "the answer is remembered"


@pytest.mark.parametrize(
    "host",
    ["0.0.0.0", "::", "224.0.0.1", "169.254.169.254", "fe80::1", "example.com", "127.1", ""],
)
async def test_what_is_never_dialled_is_refused_at_once(served: Served, host: str) -> None:
    alice = await served.raw.register(
        "alice", listed=True, endpoints=[{"host": host, "port": 4000}]
    )

    assert [s.verdict for s in alice.granted.endpoint_statuses] == [REFUSED]
    assert alice.granted.heartbeat_interval.seconds == 10


async def test_a_private_address_that_does_not_answer_is_for_neighbours(served: Served) -> None:
    private = own_address(lambda address: verdict_of_silence(address) is Verdict.LOCAL_ONLY)
    closed = await listen_as(None, private)
    closed.close()
    alice = await served.raw.register("alice", listed=True, endpoints=[closed.endpoint])
    assert await verdicts(alice) == [LOCAL_ONLY]
    bob = await served.raw.register("bob")

    (peer,) = (await bob.list_peers()).peers
    assert [e.host for e in peer.endpoints] == [private], "seen at the same address"


def verdict_of_silence(host: str) -> Verdict:
    return verdict(Endpoint(host, 1), Answer.NOBODY, "8.8.8.8")


@pytest.fixture
async def two_hosts(tmp_path: Path) -> AsyncIterator[tuple[RawDirectory, RawDirectory]]:
    """One directory, spoken to through loopback and through another address of this machine."""
    address = own_address()
    async with directory_running(tmp_path, listen="0.0.0.0") as (running, _):
        port = running.listen.port
        async with (
            RawDirectory.at("127.0.0.1", port) as near,
            RawDirectory.at(address, port) as far,
        ):
            yield near, far


def own_address(fits: Callable[[str], bool] = lambda address: ":" not in address) -> str:
    """An address of this machine that is neither loopback nor link-local."""
    for adapter in ifaddr.get_adapters():
        for ip in adapter.ips:
            found = ip_address(ip.ip if isinstance(ip.ip, str) else ip.ip[0])
            if not found.is_loopback and not found.is_link_local and fits(str(found)):
                return str(found)
    pytest.skip("this machine has no such address")


async def test_loopback_is_shown_on_loopback_alone(
    two_hosts: tuple[RawDirectory, RawDirectory],
) -> None:
    near, far = two_hosts
    pair = peer_key_pair()
    listeners: list[Listener] = [await listen_as(pair, host) for host in ("127.0.0.1", "0.0.0.0")]
    own = {"host": own_address(), "port": listeners[1].port}
    alice = await near.register("alice", pair, listed=True, endpoints=[own, listeners[0].endpoint])
    assert await verdicts(alice) == [REACHABLE, REACHABLE]

    (seen_near,) = (await (await near.register("bob")).list_peers()).peers
    (seen_far,) = (await (await far.register("cem")).list_peers()).peers
    for listener in listeners:
        listener.close()

    assert [e.host for e in seen_near.endpoints] == ["127.0.0.1", own["host"]]
    assert [e.host for e in seen_far.endpoints] == [own["host"]]


async def test_a_stranger_s_loopback_is_refused(
    two_hosts: tuple[RawDirectory, RawDirectory],
) -> None:
    _, far = two_hosts

    alice = await far.register("alice", listed=True, endpoints=[{"host": "127.0.0.1", "port": 22}])

    assert [s.verdict for s in alice.granted.endpoint_statuses] == [REFUSED]


async def test_a_source_that_the_caller_cannot_reach_is_not_located(
    two_hosts: tuple[RawDirectory, RawDirectory],
) -> None:
    near, far = two_hosts
    alice = await near.share("alice")
    await alice.announce(resource("a.txt"))
    digest = resource("a.txt").digest
    bob, cem = await near.register("bob"), await far.register("cem")

    assert (await bob.locate(digest)).sources
    assert not (await cem.locate(digest)).holdings


@pytest.mark.slow
async def test_an_insecure_directory_has_the_peer_sign(tmp_path: Path) -> None:
    async with directory_running(tmp_path, insecure=True) as (_, raw):
        listener = await listen_as(None)
        alice = await raw.register("alice", listed=True, endpoints=[listener.endpoint])

        assert await verdicts(alice) == [UNREACHABLE]
        listener.close()
