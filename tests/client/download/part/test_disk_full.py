"""No room on the disk: said at once where it can be known, and nothing verified is lost."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.downloads.downloads import MIB, Downloads
from tests.support.downloads.interruptions import (
    CONTENT,
    DIGEST,
    PART,
    a_process,
    interrupted,
    outcome_of,
    resumed,
)
from tests.support.sources.fake import Behaviour, FakeSource, running

from p2p_client.errors import DiskFull

pytestmark = pytest.mark.slow


def mount(folder: Path, size_bytes: int, *more: str) -> None:
    options = ",".join((f"size={size_bytes}", "mode=0777", *more))
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk of 16 MiB."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    mount(tmp_path, 16 * MIB)
    try:
        yield tmp_path
    finally:
        subprocess.run(["umount", "--lazy", tmp_path], check=True)


async def test_too_small_a_disk_is_said_before_a_byte_is_fetched(
    downloads: Downloads, small_disk: Path
) -> None:
    alice = FakeSource("alice", CONTENT)
    async with running(alice) as directory:
        with pytest.raises(DiskFull, match="bytes are missing") as caught:
            await downloads.fetch(directory, DIGEST, small_disk / "target")

    missing = len(CONTENT) - 16 * MIB
    assert f"{missing:,} bytes" in str(caught.value)
    assert alice.served_bytes == 0
    assert os.listdir(small_disk) == []


async def test_what_was_verified_survives_a_full_disk_and_room_made_later(
    downloads: Downloads, small_disk: Path
) -> None:
    mount(small_disk, 64 * MIB, "remount")
    verified_bytes = await interrupted(downloads, small_disk / "target", 6 * MIB)
    os.truncate(small_disk / PART, verified_bytes)
    mount(small_disk, 16 * MIB, "remount")
    alice = FakeSource("alice", CONTENT)
    async with running(alice) as directory:
        with pytest.raises(DiskFull):
            await downloads.fetch(directory, DIGEST, small_disk / "target")
    mount(small_disk, 64 * MIB, "remount")

    fetched_bytes, resumed_bytes = await resumed(downloads, small_disk / "target")

    assert alice.served_bytes == 0
    assert resumed_bytes == verified_bytes
    assert fetched_bytes == len(CONTENT) - resumed_bytes


async def test_no_room_for_the_journal_does_not_stop_what_fits(
    downloads: Downloads, small_disk: Path
) -> None:
    content = CONTENT[: 16 * MIB]
    pace = Behaviour(bytes_per_second=6 * MIB)
    alice = FakeSource("alice", content, behaviour=pace)
    async with running(alice) as directory:
        await downloads.fetch(directory, alice.digest, small_disk / "target")

    assert (small_disk / "target").read_bytes() == content
    assert os.listdir(small_disk) == ["target"]


async def test_a_write_that_fails_half_way_is_told_and_the_rest_fetched_later(
    downloads: Downloads, tmp_path: Path
) -> None:
    alice = FakeSource("alice", CONTENT, behaviour=Behaviour(bytes_per_second=20 * MIB))
    async with (
        running(alice),
        a_process(tmp_path / "target", alice, limit=10 * MIB) as process,
    ):
        outcome = await outcome_of(process)
    assert outcome["event"] == "error"
    assert outcome["kind"] == "DiskFull"
    assert len(os.listdir(tmp_path)) == 2

    fetched_bytes, resumed_bytes = await resumed(downloads, tmp_path / "target")

    assert resumed_bytes == 10 * MIB
    assert fetched_bytes == len(CONTENT) - resumed_bytes
