"""Folders and globs between real processes: all of it, or each file that is missing by name."""

import random
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from tests.support.programs.network import CLIENT, Network, User
from tests.support.programs.processes import Program, Record
from tests.support.sources.trees import on_disk

pytestmark = pytest.mark.slow

MIB = 1 << 20


@pytest.fixture
def users(network: Network) -> tuple[User, User]:
    network.directory(lease_seconds=6)
    return network.user("alice"), network.user("bob")


def a_tree(user: User, count: int, size_bytes: int = 4_096) -> dict[str, bytes]:
    """Shared below `tree/`; by their paths below it."""
    made = random.Random(count)
    files = {f"{n % 10}/file-{n:05}.bin": made.randbytes(size_bytes) for n in range(count)}
    for path, content in files.items():
        user.file(f"tree/{path}", content)
    return files


def finished(records: list[Record]) -> Record:
    return next(record for record in records if record["event"] == "finished")


def came_so_far(get: Program, least_bytes: int) -> None:
    get.wait_for_event("progress", where=lambda event: event["fetched_bytes"] >= least_bytes)


def test_a_folder_comes_with_all_that_is_in_it(users: tuple[User, User]) -> None:
    alice, bob = users
    files = {
        "a.txt": b"1",
        "empty": b"",
        "deep/er/x": b"22",
        "deep/again": b"1",
        "ünïcode ✓/ä b": b"333",
        "large": random.Random(1).randbytes(3 * MIB + 1),
        "mebibyte": random.Random(2).randbytes(MIB),
        "aux.c": b"lawful",
        "a:b": b"too",
    }
    for path, content in files.items():
        alice.file(f"photos/2024/{path}", content)
    alice.file("photos/other.txt", b"not asked for")
    alice.share("photos")

    done = bob.run("get", "--json", "alice:photos/2024/", "-d", "here")

    assert done.ok
    assert on_disk(bob.folder / "here") == {f"2024/{path}": data for path, data in files.items()}
    summary = finished(done.records)
    assert summary["files"] == len(files)
    assert summary["failed_files"] == 0
    assert summary["size_bytes"] == sum(map(len, files.values()))
    assert summary["fetched_bytes"] == summary["size_bytes"] - 1  # one content stands twice
    assert summary["sources"] == ["alice"]
    assert summary["path"] == "here/2024"
    kinds = Counter(record["event"] for record in done.records)
    assert (kinds["started"], kinds["finished"]) == (1, 1)


def test_a_glob_brings_what_fits_with_whole_paths(users: tuple[User, User]) -> None:
    alice, bob = users
    for path in ("data/a.csv", "data/sub/b.CSV", "data/c.txt"):
        alice.file(path, path)
    alice.share("data")

    assert bob.run("get", "alice:*.csv").ok

    assert set(on_disk(bob.folder)) == {"data/a.csv", "data/sub/b.CSV"}


def test_a_dry_run_says_it_and_fetches_nothing(users: tuple[User, User]) -> None:
    alice, bob = users
    alice.file("data/sub/a.csv", b"1,2")
    alice.share("data")

    tree = bob.run("get", "--json", "--dry-run", "alice:data/", "-d", "x")
    one = bob.run("get", "--json", "--dry-run", "alice:data/sub/a.csv")
    shown = bob.run("get", "--dry-run", "alice:data/")

    (row,) = tree.records
    (found,) = bob.search("a.csv")
    assert row == found | {"target": "x/data/sub/a.csv"}
    assert one.records == [found | {"target": "a.csv"}]
    assert "alice:data/sub/a.csv -> data/sub/a.csv" in shown.stdout
    assert list(bob.folder.iterdir()) == []


def test_what_cannot_be_is_said_by_the_exit_status(network: Network) -> None:
    network.directory()
    alice, bob, carol = (network.user(name) for name in ("alice", "bob", "carol"))
    alice.file("data/a", b"alice")
    bob.file("data/a", b"bob")
    alice.share("data")
    bob.share("data")
    carol.file("data/a", b"mine")

    assert carol.run("get", "alice:data/", "-o", "x").status == 2
    assert carol.run("get", "alice:d*", "-o", "x").status == 3
    assert carol.run("get", "alice:dat?/a", "-o", "x").status == 2
    assert carol.run("get", "alice:nothing/").status == 3
    ambiguous = carol.run("get", "data/")
    assert ambiguous.status == 4
    assert "alice:data/" in ambiguous.stderr
    assert "bob:data/" in ambiguous.stderr
    there = carol.run("get", "alice:data/")
    assert there.status == 7
    assert "data/a" in there.stderr
    assert on_disk(carol.folder) == {"data/a": b"mine"}
    assert carol.run("get", "--from", "bob", "data/", "--overwrite").ok
    assert on_disk(carol.folder) == {"data/a": b"bob"}


def test_a_file_that_fails_does_not_stop_the_others(users: tuple[User, User]) -> None:
    alice, bob = users
    files = a_tree(alice, 100, 40_000)
    alice.share("tree")
    last = max(files)
    # More than one call's worth, and the file is in the last one.
    get = bob.start("get", "--json", "--limit-down", "500KB", "alice:tree/")
    get.wait_for_event("started")
    (alice.folder / "tree" / last).write_bytes(b"changed meanwhile")

    done = get.wait()

    assert done.status == 6
    assert finished(done.records)["failed_files"] == 1
    (failed,) = [record for record in done.records if record["event"] == "file_failed"]
    assert failed["path"] == f"tree/{last}"
    assert done.records[-1]["reason"] == "FILES_FAILED"
    assert last in done.stderr
    expected = {f"tree/{path}": content for path, content in files.items() if path != last}
    assert on_disk(bob.folder) == expected


def test_kill_at_any_moment_and_run_again(users: tuple[User, User]) -> None:
    alice, bob = users
    files = {f"tree/{path}": content for path, content in a_tree(alice, 3_000).items()}
    alice.share("tree")
    moments = random.Random(7)
    kept: dict[str, bytes] = {}
    for _ in range(6):
        get = bob.start("get", "--json", "--limit-down", "4MB", "alice:tree/")
        get.wait_for_event("started")
        came_so_far(get, moments.randrange(0, 600_000))
        get.kill()
        stands = {
            path: content for path, content in on_disk(bob.folder).items() if "p2p-" not in path
        }
        assert all(files[path] == content for path, content in stands.items())
        assert kept.keys() <= stands.keys()
        kept = stands

    done = bob.run("get", "--json", "alice:tree/")

    assert done.ok
    assert on_disk(bob.folder) == files  # and nothing else
    assert finished(done.records)["resumed_bytes"] == sum(map(len, kept.values()))
    assert finished(done.records)["fetched_bytes"] == sum(map(len, files.values())) - sum(
        map(len, kept.values())
    )


def test_a_sharer_that_is_killed_leaves_its_work_to_the_other(network: Network) -> None:
    network.directory(lease_seconds=6)
    alice, bob, carol = (network.user(name) for name in ("alice", "bob", "carol"))
    files = a_tree(alice, 2_000)
    shutil.copytree(alice.folder / "tree", bob.folder / "tree")
    doomed = alice.share("--limit-up", "2MB", "tree")
    bob.share("--limit-up", "3MB", "tree")
    get = carol.start("get", "--json", "alice:tree/")
    came_so_far(get, MIB)

    doomed.kill()
    done = get.wait()

    assert done.ok
    assert on_disk(carol.folder) == {f"tree/{path}": data for path, data in files.items()}


def test_ctrl_c_keeps_what_was_verified(users: tuple[User, User]) -> None:
    alice, bob = users
    files = a_tree(alice, 2_000)
    alice.share("tree")
    get = bob.start("get", "--json", "--limit-down", "4MB", "alice:tree/")
    came_so_far(get, MIB)

    stopped = get.interrupt()

    assert stopped.status == 130
    stands = on_disk(bob.folder)
    assert stands
    assert all(files[path.removeprefix("tree/")] == data for path, data in stands.items())


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is what sees a sync")
@pytest.mark.parametrize("count", [5, 40])
def test_nothing_has_its_name_before_it_is_on_the_disk(
    users: tuple[User, User], tmp_path: Path, count: int
) -> None:
    alice, bob = users
    a_tree(alice, count)
    alice.share("tree")
    trace = tmp_path / "trace"
    calls = "trace=openat,syncfs,fsync,renameat2"
    tracing = ("strace", "-f", "-y", "-o", str(trace), "-e", calls)

    command = [*tracing, str(CLIENT), "get", "alice:tree/"]
    subprocess.run(command, env=bob.environment, cwd=bob.folder, timeout=100, check=True)

    hidden = re.compile(r"/\.\d+\.[0-9a-f]{8}\.p2p-part")
    unsynced, unsynced_folders, created = set[str](), set[str](), set[str]()
    named = 0
    for line in trace.read_text().splitlines():
        made = re.search(r'openat\(\d+<([^>]*)>, "([^"]*)", [^)]*O_CREAT', line)
        given = re.search(r'renameat2\(\d+<([^>]*)>, "([^"]*)", \d+<([^>]*)>, "([^"]*)"', line)
        synced = re.search(r"fsync\(\d+<([^>]*)>", line)
        if made and hidden.search(path := f"{made[1]}/{made[2]}"):
            created.add(path)
            unsynced.add(path)
            unsynced_folders.add(made[1])
        elif given and hidden.search(old := f"{given[1]}/{given[2]}"):
            in_it = {path for path in created if path == old or path.startswith(f"{old}/")}
            assert not in_it & unsynced, line
            named += len(in_it)
            new = f"{given[3]}/{given[4]}"
            unsynced_folders = {f.replace(old, new, 1) for f in unsynced_folders} | {given[3]}
        elif "syncfs(" in line:
            unsynced.clear()
            unsynced_folders.clear()
        elif synced:
            unsynced.discard(synced[1])
            unsynced_folders.discard(synced[1])
    assert named == len(created) == count
    assert not unsynced_folders, "names that a power cut would take away"


def test_a_full_disk_is_said_and_what_is_done_stays(users: tuple[User, User]) -> None:
    alice, bob = users
    files = a_tree(alice, 1_500)
    alice.share("tree")
    small = bob.folder / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "none", str(small)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("cannot mount here")
    try:
        full = bob.run("get", "alice:tree/", "-d", str(small))
        stands = on_disk(small)
        assert full.status == 6
        assert "no room" in full.stderr
        assert all(files[path.removeprefix("tree/")] == data for path, data in stands.items())
        subprocess.run(["mount", "-o", "remount,size=30m", str(small)], check=True)
        again = bob.run("get", "--json", "alice:tree/", "-d", str(small))
        assert again.ok
        assert finished(again.records)["resumed_bytes"] == sum(map(len, stands.values()))
        assert on_disk(small) == {f"tree/{path}": data for path, data in files.items()}
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_the_same_tree_with_tls_and_several_machines(network: Network, tmp_path: Path) -> None:
    network.directory()
    home, laptop = network.user("alice"), network.user("bob")
    files = a_tree(home, 200)
    shutil.copytree(home.folder / "tree", laptop.folder / "tree")
    home.share("tree")
    laptop.share("tree")
    carol = network.user("carol")

    done = carol.run("get", "--json", "tree/")

    assert done.ok
    assert on_disk(carol.folder) == {f"tree/{path}": data for path, data in files.items()}
    assert set(finished(done.records)["sources"]) <= {"alice", "bob"}
