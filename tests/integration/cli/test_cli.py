"""The command line end to end: real directory, real peers, what people and scripts see."""

import itertools
import json
import os
from collections.abc import Iterator
from datetime import datetime

import pytest
from blake3 import blake3
from tests.support.programs.network import Network
from tests.support.programs.processes import eventually

pytestmark = pytest.mark.slow

_numbers = itertools.count()


def test_join_remembers_and_shows_the_fingerprint(network: Network) -> None:
    directory = network.directory()
    alice = network.user("alice")
    bare = {"P2P_SERVER": "", "P2P_USER": ""}

    ended = alice.run("join", directory.address, "--user", "alice", environment=bare)
    assert ended.ok
    assert directory.fingerprint in ended.stdout
    assert "first contact" in ended.stderr

    again = alice.run("join", directory.address, "--user", "alice", "--json", environment=bare)
    joined = again.event("joined")
    assert joined["server"] == directory.address
    assert joined["user"] == "alice"
    assert joined["fingerprint"] == directory.fingerprint
    assert "first contact" not in again.stderr
    shown = alice.run("identity", "show", "--json").records[0]
    assert joined["identity"] == shown["fingerprint"]
    assert (shown["user"], shown["server"]) == ("alice", directory.address)

    assert alice.run("peers", environment=bare).ok


def test_join_mends_a_damaged_config(network: Network) -> None:
    directory, alice = network.directory(), network.user("alice")
    bare = {"P2P_SERVER": "", "P2P_USER": ""}
    join = ("join", directory.address, "--user", "alice")
    assert alice.run(*join, environment=bare).ok
    (alice.state_dir / "config.json").write_text("{")

    assert "damaged" in alice.run("peers", environment=bare).failed(7)
    assert alice.run(*join, environment=bare).ok
    assert alice.run("peers", environment=bare).ok


def test_a_share_is_found_with_all_that_the_contract_says(network: Network) -> None:
    network.directory()
    alice, bob = network.user("alice"), network.user("bob")
    content = os.urandom(3000)
    file = alice.file("photos/2024/sun set.jpg", content)
    sharer = alice.share("photos")

    assert sharer.ready["resources"] == 1
    assert sharer.ready["size_bytes"] == 3000
    (row,) = bob.search("sun", "SET")
    # From the same machine it is listed at its loopback address, best for us.
    assert row.pop("endpoint") == f"127.0.0.1:{sharer.port}"
    mtime = datetime.fromisoformat(row.pop("mtime"))
    assert abs(mtime.timestamp() - file.stat().st_mtime) < 0.001
    assert row == {
        "name": "sun set.jpg",
        "path": "photos/2024/sun set.jpg",
        "size_bytes": 3000,
        "digest": f"b3:{blake3(content).hexdigest()}",
        "owner": "alice",
        "media_type": "image/jpeg",
    }
    (peer,) = bob.peers()
    assert datetime.fromisoformat(peer["since"]).tzinfo is not None
    assert (peer["user"], peer["endpoint"]) == ("alice", f"127.0.0.1:{sharer.port}")
    assert (peer["resources"], peer["size_bytes"]) == (1, 3000)
    assert peer["peer_id"]


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        ((), ["a.png", "b.txt", "c.txt"]),
        (("--owner", "ALICE"), ["a.png", "b.txt", "c.txt"]),
        (("--owner", "nobody"), []),
        (("--glob", "*.txt"), ["b.txt", "c.txt"]),
        (("--type", "image"), ["a.png"]),
        (("--min-size", "2kB"), ["b.txt", "c.txt"]),
        (("--min-size", "2kB", "--max-size", "2KiB"), ["b.txt"]),
        (("--limit", "1"), ["a.png"]),
        (("--limit", "0"), ["a.png", "b.txt", "c.txt"]),
        (("--digest", f"b3:{blake3(b'a' * 1000).hexdigest()[:8]}"), ["a.png"]),
        (("--digest", blake3(b"a" * 1000).hexdigest()), ["a.png"]),
    ],
)
def test_searches_narrow_down(
    shared_network: Network, arguments: tuple[str, ...], names: list[str]
) -> None:
    bob = shared_network.user(f"bob{next(_numbers)}")

    assert [row["name"] for row in bob.search(*arguments)] == names


@pytest.fixture(scope="module")
def shared_network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    with Network(tmp_path_factory.mktemp("network")) as network:
        network.directory()
        alice = network.user("alice")
        for name, size_bytes in (("a.png", 1000), ("b.txt", 2000), ("c.txt", 3000)):
            alice.file(f"files/{name}", name[0].encode() * size_bytes)
        alice.share("files")
        yield network


def test_tables_are_for_people(shared_network: Network) -> None:
    ended = shared_network.user("reader").run("search", "--limit", "2")

    assert ended.ok
    heading, first, second = ended.stdout.splitlines()
    assert heading.split() == ["SIZE", "MODIFIED", "DIGEST", "OWNER:PATH"]
    assert first.endswith("alice:files/a.png")
    assert second.split()[:2] == ["2.00", "kB"]
    assert "more were found" in ended.stderr

    peers = shared_network.user("reader2").run("peers")
    assert peers.ok
    assert peers.stdout.splitlines()[1].split()[-1] == "alice"


def test_a_query_that_no_directory_takes_is_a_mistake_of_usage(network: Network) -> None:
    network.directory()
    alice = network.user("alice")

    assert "at most" in alice.run("search", "x" * 600).failed(2)
    assert "at most" in alice.run("get", "x" * 2000).failed(2)


def test_a_share_stops_cleanly_when_told(network: Network) -> None:
    network.directory(lease_seconds=60)
    alice, bob = network.user("alice"), network.user("bob")
    file = alice.file("a.txt", "a")

    assert alice.share(file).stop().status == 0
    assert bob.peers() == []

    again = alice.share(file)
    ended = again.program.interrupt()
    assert "interrupted" in ended.failed(130)
    assert bob.peers() == []


def test_what_cannot_be_shared_is_said(network: Network) -> None:
    network.directory()
    alice = network.user("alice")
    alice.file("folder/good.txt", "x")
    alice.file("folder/bad\x1b[31m.txt", "x")
    (alice.folder / "folder" / "link").symlink_to("/etc/passwd")

    sharer = alice.share("folder")

    assert sharer.ready["resources"] == 1
    said = sharer.program.stderr
    assert "link" in said
    assert "bad\\x1b[31m.txt" in said
    assert "\x1b" not in said

    assert "nosuch" in alice.run("share", "nosuch", "--state-dir", "other").failed(7)


def test_two_shares_of_one_state_folder_are_refused(network: Network) -> None:
    network.directory()
    alice = network.user("alice")
    file = alice.file("a.txt", "a")
    alice.share(file)

    assert "already shares" in alice.run("share", file).failed(2)
    assert [row["owner"] for row in alice.search()] == ["alice"]


def test_the_whole_works_without_tls_where_both_sides_want_it(network: Network) -> None:
    network.directory(insecure=True)
    alice, bob = network.user("alice"), network.user("bob")
    alice.share(alice.file("a.txt", "plain"))

    assert bob.run("get", "a.txt").ok
    assert (bob.folder / "a.txt").read_text() == "plain"
    refused = bob.run("peers", "--json", environment={"P2P_INSECURE": "0"})
    assert "--insecure" in refused.failed(5)


def test_a_wrong_pin_is_refused_with_both_fingerprints(network: Network) -> None:
    directory = network.directory()
    stderr = network.user("bob").run("peers", "--fingerprint", "ab" * 32).failed(5)

    assert "ab" * 32 in stderr
    assert directory.fingerprint in stderr
    assert network.user("carol").run("peers", "--fingerprint", directory.fingerprint.upper()).ok


def test_a_name_taken_by_another_key_is_refused(network: Network) -> None:
    network.directory()
    assert network.user("alice").run("peers").ok

    ended = network.user("alice", folder="impostor").run("peers", "--json")

    assert "alice" in ended.failed(5)
    assert ended.event("error")["reason"] == "USERNAME_TAKEN"


def test_a_file_added_while_sharing_is_found(network: Network) -> None:
    network.directory()
    alice, bob = network.user("alice"), network.user("bob")
    alice.file("folder/one.txt", "1")
    alice.share("folder")

    alice.file("folder/two.txt", "2")

    eventually(lambda: len(bob.search()) == 2)


def test_nothing_but_json_stands_on_stdout(network: Network) -> None:
    directory = network.directory()
    alice = network.user("alice")
    sharer = alice.share(alice.file("a.txt", "x"))

    for arguments in (("search",), ("peers",), ("join", directory.address), ("get", "zzz")):
        ended = alice.run(*arguments, "--json")
        assert all(isinstance(json.loads(line), dict) for line in ended.stdout.splitlines())
    assert all(json.loads(line) for line in sharer.stop().stdout.splitlines())
