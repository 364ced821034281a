"""Watching with the real programs: live, through a restart, and waiting for a file."""

import pytest
from tests.support.programs.network import Network, User
from tests.support.programs.processes import Program, Record, eventually, json_lines

pytestmark = pytest.mark.slow


def events(program: Program) -> list[tuple[str, str]]:
    """What `watch --json` printed so far: event, and path or user."""
    whole = program.stdout[: program.stdout.rfind("\n") + 1]
    return [
        (str(record["event"]), str(record.get("path") or record.get("user") or ""))
        for record in json_lines(whole)
    ]


def test_a_watch_shows_what_comes_changes_and_goes(network: Network) -> None:
    network.directory()
    alice, bob = network.user("alice"), network.user("bob")
    alice.file("docs/a.txt", "a")
    sharer = alice.share("docs")
    watch = bob.start("watch", "--json", "docs")
    eventually(lambda: ("caught_up", "") in events(watch))

    alice.file("docs/b.txt", "b")
    eventually(lambda: ("appeared", "docs/b.txt") in events(watch))
    alice.file("docs/b.txt", "b2")
    eventually(lambda: ("changed", "docs/b.txt") in events(watch))
    (alice.folder / "docs/b.txt").unlink()
    eventually(lambda: ("gone", "docs/b.txt") in events(watch))
    sharer.stop()
    eventually(lambda: ("peer_left", "alice") in events(watch))

    assert events(watch)[:3] == [
        ("peer_came", "alice"),
        ("appeared", "docs/a.txt"),
        ("caught_up", ""),
    ]
    assert ("gone", "docs/a.txt") in events(watch)
    assert watch.stop().ok
    appeared: Record = watch.wait_for_event("appeared")
    assert {"name", "path", "size_bytes", "digest", "owner", "endpoint", "mtime"} <= set(appeared)


def test_a_watch_goes_on_when_the_directory_comes_back(network: Network) -> None:
    directory = network.directory(lease_seconds=2)
    alice, bob = network.user("alice"), network.user("bob")
    alice.file("docs/a.txt", "a")
    alice.share("docs")
    watch = bob.start("watch", "--json", "--new")
    eventually(lambda: ("caught_up", "") in events(watch))

    directory.kill()
    network.restart(directory)
    eventually(lambda: ("started_anew", "") in events(watch))
    alice.file("docs/b.txt", "b")

    eventually(lambda: ("appeared", "docs/b.txt") in events(watch))


def test_a_watch_for_people_is_readable(network: Network) -> None:
    network.directory()
    alice, bob = network.user("alice"), network.user("bob")
    alice.file("a.txt", "abc")
    alice.share("a.txt")

    watch = bob.start("watch")
    watch.wait_for_text("that is what is there now")
    ended = watch.interrupt()

    assert "came" in ended.stdout
    assert "appeared        3 B  alice:a.txt" in ended.stdout
    ended.failed(130)


@pytest.mark.parametrize("target", ["late.txt", "alice:late.txt"])
def test_get_waits_until_somebody_shares_it(network: Network, target: str) -> None:
    network.directory()
    alice, bob = network.user("alice"), network.user("bob")
    get = bob.start("get", target, "--wait")
    get.wait_for_text("waiting until somebody shares")

    alice.file("late.txt", "at last")
    alice.share("late.txt")

    assert get.wait().ok
    assert (bob.folder / "late.txt").read_text() == "at last"


def test_get_waits_for_a_digest(network: Network) -> None:
    network.directory()
    alice, bob = network.user("alice"), network.user("bob")
    alice.file("late.txt", "at last")
    digest = alice.run("id", "late.txt").stdout.split()[0]
    get = bob.start("get", digest, "--wait", "-o", "found.txt")
    get.wait_for_text("waiting until somebody shares")

    alice.share("late.txt")

    assert get.wait().ok
    assert (bob.folder / "found.txt").read_text() == "at last"


def test_get_does_not_wait_for_what_is_there(network: Network) -> None:
    network.directory()
    alice: User = network.user("alice")
    alice.file("a.txt", "a")
    alice.share("a.txt")

    ended = network.user("bob").run("get", "a.txt", "--wait")

    assert ended.ok
    assert "waiting" not in ended.stderr
