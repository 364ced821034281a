"""Several hosts, each with its own loopback: who can be reached by whom, and who is listed."""

from collections.abc import Iterator

import pytest
from tests.support.programs.hosts import Host, hosts, why_not
from tests.support.programs.network import Directory, Network, User
from tests.support.programs.processes import eventually

REASON = why_not()
pytestmark = [
    pytest.mark.slow,
    pytest.mark.netns,
    pytest.mark.skipif(REASON is not None, reason=REASON or ""),
]


@pytest.fixture
def three_hosts() -> Iterator[list[Host]]:
    with hosts(3) as made:
        yield made


def directory_on(network: Network, host: Host) -> Directory:
    return network.directory(listen="0.0.0.0:0", prefix=host.prefix)


def at(user: User, host: Host, directory: Directory, *arguments: str) -> tuple[str, ...]:
    """Arguments for a user that finds the directory under that host's address."""
    return ("--server", f"{host.address}:{directory.port}", *arguments)


def test_a_peer_beside_the_directory_is_reached_from_other_hosts(
    network: Network, three_hosts: list[Host]
) -> None:
    """It registers through 127.0.0.1, which means nothing to anybody else."""
    here, there, _ = three_hosts
    directory = directory_on(network, here)
    alice = network.user("alice", prefix=here.prefix)
    bob = network.user("bob", prefix=there.prefix)
    carol = network.user("carol", prefix=here.prefix)
    alice.file("a.txt", "across hosts")

    alice.share("a.txt")

    from_there = bob.run(*at(bob, here, directory, "search", "--json")).records
    assert [row["endpoint"].rpartition(":")[0] for row in from_there] == [here.address]
    assert bob.run(*at(bob, here, directory, "get", "a.txt")).ok
    assert (bob.folder / "a.txt").read_text() == "across hosts"
    assert carol.search()[0]["endpoint"] is not None
    assert carol.run("get", "a.txt").ok


def test_somebody_elses_address_is_not_listed(network: Network, three_hosts: list[Host]) -> None:
    here, victims, mallorys = three_hosts
    directory = directory_on(network, here)
    victim = network.user("victim", prefix=victims.prefix)
    mallory = network.user("mallory", prefix=mallorys.prefix)
    bob = network.user("bob", prefix=here.prefix)
    for user in (victim, mallory):
        user.file(f"{user.name}.txt", user.name)
    victim_share = victim.start(*at(victim, here, directory, "share", "victim.txt", "--json"))
    stolen = str(victim_share.wait_for_event("ready")["endpoint"])

    attack = mallory.start(
        *at(mallory, here, directory, "share", "mallory.txt", "--json", "--advertise", stolen)
    )
    attack.wait_for_event("ready")

    listed = {peer["user"]: peer["endpoint"] for peer in bob.peers()}
    assert listed["victim"] == stolen
    assert listed["mallory"].startswith(f"{mallorys.address}:")
    assert bob.run("get", "mallory.txt").ok


def test_a_peer_nobody_reaches_is_told_and_not_listed(
    network: Network, three_hosts: list[Host]
) -> None:
    here, there, _ = three_hosts
    directory = directory_on(network, here)
    alice = network.user("alice", prefix=there.prefix)
    bob = network.user("bob", prefix=here.prefix)
    alice.file("a.txt", "a")

    share = alice.start(
        *at(alice, here, directory, "share", "a.txt", "--json", "--listen", "127.0.0.1:0")
    )

    assert share.wait_for_event("ready")["endpoint"] is None
    share.wait_for_text("could not reach us")
    assert bob.search() == []
    assert bob.peers() == []


def test_a_source_that_drops_off_the_network_costs_only_what_was_in_flight(
    network: Network,
) -> None:
    """Two sources on slow links; the link of one is cut while both serve."""
    with hosts(3, rate="200mbit") as (here, first, second):
        directory = directory_on(network, here)
        content = bytes(range(256)) * (96 << 12)  # 96 MiB
        sharers = {}
        for name, host in (("first", first), ("second", second)):
            user = network.user(name, prefix=host.prefix)
            user.file("film.mkv", content)
            sharers[name] = user.start(*at(user, here, directory, "share", "film.mkv", "--json"))
            sharers[name].wait_for_event("ready")
        bob = network.user("bob", prefix=here.prefix)
        get = bob.start("get", "film.mkv", "--json")
        get.wait_for_event("progress", where=lambda event: event["verified_bytes"] > 16 << 20)

        sharers["first"].pause()

        finished = get.wait_for_event("finished", within_seconds=90)
        assert finished["size_bytes"] == len(content)
        assert finished["fetched_bytes"] < len(content) + (20 << 20)
        assert (bob.folder / "film.mkv").read_bytes() == content
        eventually(lambda: not get.running)
