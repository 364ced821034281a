"""Interrupted downloads go on where they were: what was verified once is not fetched again."""

import asyncio
import os
import random
from contextlib import closing
from pathlib import Path

import pytest
from tests.support.downloads.downloads import MIB, Downloads
from tests.support.downloads.interruptions import (
    CONTENT,
    DIGEST,
    JOURNAL,
    MANIFEST,
    PART,
    a_process,
    events_of,
    interrupted,
    journal_of,
    outcome_of,
    resumed,
)
from tests.support.libraries import until
from tests.support.sources.fake import Behaviour, FakeSource, running

from p2p_client.download.part.journal import Journal, JournalFile
from p2p_client.download.place.place import Place
from p2p_client.errors import LocalRefusal, TargetExists

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("percent", [30, 60, 90])
@pytest.mark.parametrize("has_journal", [True, False])
async def test_killed_it_fetches_only_the_rest(
    downloads: Downloads, tmp_path: Path, percent: int, has_journal: bool
) -> None:
    stop_bytes = percent * len(CONTENT) // 100 // MIB * MIB
    alice = FakeSource("alice", CONTENT, behaviour=Behaviour(stall_after_bytes=stop_bytes))
    verified_bytes = 0
    async with running(alice), a_process(tmp_path / "target", alice) as process:
        async for event in events_of(process):
            verified_bytes = event["verified_bytes"]
            if verified_bytes == stop_bytes:
                if has_journal:
                    alice.behaviour.stall_after_bytes = stop_bytes + 2 * MIB
                    await until((tmp_path / JOURNAL).exists)
                process.kill()
                break
        await process.wait()
    assert (tmp_path / JOURNAL).exists() == has_journal

    fetched_bytes, resumed_bytes = await resumed(downloads, tmp_path / "target")

    assert resumed_bytes >= verified_bytes == stop_bytes
    assert fetched_bytes == len(CONTENT) - resumed_bytes


async def test_killed_again_and_again_at_any_moment_it_ends_right(
    downloads: Downloads, tmp_path: Path
) -> None:
    rng, kills = random.Random(4), 0
    alice = FakeSource("alice", CONTENT, behaviour=Behaviour(bytes_per_second=30 * MIB))
    async with running(alice):
        for _ in range(12):
            async with a_process(tmp_path / "target", alice) as process:
                try:
                    async with asyncio.timeout(rng.uniform(0.3, 1.6)):
                        outcome = await outcome_of(process)
                except TimeoutError:
                    kills += 1
                else:
                    assert outcome["event"] == "finished"
                    break
            if (tmp_path / "target").exists():
                break

    assert kills
    if (tmp_path / "target").exists():
        assert (tmp_path / "target").read_bytes() == CONTENT
    else:
        await resumed(downloads, tmp_path / "target")
    assert alice.served_bytes <= len(CONTENT) + kills * 18 * MIB


async def test_after_a_failure_another_source_gives_the_rest(
    downloads: Downloads, tmp_path: Path
) -> None:
    verified_bytes = await interrupted(downloads, tmp_path / "target", 10 * MIB)

    assert sorted(os.listdir(tmp_path)) == sorted([PART, JOURNAL])
    assert all((tmp_path / name).stat().st_mode & 0o777 == 0o600 for name in (PART, JOURNAL))
    fetched_bytes, resumed_bytes = await resumed(downloads, tmp_path / "target")

    assert resumed_bytes >= verified_bytes >= 8 * MIB
    assert fetched_bytes == len(CONTENT) - resumed_bytes


async def test_cancelled_it_keeps_what_was_verified(downloads: Downloads, tmp_path: Path) -> None:
    alice = FakeSource("alice", CONTENT, behaviour=Behaviour(stall_after_bytes=9 * MIB))
    async with running(alice) as directory:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.7):
                await downloads.fetch(directory, DIGEST, tmp_path / "target")
    journal = journal_of(tmp_path / "target")

    assert journal is not None
    assert journal.held_map().held_count >= 8
    fetched_bytes, _ = await resumed(downloads, tmp_path / "target")
    assert fetched_bytes <= len(CONTENT) - 8 * MIB


async def test_cancelled_before_anything_came_it_leaves_nothing(
    downloads: Downloads, tmp_path: Path
) -> None:
    alice = FakeSource("alice", CONTENT, behaviour=Behaviour(stall_manifest=True))
    async with running(alice) as directory:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await downloads.fetch(directory, DIGEST, tmp_path / "target")

    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("damage", ["gone", "flipped", "cut", "empty", "another's"])
async def test_without_a_good_journal_the_part_file_is_verified_instead_of_fetched(
    downloads: Downloads, tmp_path: Path, damage: str
) -> None:
    verified_bytes = await interrupted(downloads, tmp_path / "target", 10 * MIB)
    journal = tmp_path / JOURNAL
    encoded = bytearray(journal.read_bytes())
    match damage:
        case "gone":
            journal.unlink()
        case "flipped":
            encoded[70] ^= 4
            journal.write_bytes(encoded)
        case "cut":
            journal.write_bytes(encoded[:-5])
        case "empty":
            journal.write_bytes(b"")
        case _:
            other = Journal(DIGEST, MANIFEST.digest(), len(CONTENT), 1, 1, b"\xff\xff\xff\x01")
            with closing(Place.open(tmp_path / "target", overwrite=False)) as place:
                JournalFile(place, JOURNAL).save(other)

    fetched_bytes, resumed_bytes = await resumed(downloads, tmp_path / "target")

    assert resumed_bytes >= verified_bytes
    assert fetched_bytes == len(CONTENT) - resumed_bytes


async def test_a_journal_that_claims_too_much_is_found_out_without_banning_anybody(
    downloads: Downloads, tmp_path: Path
) -> None:
    await interrupted(downloads, tmp_path / "target", 10 * MIB)
    with (tmp_path / PART).open("r+b") as part:
        part.seek(3 * MIB + 17)
        part.write(b"the disk lied")

    fetched_bytes, resumed_bytes = await resumed(downloads, tmp_path / "target")

    assert fetched_bytes == len(CONTENT) - resumed_bytes + MIB
    assert ("good", "WRONG_CONTENT") not in downloads.failures


async def test_a_part_file_shorter_than_its_journal_says_is_verified(
    downloads: Downloads, tmp_path: Path
) -> None:
    await interrupted(downloads, tmp_path / "target", 10 * MIB)
    os.truncate(tmp_path / PART, 5 * MIB)

    fetched_bytes, resumed_bytes = await resumed(downloads, tmp_path / "target")

    assert resumed_bytes == 5 * MIB
    assert fetched_bytes == len(CONTENT) - 5 * MIB


async def test_leftovers_of_a_run_killed_after_its_rename_are_swept(
    downloads: Downloads, tmp_path: Path
) -> None:
    await interrupted(downloads, tmp_path / "target", 10 * MIB)
    (tmp_path / PART).rename(tmp_path / "target")

    async with running() as directory:
        with pytest.raises(TargetExists):
            await downloads.fetch(directory, DIGEST, tmp_path / "target")

    assert os.listdir(tmp_path) == ["target"]


@pytest.mark.parametrize("kind", ["symlink", "dangling symlink", "fifo", "hard link"])
async def test_something_planted_for_the_part_file_is_not_written_through(
    downloads: Downloads, tmp_path: Path, kind: str
) -> None:
    folder, victim = tmp_path / "folder", tmp_path / "victim"
    folder.mkdir()
    victim.write_bytes(b"precious")
    match kind:
        case "symlink":
            (folder / PART).symlink_to(victim)
        case "dangling symlink":
            (folder / PART).symlink_to(tmp_path / "nowhere")
        case "fifo":
            os.mkfifo(folder / PART)
        case _:
            (folder / PART).hardlink_to(victim)

    await resumed(downloads, folder / "target")

    assert victim.read_bytes() == b"precious"
    assert sorted(os.listdir(tmp_path)) == ["folder", "victim"]


async def test_a_symlink_planted_for_the_journal_is_neither_read_nor_written_through(
    downloads: Downloads, tmp_path: Path
) -> None:
    folder, victim = tmp_path / "folder", tmp_path / "victim"
    folder.mkdir()
    victim.write_bytes(b"precious")
    (folder / JOURNAL).symlink_to(victim)
    (folder / f"{JOURNAL}.new").symlink_to(victim)

    await interrupted(downloads, folder / "target", 10 * MIB)
    await resumed(downloads, folder / "target")

    assert victim.read_bytes() == b"precious"


async def test_a_folder_in_the_way_of_the_part_file_is_said(
    downloads: Downloads, tmp_path: Path
) -> None:
    (tmp_path / PART).mkdir()
    async with running() as directory:
        with pytest.raises(LocalRefusal, match="in the way"):
            await downloads.fetch(directory, DIGEST, tmp_path / "target")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
async def test_another_users_part_file_is_left_alone(downloads: Downloads, tmp_path: Path) -> None:
    (tmp_path / PART).write_bytes(b"theirs")
    os.chown(tmp_path / PART, 65534, 65534)
    async with running() as directory:
        with pytest.raises(LocalRefusal, match="another user"):
            await downloads.fetch(directory, DIGEST, tmp_path / "target")

    assert (tmp_path / PART).read_bytes() == b"theirs"


async def test_a_second_process_is_told_that_the_first_is_at_it(
    downloads: Downloads, tmp_path: Path
) -> None:
    alice = FakeSource("alice", CONTENT, behaviour=Behaviour(bytes_per_second=8 * MIB))
    async with running(alice) as directory, a_process(tmp_path / "target", alice) as process:
        async for event in events_of(process):
            if event["event"] == "progress":
                break

        with pytest.raises(LocalRefusal, match="already"):
            await downloads.fetch(directory, DIGEST, tmp_path / "target")

        assert (await outcome_of(process))["event"] == "finished"
    assert (tmp_path / "target").read_bytes() == CONTENT
