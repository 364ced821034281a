"""`get` end to end: what it tells, where it saves, and what it leaves alone."""

import os

import pytest
from blake3 import blake3
from tests.support.programs.dialogue import Dialogue
from tests.support.programs.network import CLIENT, Network

pytestmark = pytest.mark.slow


def test_get_tells_its_story_in_json(network: Network) -> None:
    network.directory()
    alice, bob = network.user("alice"), network.user("bob")
    content = os.urandom(5_000_000)
    alice.share(alice.file("big.bin", content))
    digest = f"b3:{blake3(content).hexdigest()}"

    ended = bob.run("get", "big.bin", "--json")

    assert ended.ok
    events = ended.records
    assert [events[0]["event"], events[-1]["event"]] == ["started", "finished"]
    assert {record["event"] for record in events} <= {"started", "progress", "finished"}
    assert events[0] == {
        "event": "started",
        "path": "big.bin",
        "digest": digest,
        "size_bytes": 5_000_000,
        "resumed_bytes": 0,
        "sources": ["alice"],
    }
    done = ended.event("finished")
    assert (done["path"], done["digest"], done["size_bytes"]) == ("big.bin", digest, 5_000_000)
    assert (done["fetched_bytes"], done["resumed_bytes"]) == (5_000_000, 0)
    assert done["sources"] == ["alice"]
    assert done["seconds"] > 0
    assert (bob.folder / "big.bin").read_bytes() == content
    assert "first contact" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


def test_get_saves_where_it_is_told(network: Network) -> None:
    network.directory()
    alice, bob = network.user("alice"), network.user("bob")
    (bob.folder / "down").mkdir()
    alice.file("docs/a.txt", "text")
    alice.share("docs")

    named = bob.run("get", "alice:docs/a.txt", "-o", "mine.txt")
    assert named.ok
    assert "mine.txt" in named.stdout
    assert f"b3:{blake3(b'text').hexdigest()}" in named.stdout
    assert bob.run("get", "docs/a.txt", "-d", "down").ok
    assert bob.run("get", f"b3:{blake3(b'text').hexdigest()[:10]}", "--from", "alice").ok

    for file in ("mine.txt", "down/a.txt", "a.txt"):
        assert (bob.folder / file).read_text() == "text"


def test_an_existing_file_is_kept_unless_told(network: Network) -> None:
    network.directory()
    alice, bob = network.user("alice"), network.user("bob")
    alice.share(alice.file("a.txt", "new"))
    bob.file("a.txt", "old")

    assert "a.txt" in bob.run("get", "a.txt").failed(7)
    assert (bob.folder / "a.txt").read_text() == "old"

    assert bob.run("get", "a.txt", "--overwrite").ok
    assert (bob.folder / "a.txt").read_text() == "new"


def test_an_ambiguous_name_is_for_the_user_to_decide(network: Network) -> None:
    network.directory()
    alice, bob, carol = (network.user(name) for name in ("alice", "bob", "carol"))
    alice.share(alice.file("test.txt", "of alice"))
    bob.share(bob.file("test.txt", "of bob"))

    ended = carol.run("get", "test.txt", "--json")
    said = ended.failed(4).splitlines()
    assert "'test.txt' stands for 2 different contents" in said[-3]
    assert set(said[-2:]) == {"alice:test.txt", "bob:test.txt"}
    error = ended.event("error")
    assert error["code"] == 4
    assert set(error["candidates"]) == {"alice:test.txt", "bob:test.txt"}
    assert list(carol.folder.iterdir()) == []

    for candidate in error["candidates"]:
        owner = candidate.partition(":")[0]
        assert carol.run("get", candidate, "-o", f"{owner}.txt").ok
        assert (carol.folder / f"{owner}.txt").read_text() == f"of {owner}"
    assert carol.run("get", "test.txt", "--from", "bob", "-o", "from.txt").ok
    assert (carol.folder / "from.txt").read_text() == "of bob"


def test_what_nobody_shares_is_not_found(network: Network) -> None:
    network.directory()
    bob = network.user("bob")

    for target in ("nosuch.txt", "alice:nosuch.txt", "b3:" + "0" * 64):
        ended = bob.run("get", target, "--json")
        assert ended.failed(3)
        assert ended.event("error")["code"] == 3
    assert bob.run("get", "b3:12").failed(2)
    assert bob.run("search", "nosuch").ok


def test_ctrl_c_keeps_what_was_fetched(network: Network) -> None:
    network.directory()
    alice, bob = network.user("alice"), network.user("bob")
    big = alice.file("big.bin", "not all of it is zeros")
    os.truncate(big, 512 << 20)
    alice.share(big)

    program = bob.start("get", "big.bin", "--json")
    program.wait_for_event("progress", where=lambda p: p["verified_bytes"] > 10 << 20)
    ended = program.interrupt()

    assert "the same command resumes" in ended.failed(130)
    assert ended.event("error")["reason"] == "INTERRUPTED"
    assert not (bob.folder / "big.bin").exists()
    again = bob.run("get", "big.bin", "--json")
    assert again.ok
    assert again.event("finished")["resumed_bytes"] > 5 << 20
    assert bob.run("id", "big.bin").stdout == alice.run("id", "big.bin").stdout
    assert [path.name for path in bob.folder.iterdir()] == ["big.bin"]


def test_a_terminal_shows_a_bar(network: Network) -> None:
    network.directory()
    alice, bob = network.user("alice"), network.user("bob")
    alice.share(alice.file("big.bin", os.urandom(50 << 20)))

    with Dialogue(
        [str(CLIENT), "get", "big.bin"],
        cwd=bob.folder,
        environment=bob.environment,
        term="xterm-256color",
    ) as terminal:
        shown = terminal.ends(0)

    assert "/s" in shown
    assert "%" in shown
    assert "big.bin  52.4 MB in" in shown.splitlines()[-1]
