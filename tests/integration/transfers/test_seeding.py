"""`get --seed` and swarms between real processes: who fetches gives, already while it fetches."""

import asyncio
import os
import signal
from pathlib import Path

import pytest
from blake3 import blake3
from tests.support.programs.network import Network, User
from tests.support.programs.processes import eventually
from tests.support.programs.transfers import MIB, half_way

from p2p_client.config import Address, Settings
from p2p_client.download.events import Event, Progress
from p2p_client.peer import Peer

pytestmark = pytest.mark.slow

CONTENT = os.urandom(24 * MIB + 4321)


def test_a_seeding_get_gives_on_when_it_is_done_and_ends_well(
    users: tuple[User, User, User],
) -> None:
    alice, bob, carol = users
    alice.file("film.mkv", CONTENT)
    sharer = alice.share("film.mkv")
    seeding = bob.start("--json", "get", "film.mkv", "--seed")
    finished = seeding.wait_for_event("finished")
    assert finished["size_bytes"] == len(CONTENT)
    eventually(lambda: {row["owner"] for row in carol.search("film")} == {"alice", "bob"})
    sharer.stop()

    third = carol.run("--json", "get", "bob:film.mkv", "-o", "copy").event("finished")

    assert third["sources"] == ["bob"]
    assert (carol.folder / "copy").read_bytes() == CONTENT
    ended = seeding.stop()
    assert ended.ok
    assert ended.event("stopped")["uploaded_bytes"] == len(CONTENT)
    assert carol.search("film") == []
    assert os.listdir(bob.folder) == ["film.mkv"]


def test_two_who_fetch_at_once_give_each_other_what_the_slow_seeder_gave_one(
    users: tuple[User, User, User],
) -> None:
    alice, bob, carol = users
    alice.file("film.mkv", CONTENT)
    sharer = alice.share("film.mkv", arguments=("--limit-up", "4MB"))
    gets = [user.start("--json", "get", "film.mkv", "--seed") for user in (bob, carol)]
    for get in gets:
        get.wait_for_event("finished")

    stopped = [get.stop().event("stopped")["uploaded_bytes"] for get in gets]

    for user in (bob, carol):
        assert (user.folder / "film.mkv").read_bytes() == CONTENT
    assert min(stopped) > 4 * MIB
    assert sharer.stop().event("stopped")["uploaded_bytes"] < 1.5 * len(CONTENT)


def test_a_seeding_get_that_is_killed_goes_on_later(users: tuple[User, User, User]) -> None:
    alice, bob, _ = users
    alice.file("film.mkv", CONTENT)
    alice.share("film.mkv", arguments=("--limit-up", "8MB"))
    get = bob.start("--json", "get", "film.mkv", "--seed")
    half_way(get)
    get.kill()
    assert not (bob.folder / "film.mkv").exists()

    again = bob.start("--json", "get", "film.mkv", "--seed")
    finished = again.wait_for_event("finished")

    assert finished["resumed_bytes"] > 0
    assert (bob.folder / "film.mkv").read_bytes() == CONTENT
    assert again.interrupt().failed(130) is not None


def test_a_seeding_get_told_to_stop_early_keeps_what_it_has(
    users: tuple[User, User, User],
) -> None:
    alice, bob, _ = users
    alice.file("film.mkv", CONTENT)
    alice.share("film.mkv", arguments=("--limit-up", "4MB"))
    get = bob.start("--json", "get", "film.mkv", "--seed")
    half_way(get)

    ended = get.stop()

    assert ended.status not in (0, 1)
    assert "resumes" in ended.stderr
    assert bob.run("--json", "get", "film.mkv").event("finished")["resumed_bytes"] > 0


def test_one_state_folder_seeds_once(users: tuple[User, User, User]) -> None:
    alice, bob, _ = users
    alice.file("a.txt", "a")
    alice.share("a.txt")
    bob.file("b.txt", "b")
    bob.share("b.txt")

    assert "share" in bob.run("get", "a.txt", "--seed").failed(2)
    assert bob.run("get", "a.txt", "--limit-up", "1MB").failed(2)
    assert not (bob.folder / "a.txt").exists()
    assert bob.run("get", "a.txt").ok


# -- the Python API: downloads of one process that shares as well


def a_peer(network: Network, name: str) -> Peer:
    directory = network.first_directory
    assert directory is not None
    host, _, port = directory.address.rpartition(":")
    folder = network.folder / "users" / name / "api-state"
    folder.mkdir(parents=True)
    return Peer(Settings(server=(Address(host, int(port)),), user=name, state_dir=folder))


async def test_downloads_into_different_folders_at_once_are_both_right_and_shown_once(
    network: Network, users: tuple[User, User, User], tmp_path: Path
) -> None:
    alice, _, carol = users
    alice.file("film.mkv", CONTENT)
    alice.share("film.mkv", arguments=("--limit-up", "8MB"))
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
    async with a_peer(network, "dave") as dave:
        async with asyncio.TaskGroup() as tasks:
            for folder in folders:
                tasks.create_task(dave.download("film.mkv", directory=folder, seed=True))
        found = await asyncio.to_thread(
            eventually, lambda: [row for row in carol.search() if row["owner"] == "dave"]
        )
        assert [row["path"] for row in found] == ["film.mkv"]
    for folder in folders:
        assert (folder / "film.mkv").read_bytes() == CONTENT
        assert os.listdir(folder) == ["film.mkv"]


async def test_whoever_shares_lets_others_have_what_it_downloads_meanwhile(
    network: Network, users: tuple[User, User, User], tmp_path: Path
) -> None:
    alice, _, carol = users
    alice.file("film.mkv", CONTENT)
    sharer = alice.share("film.mkv", arguments=("--limit-up", "8MB"))
    mine = tmp_path / "mine.txt"
    mine.write_text("mine")
    is_far = asyncio.Event()

    def on_event(event: Event) -> None:
        if isinstance(event, Progress) and event.verified_bytes > 12 * MIB and not is_far.is_set():
            is_far.set()
            sharer.program.signal(signal.SIGSTOP)

    async with a_peer(network, "dave") as dave:
        await dave.share(mine)
        async with asyncio.TaskGroup() as tasks:
            fetching = tasks.create_task(
                dave.download("film.mkv", directory=tmp_path, on_event=on_event)
            )
            await is_far.wait()
            get = carol.start("--json", "get", f"b3:{digest_of(CONTENT)}", "-o", "copy")
            await asyncio.to_thread(get.wait_for_event, "progress")
            await asyncio.to_thread(
                eventually, lambda: dave.uploaded_bytes >= 8 * MIB, within_seconds=30
            )
            sharer.program.signal(signal.SIGCONT)
            await fetching
            assert (await asyncio.to_thread(get.wait)).ok
    assert (carol.folder / "copy").read_bytes() == CONTENT
    assert (tmp_path / "film.mkv").read_bytes() == CONTENT


def digest_of(content: bytes) -> str:
    return blake3(content).hexdigest()
