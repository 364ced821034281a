"""Whole downloads between real processes: the bytes that were shared, whatever they are."""

import os
import shutil
import subprocess

import pytest
from tests.support.programs.network import User
from tests.support.programs.processes import eventually
from tests.support.programs.transfers import LIMITED, MIB, big_content, digest_of, half_way, strays

pytestmark = pytest.mark.slow


def test_files_of_every_kind_arrive_as_they_are(users: tuple[User, User, User]) -> None:
    alice, _, carol = users
    contents = {
        "all/empty": b"",
        "all/one": b"1",
        "all/piece": os.urandom(MIB),
        "all/more": os.urandom(MIB + 1),
        "all/ünïcode 名前 ✓.txt": b"named by people",
        "all/a:b": b"colon",
        "all/aux.c": b"lawful here",
        "all/-rf": b"dash",
        "all/deep/er/x.bin": os.urandom(3 * MIB + 7),
    }
    for path, content in contents.items():
        alice.file(path, content)
    alice.share("all")

    listed = {row["path"]: row for row in carol.search()}

    assert set(listed) == set(contents)
    for number, (path, content) in enumerate(contents.items()):
        assert listed[path]["digest"] == digest_of(content)
        assert listed[path]["size_bytes"] == len(content)
        by_digest = carol.run("get", listed[path]["digest"], "-o", f"copy{number}", "--json")
        assert by_digest.event("finished")["digest"] == digest_of(content)
        assert (carol.folder / f"copy{number}").read_bytes() == content
        assert carol.run("get", f"alice:{path}", "-o", f"by-path{number}").ok
        assert (carol.folder / f"by-path{number}").read_bytes() == content
    assert strays(carol.folder) == []


def test_digests_are_what_b3sum_prints(users: tuple[User, User, User]) -> None:
    alice, _, _ = users
    if shutil.which("b3sum") is None:
        pytest.skip("b3sum is not installed here")
    file = alice.file("x.bin", os.urandom(5 * MIB + 3))

    theirs = subprocess.run(
        ["b3sum", "--no-names", file], capture_output=True, text=True, check=True
    )

    assert alice.run("id", file).stdout.split()[0] == f"b3:{theirs.stdout.strip()}"


def test_several_owners_of_one_content_are_several_sources(
    users: tuple[User, User, User],
) -> None:
    alice, bob, carol = users
    content = big_content()
    for user in (alice, bob):
        user.file("film.mkv", content)
        user.share("film.mkv")

    finished = carol.run("get", "film.mkv", "--json").event("finished")

    assert sorted(finished["sources"]) == ["alice", "bob"]
    assert finished["fetched_bytes"] <= 1.1 * len(content)
    assert (carol.folder / "film.mkv").read_bytes() == content


def test_a_file_rewritten_in_secret_is_never_delivered_as_the_old_one(
    users: tuple[User, User, User],
) -> None:
    """Size and modification time are kept; what remains are the change time and the pieces."""
    alice, _, carol = users
    old, new = os.urandom(8 * MIB), os.urandom(8 * MIB)
    file = alice.file("data.bin", old)
    alice.share("data.bin")
    before = file.stat()
    with file.open("r+b") as open_file:
        open_file.write(new)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))

    ended = carol.run("get", digest_of(old), "-o", "copy")

    assert ended.status in (3, 6), str(ended)
    assert not (carol.folder / "copy").exists()
    eventually(lambda: [row["digest"] for row in carol.search("data.bin")] == [digest_of(new)])
    assert carol.run("get", "data.bin").ok
    assert (carol.folder / "data.bin").read_bytes() == new


def test_a_file_rewritten_while_it_is_fetched_ends_in_an_error_or_the_old_bytes(
    users: tuple[User, User, User],
) -> None:
    alice, _, carol = users
    old = big_content()
    file = alice.file("film.mkv", old)
    alice.share("film.mkv", arguments=LIMITED)
    get = carol.start("get", digest_of(old), "-o", "copy", "--json")
    half_way(get, 0.2)

    with file.open("r+b") as open_file:
        open_file.write(big_content(seed=1))

    ended = get.wait()
    if ended.status == 0:
        assert (carol.folder / "copy").read_bytes() == old
    else:
        assert ended.status == 6, str(ended)
        assert not (carol.folder / "copy").exists()


def test_a_symlink_in_a_share_is_not_followed(users: tuple[User, User, User]) -> None:
    alice, _, carol = users
    secret = alice.file("outside/secret.txt", "secret")
    alice.file("shared/open.txt", "open")
    (alice.folder / "shared" / "link.txt").symlink_to(secret)
    (alice.folder / "shared" / "folder").symlink_to(secret.parent)

    sharer = alice.share("shared")

    assert [row["path"] for row in carol.search()] == ["shared/open.txt"]
    assert "link.txt" in sharer.program.stderr


def test_thousands_of_small_files_are_listed_and_followed(
    users: tuple[User, User, User],
) -> None:
    alice, bob, _ = users
    for number in range(3000):
        alice.file(f"many/{number % 30}/{number}.txt", f"file {number}")

    sharer = alice.share("many")

    assert sharer.ready["resources"] == 3000
    assert len(bob.search("many/", "--limit", "5000")) == 3000
    shutil.rmtree(alice.folder / "many" / "7")
    alice.file("many/new.txt", "new")
    eventually(lambda: len(bob.search("many/", "--limit", "5000")) == 2901)


@pytest.mark.parametrize("limited", ["sharer", "downloader"])
def test_a_limit_is_kept(users: tuple[User, User, User], limited: str) -> None:
    """Only that it is not faster: how much slower a machine is, is its own affair."""
    alice, _, carol = users
    alice.file("data.bin", os.urandom(12 * MIB))
    alice.share("data.bin", arguments=("--limit-up", "6MiB") if limited == "sharer" else ())
    limit_down = ("--limit-down", "6MiB") if limited == "downloader" else ()

    finished = carol.run("get", "data.bin", "--json", *limit_down).event("finished")

    assert finished["seconds"] >= 12 / 6 - 0.2
    assert finished["digest"] == alice.run("id", "data.bin", "--json").records[0]["digest"]


@pytest.mark.parametrize("rate", ["0", "-1", "1kB", "fast", "99999999TB", ""])
def test_an_absurd_limit_is_refused(users: tuple[User, User, User], rate: str) -> None:
    alice, _, carol = users
    alice.file("a.txt", "a")

    assert alice.run("share", "a.txt", f"--limit-up={rate}").failed(2)
    assert carol.run("get", "a.txt", f"--limit-down={rate}").failed(2)
