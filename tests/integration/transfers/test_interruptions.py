"""Downloads of real processes that are killed, cut off or left alone go on, or resume."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.programs.network import Network, User
from tests.support.programs.transfers import BIG_BYTES, LIMITED, MIB, big_content, half_way, strays

pytestmark = pytest.mark.slow


def test_a_killed_downloader_fetches_only_the_rest(users: tuple[User, User, User]) -> None:
    alice, _, carol = users
    content = big_content()
    alice.file("film.mkv", content)
    alice.share("film.mkv", arguments=LIMITED)
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


def test_a_download_goes_on_with_the_other_source(users: tuple[User, User, User]) -> None:
    alice, bob, carol = users
    content = big_content()
    alice.file("film.mkv", content)
    bob.file("film.mkv", content)
    sharers = [alice.share("film.mkv", arguments=LIMITED), bob.share("film.mkv", arguments=LIMITED)]
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
    alice.share("film.mkv", arguments=LIMITED)
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
    sharer = alice.share("film.mkv", arguments=LIMITED)
    get = carol.start("get", "film.mkv", "--json")
    half_way(get, 0.2)
    sharer.kill()
    ended = get.wait()
    assert "alice" in ended.failed(6)
    assert "again" in ended.stderr  # says that the same command resumes
    assert ended.event("error")["code"] == 6

    alice.share("film.mkv", arguments=LIMITED)

    finished = carol.run("get", "film.mkv", "--json").event("finished")
    assert finished["resumed_bytes"] > 0
    assert finished["fetched_bytes"] < len(content)
    assert (carol.folder / "film.mkv").read_bytes() == content


def test_a_sharer_that_does_not_answer_is_given_up(users: tuple[User, User, User]) -> None:
    alice, bob, carol = users
    content = big_content()
    for user in (alice, bob):
        user.file("film.mkv", content)
    stuck, _ = alice.share("film.mkv", arguments=LIMITED), bob.share("film.mkv", arguments=LIMITED)
    get = carol.start("get", "film.mkv", "--json")
    half_way(get, 0.1)

    stuck.program.pause()

    assert get.wait(within_seconds=90).ok
    assert (carol.folder / "film.mkv").read_bytes() == content
    stuck.program.resume()


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
