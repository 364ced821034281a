"""Whole downloads between real processes: right bytes or a true reason, whatever happens."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from blake3 import blake3
from tests.support.programs.network import Network, User
from tests.support.programs.processes import Program, eventually

pytestmark = pytest.mark.slow

MIB = 1 << 20
BIG_BYTES = 192 * MIB


def digest_of(content: bytes) -> str:
    return f"b3:{blake3(content).hexdigest()}"


def big_content(seed: int = 0) -> bytes:
    """Pieces that all differ, so that a swapped one would be noticed."""
    block = bytes(range(256)) * 4096
    return b"".join(
        (seed * 1000 + number).to_bytes(8, "big") + block[8:] for number in range(BIG_BYTES // MIB)
    )


def strays(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if "p2p-" in path.name]


def half_way(get: Program, share: float = 0.4) -> None:
    get.wait_for_event(
        "progress", where=lambda event: event["verified_bytes"] >= share * event["size_bytes"]
    )


@pytest.fixture
def users(network: Network) -> tuple[User, User, User]:
    network.directory(lease_seconds=6)
    return network.user("alice"), network.user("bob"), network.user("carol")


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


def test_a_killed_downloader_fetches_only_the_rest(users: tuple[User, User, User]) -> None:
    alice, _, carol = users
    content = big_content()
    alice.file("film.mkv", content)
    alice.share("film.mkv")
    kept = 0
    for share in (0.3, 0.6):
        get = carol.start("get", "film.mkv", "--json")
        half_way(get, share)
        get.kill()
        assert not (carol.folder / "film.mkv").exists()
        kept = int(share * BIG_BYTES)

    finished = carol.run("get", "film.mkv", "--json").event("finished")

    assert (carol.folder / "film.mkv").read_bytes() == content
    assert finished["resumed_bytes"] + finished["fetched_bytes"] >= len(content)
    assert finished["resumed_bytes"] >= kept - 96 * MIB  # not journalled yet, or in flight
    assert finished["resumed_bytes"] > 0
    assert strays(carol.folder) == []


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


def test_a_download_goes_on_with_the_other_source(users: tuple[User, User, User]) -> None:
    alice, bob, carol = users
    content = big_content()
    alice.file("film.mkv", content)
    bob.file("film.mkv", content)
    sharers = [alice.share("film.mkv"), bob.share("film.mkv")]
    get = carol.start("get", "film.mkv", "--json")
    half_way(get, 0.2)

    sharers[0].kill()

    assert get.wait().ok
    assert (carol.folder / "film.mkv").read_bytes() == content


def test_a_download_never_notices_that_the_directory_is_away(
    network: Network, users: tuple[User, User, User]
) -> None:
    alice, _, carol = users
    content = big_content()
    alice.file("film.mkv", content)
    alice.share("film.mkv")
    get = carol.start("get", "film.mkv", "--json")
    half_way(get, 0.2)

    assert network.first_directory is not None
    network.first_directory.kill()

    assert get.wait().ok
    assert (carol.folder / "film.mkv").read_bytes() == content


def test_the_only_source_may_come_back(users: tuple[User, User, User]) -> None:
    alice, _, carol = users
    content = big_content()
    alice.file("film.mkv", content)
    sharer = alice.share("film.mkv")
    get = carol.start("get", "film.mkv", "--json")
    half_way(get, 0.2)
    sharer.kill()
    ended = get.wait()
    assert "alice" in ended.failed(6)
    assert "again" in ended.stderr  # says that the same command resumes
    assert ended.event("error")["code"] == 6

    alice.share("film.mkv")

    finished = carol.run("get", "film.mkv", "--json").event("finished")
    assert finished["resumed_bytes"] > 0
    assert finished["fetched_bytes"] < len(content)
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
    alice.share("film.mkv")
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


def test_a_planted_symlink_is_never_written_through(users: tuple[User, User, User]) -> None:
    alice, _, carol = users
    alice.file("a.txt", "from the network")
    alice.share("a.txt")
    victim = carol.file("elsewhere/victim", "precious")
    (carol.folder / "a.txt").symlink_to(victim)

    assert "exists" in carol.run("get", "a.txt").failed(7)
    assert carol.run("get", "a.txt", "--overwrite").ok

    assert victim.read_text() == "precious"
    assert not (carol.folder / "a.txt").is_symlink()
    assert (carol.folder / "a.txt").read_text() == "from the network"


def test_targets_that_cannot_be_are_refused_before_a_byte_is_fetched(
    users: tuple[User, User, User],
) -> None:
    alice, _, carol = users
    alice.file("a.txt", "a")
    alice.share("a.txt")
    (carol.folder / "a-folder").mkdir()
    carol.file("a-file", "x")

    assert "a-folder" in carol.run("get", "a.txt", "-o", "a-folder").failed(7)
    assert "nowhere" in carol.run("get", "a.txt", "-d", "nowhere").failed(7)
    assert "a-file" in carol.run("get", "a.txt", "-d", "a-file").failed(7)
    assert "/proc/nope" in carol.run("get", "a.txt", "-o", "/proc/nope").failed(7)
    assert strays(carol.folder) == []


def test_two_downloads_to_one_target_do_not_meet(users: tuple[User, User, User]) -> None:
    alice, _, carol = users
    content = big_content()
    alice.file("film.mkv", content)
    alice.share("film.mkv")
    first = carol.start("get", "film.mkv", "--json")
    half_way(first, 0.1)

    second = carol.run("get", "film.mkv")

    assert second.failed(7)
    assert carol.run("get", "film.mkv", "-o", "other.mkv").ok
    assert first.wait().ok
    for name in ("film.mkv", "other.mkv"):
        assert (carol.folder / name).read_bytes() == content


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 64 MiB."""
    disk = tmp_path / "small-disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("a small disk needs root and mount(8)")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def test_a_full_disk_is_told_and_the_download_resumes(
    users: tuple[User, User, User], small_disk: Path
) -> None:
    alice, _, carol = users
    content = os.urandom(40 * MIB)
    alice.file("data.bin", content)
    alice.share("data.bin")
    filler = small_disk / "filler"
    filler.write_bytes(bytes(40 * MIB))

    ended = carol.run("get", "data.bin", "-d", small_disk)

    assert "full" in ended.failed(6).lower() or "space" in ended.stderr
    assert not (small_disk / "data.bin").exists()
    filler.unlink()
    assert carol.run("get", "data.bin", "-d", small_disk).ok
    assert (small_disk / "data.bin").read_bytes() == content


def test_a_sharer_that_does_not_answer_is_given_up(users: tuple[User, User, User]) -> None:
    alice, bob, carol = users
    content = big_content()
    for user in (alice, bob):
        user.file("film.mkv", content)
    stuck, _ = alice.share("film.mkv"), bob.share("film.mkv")
    get = carol.start("get", "film.mkv", "--json")
    half_way(get, 0.1)

    stuck.program.pause()

    assert get.wait(within_seconds=90).ok
    assert (carol.folder / "film.mkv").read_bytes() == content
    stuck.program.resume()


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
