"""Several directories on one PostgreSQL are one network: killed, cut off, restarted; for real."""

import time
from collections.abc import Iterator

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tests.support.programs.network import Directory, Network, Sharer, User
from tests.support.programs.postgres import Cluster, a_cluster
from tests.support.programs.processes import eventually, json_lines

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

LEASE_SECONDS = 6.0


def two_instances(network: Network, database: str, *, insecure: bool = False) -> list[Directory]:
    return [
        network.directory(
            name=name,
            lease_seconds=LEASE_SECONDS,
            arguments=("--store", database),
            insecure=insecure,
        )
        for name in ("one", "two")
    ]


def at(*directories: Directory) -> dict[str, str]:
    return {"P2P_SERVER": ",".join(directory.address for directory in directories)}


def found(user: User, *directories: Directory) -> set[str]:
    ended = user.run("search", "--json", environment=at(*directories))
    assert ended.ok
    return {row["path"] for row in ended.records}


def share(user: User, path: str, *directories: Directory) -> Sharer:
    program = user.start("--json", "share", path, environment=at(*directories))
    return Sharer(program, program.wait_for_event("ready"))


def health_of(directory: Directory) -> int:
    with grpc.insecure_channel(directory.address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        return int(stub.Check(health_pb2.HealthCheckRequest(), timeout=5).status)


@pytest.fixture
def own_cluster() -> Iterator[Cluster]:
    """A server that may be stopped."""
    with a_cluster() as cluster:
        yield cluster


def test_instances_are_one_directory(network: Network, database: str) -> None:
    one, two = two_instances(network, database)
    alice, bob = network.user("alice"), network.user("bob")
    alice.file("docs/a.txt", "a")

    sharer = share(alice, "docs", one)

    assert one.fingerprint == two.fingerprint
    assert found(bob, two) == {"docs/a.txt"}
    alice.file("docs/b.txt", "b")
    eventually(lambda: found(bob, two) == {"docs/a.txt", "docs/b.txt"})
    assert bob.run("get", "b.txt", environment=at(two)).ok  # the source knows the grant of either
    assert sharer.stop().ok
    assert found(bob, two) == set()


def test_an_instance_that_is_killed_loses_nothing_and_nobody(
    network: Network, database: str
) -> None:
    one, two = two_instances(network, database)
    alice, bob, carl = (network.user(name) for name in ("alice", "bob", "carl"))
    alice.file("docs/a.txt", "a")
    carl.file("c.txt", "c")
    share(alice, "docs", one, two)
    share(carl, "c.txt", two, one)
    both = {"docs/a.txt", "c.txt"}
    assert found(bob, one, two) == both

    one.kill()
    killed_at = time.monotonic()

    assert found(bob, one, two) == both
    assert time.monotonic() - killed_at < 5
    alice.file("docs/after.txt", "announced to the other one")
    eventually(lambda: found(bob, one, two) == both | {"docs/after.txt"}, within_seconds=15)
    while time.monotonic() - killed_at < 2 * LEASE_SECONDS:
        assert found(bob, two) == both | {"docs/after.txt"}, "alice heartbeats at the other one"
    assert bob.run("get", "after.txt", environment=at(one, two)).ok

    network.restart(one)

    assert found(bob, one) == both | {"docs/after.txt"}


def test_a_peer_that_is_killed_is_gone_from_every_instance(network: Network, database: str) -> None:
    one, two = two_instances(network, database)
    alice, bob = network.user("alice"), network.user("bob")
    alice.file("a.txt", "a")
    sharer = share(alice, "a.txt", one)
    assert found(bob, two) == {"a.txt"}

    one.kill()  # which alone had heard of it
    sharer.kill()

    eventually(lambda: not found(bob, two), within_seconds=2 * LEASE_SECONDS + 5)


def test_while_postgresql_is_away_nobody_is_expired_and_health_tells(
    network: Network, own_cluster: Cluster
) -> None:
    one, two = two_instances(network, own_cluster.database(), insecure=True)
    alice, bob = network.user("alice"), network.user("bob")
    alice.file("docs/a.txt", "a")
    sharer = share(alice, "docs", one, two)
    assert found(bob, two) == {"docs/a.txt"}
    serving, not_serving = (
        health_pb2.HealthCheckResponse.SERVING,
        (health_pb2.HealthCheckResponse.NOT_SERVING),
    )
    assert [health_of(directory) for directory in (one, two)] == [serving, serving]

    own_cluster.stop()
    stopped_at = time.monotonic()

    for directory in (one, two):
        eventually(lambda directory=directory: health_of(directory) == not_serving)  # type: ignore[misc]  # mypy#10740
    said = bob.run("search", "--json", environment=at(one, two))
    assert said.event("error")["reason"] == "STORE_UNAVAILABLE"
    while time.monotonic() - stopped_at < 2.5 * LEASE_SECONDS:
        time.sleep(0.1)
    own_cluster.start()

    for directory in (one, two):
        eventually(lambda directory=directory: health_of(directory) == serving)  # type: ignore[misc]  # mypy#10740
    assert found(bob, one) == {"docs/a.txt"}
    assert found(bob, two) == {"docs/a.txt"}
    alice.file("docs/b.txt", "announced after the outage")
    eventually(lambda: found(bob, two) == {"docs/a.txt", "docs/b.txt"}, within_seconds=30)
    resumed_at = time.monotonic()
    while time.monotonic() - resumed_at < 1.5 * LEASE_SECONDS:
        assert found(bob, two) == {"docs/a.txt", "docs/b.txt"}
    assert sharer.program.running
    for directory in (one, two):
        assert "expired" not in directory.program.stderr


def test_while_postgresql_is_silent_nobody_is_expired(
    network: Network, own_cluster: Cluster
) -> None:
    """It keeps its sockets and says nothing, as behind a firewall that drops what passes."""
    one, two = two_instances(network, own_cluster.database(), insecure=True)
    alice, bob = network.user("alice"), network.user("bob")
    alice.file("a.txt", "a")
    share(alice, "a.txt", one, two)
    not_serving = health_pb2.HealthCheckResponse.NOT_SERVING

    own_cluster.pause()
    try:
        eventually(lambda: health_of(one) == not_serving, within_seconds=20)
        time.sleep(2 * LEASE_SECONDS)
    finally:
        own_cluster.resume()

    eventually(lambda: health_of(one) != not_serving, within_seconds=30)
    assert found(bob, two, one) == {"a.txt"}
    assert "expired" not in one.program.stderr + two.program.stderr


def test_a_watch_at_one_instance_sees_what_is_announced_at_another(
    network: Network, database: str
) -> None:
    one, two = two_instances(network, database)
    alice, bob = network.user("alice"), network.user("bob")
    alice.file("docs/a.txt", "a")
    watch = bob.start("watch", "--json", environment=at(two))
    watch.wait_for_event("caught_up")

    sharer = share(alice, "docs", one)
    eventually(lambda: "docs/a.txt" in watch.stdout)
    alice.file("docs/b.txt", "b")
    eventually(lambda: "docs/b.txt" in watch.stdout)
    assert sharer.stop().ok
    eventually(lambda: '"peer_left"' in watch.stdout)

    told = [(str(row["event"]), row.get("path")) for row in json_lines(watch.stdout)]
    assert ("appeared", "docs/b.txt") in told
    assert ("gone", "docs/a.txt") in told


def test_a_watch_goes_on_at_another_instance(network: Network, database: str) -> None:
    one, two = two_instances(network, database)
    alice, bob = network.user("alice"), network.user("bob")
    alice.file("docs/a.txt", "a")
    share(alice, "docs", two)
    watch = bob.start("watch", "--json", environment=at(one, two))
    watch.wait_for_event("caught_up")

    one.kill()
    watch.wait_for_event("started_anew")
    alice.file("docs/b.txt", "b")

    eventually(lambda: "docs/b.txt" in watch.stdout)
