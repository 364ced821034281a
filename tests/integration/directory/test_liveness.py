"""Who is listed, and who is not: leases, leaving, outages, restarts; with real processes."""

import time

import pytest
from tests.support.programs.network import Directory, Network, User
from tests.support.programs.processes import eventually

pytestmark = pytest.mark.slow

LEASE_SECONDS = 6.0


def owners(user: User) -> set[str]:
    return {row["owner"] for row in user.search()}


def test_a_killed_sharer_is_gone_within_its_lease(network: Network) -> None:
    network.directory(lease_seconds=LEASE_SECONDS)
    alice, bob = network.user("alice"), network.user("bob")
    alice.file("a.txt", "a")
    sharer = alice.share("a.txt")
    assert owners(bob) == {"alice"}

    sharer.kill()
    killed_at = time.monotonic()

    eventually(lambda: not owners(bob), within_seconds=LEASE_SECONDS + 2 - 0.5)
    assert time.monotonic() - killed_at <= LEASE_SECONDS + 2
    assert bob.peers() == []


def test_a_stopped_sharer_is_gone_when_it_has_ended(network: Network) -> None:
    network.directory()
    alice, bob = network.user("alice"), network.user("bob")
    alice.file("a.txt", "a")
    sharer = alice.share("a.txt")

    assert sharer.stop().ok

    assert owners(bob) == set()
    assert bob.peers() == []


def test_a_sharer_that_heartbeats_is_listed_for_longer_than_its_lease(network: Network) -> None:
    network.directory(lease_seconds=1)
    alice, bob = network.user("alice"), network.user("bob")
    alice.file("a.txt", "a")
    alice.share("a.txt")

    for _ in range(8):
        assert owners(bob) == {"alice"}


def test_a_killed_directory_comes_back_with_all_it_knew(network: Network) -> None:
    directory = network.directory(lease_seconds=LEASE_SECONDS)
    alice, bob = network.user("alice"), network.user("bob")
    alice.file("docs/a.txt", "a")
    sharer = alice.share("docs")
    directory.kill()
    assert bob.run("search").failed(5)

    network.restart(directory)

    eventually(lambda: owners(bob) == {"alice"}, within_seconds=15)
    alice.file("docs/new.txt", "announced after the restart")
    eventually(lambda: len(bob.search("new.txt")) == 1, within_seconds=15)
    assert sharer.program.running
    assert bob.run("get", "new.txt").ok


def test_a_directory_that_lost_its_disk_is_filled_again(network: Network) -> None:
    """Keys included: the operator restores the identity, or users pin the new one."""
    directory = network.directory(lease_seconds=LEASE_SECONDS, insecure=True)
    alice, bob = network.user("alice"), network.user("bob")
    alice.file("a.txt", "a")
    alice.share("a.txt")
    directory.kill()
    for file in (network.folder / "directory").iterdir():
        file.unlink()

    network.restart(directory)

    eventually(lambda: owners(bob) == {"alice"}, within_seconds=15)
    assert bob.run("get", "a.txt").ok


def test_a_directory_that_does_not_answer_is_told_within_15_seconds(network: Network) -> None:
    directory = network.directory()
    bob = network.user("bob")
    directory.program.pause()
    try:
        stuck = bob.run("search")
    finally:
        directory.program.resume()
    assert stuck.failed(5)
    assert stuck.seconds < 15

    directory.kill()
    absent = bob.run("get", "a.txt")
    assert "directory" in absent.failed(5)
    assert absent.seconds < 15


def test_a_second_directory_on_the_port_fails_loudly(network: Network) -> None:
    directory = network.directory()

    second = network.start_server("--listen", directory.address, "--state-dir", "second").wait()

    assert directory.address in second.failed(1)


def test_a_name_belongs_to_its_first_key_online_or_not(network: Network) -> None:
    network.directory()
    alice = network.user("alice")
    mallory = network.user("alice", folder="mallory")
    alice.file("a.txt", "a")
    sharer = alice.share("a.txt")

    assert "alice" in mallory.run("peers").failed(5)
    assert sharer.stop().ok
    assert mallory.run("peers", "--user", "ALICE").failed(5)
    error = mallory.run("peers", "--json").event("error")
    assert (error["code"], error["reason"]) == (5, "USERNAME_TAKEN")


def test_the_operator_frees_a_name_whose_key_was_lost(network: Network) -> None:
    directory = network.directory()
    alice, bob = network.user("alice"), network.user("bob")
    newcomer = network.user("alice", folder="newcomer")
    alice.file("a.txt", "a")
    sharer = alice.share("a.txt")
    assert newcomer.run("peers").failed(5)
    state = ("--state-dir", str(network.folder / "directory"))
    listed = network.start_server("users", "list", *state).wait()
    assert listed.ok
    assert "alice" in listed.stdout

    assert network.start_server("users", "remove", "alice", *state).wait().ok

    eventually(lambda: not owners(bob), within_seconds=5)
    assert newcomer.run("peers").ok
    assert sharer.program.wait(within_seconds=30).status == 5  # its name has another owner now
    assert directory.program.running


def test_one_user_on_two_machines_is_listed_twice(network: Network) -> None:
    network.directory()
    laptop, desktop = (
        network.user("alice", folder="laptop"),
        network.user("alice", folder="desktop"),
    )
    bob = network.user("bob")
    assert laptop.run("identity", "show").ok
    key = laptop.folder / "key.pem"
    assert laptop.run("identity", "export", key).ok
    assert desktop.run("identity", "import", key).ok
    laptop.file("l.txt", "from the laptop")
    desktop.file("d.txt", "from the desktop")
    laptop.share("l.txt")
    desktop.share("d.txt")

    peers = bob.peers()

    assert [peer["user"] for peer in peers] == ["alice", "alice"]
    assert len({peer["peer_id"] for peer in peers}) == 2
    assert bob.run("get", "l.txt").ok
    assert bob.run("get", "alice:d.txt").ok


def test_commands_of_a_sharing_user_run_beside_the_share(network: Network) -> None:
    network.directory()
    alice, bob = network.user("alice"), network.user("bob")
    alice.file("a.txt", "a")
    bob.file("b.txt", "b")
    sharer = alice.share("a.txt")
    bob.share("b.txt")

    assert alice.run("get", "b.txt", "-o", "mine.txt").ok
    assert {peer["user"] for peer in alice.peers()} == {"alice", "bob"}
    assert sharer.program.running
    assert owners(bob) == {"alice", "bob"}


def test_a_changed_directory_key_is_refused_with_both_fingerprints(network: Network) -> None:
    first = network.directory()
    bob = network.user("bob")
    assert bob.run("peers").ok
    first.kill()

    impostor = impostor_of(first, network)

    said = bob.run("peers").failed(5)
    assert first.fingerprint in said
    assert impostor.fingerprint in said


def impostor_of(directory: Directory, network: Network) -> Directory:
    """Another directory at the same address."""
    return network.directory(name="impostor", listen=directory.address)


def test_an_impostor_at_the_directorys_address_does_not_end_a_share(network: Network) -> None:
    directory = network.directory(lease_seconds=2)
    alice, bob = network.user("alice"), network.user("bob")
    alice.file("a.txt", "a")
    sharer = alice.share("a.txt")
    directory.kill()

    impostor = impostor_of(directory, network)

    sharer.program.wait_for_text(impostor.fingerprint)
    assert directory.fingerprint in sharer.program.stderr
    impostor.kill()
    network.restart(directory)
    eventually(lambda: owners(bob) == {"alice"}, within_seconds=20)
    assert sharer.program.running
