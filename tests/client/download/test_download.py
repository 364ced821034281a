"""Downloads that end well, and targets that are refused."""

import asyncio
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.downloads.downloads import MIB, Downloads, some_bytes
from tests.support.sources.fake import Behaviour, FakeSource, running

from p2p_client.download.events import Finished
from p2p_client.errors import LocalRefusal, TargetExists, TargetUnwritable, TransferFailed
from p2p_client.models import Digest


@pytest.mark.parametrize("size_bytes", [0, 1, MIB - 1, MIB, MIB + 1, 7 * MIB + 12345])
async def test_any_size_arrives_whole(
    downloads: Downloads, tmp_path: Path, size_bytes: int
) -> None:
    alice = FakeSource("alice", some_bytes(size_bytes))
    async with running(alice) as directory:
        finished = await downloads.fetch(directory, alice.digest, tmp_path / "target")

    assert (tmp_path / "target").read_bytes() == alice.content
    assert os.listdir(tmp_path) == ["target"]
    assert finished.size_bytes == finished.fetched_bytes == size_bytes
    assert finished.sources == (("alice",) if size_bytes else ())
    assert downloads.events[-1] == finished


async def test_the_file_has_an_ordinary_mode_and_is_new(
    downloads: Downloads, tmp_path: Path
) -> None:
    alice = FakeSource("alice", b"content")
    async with running(alice) as directory:
        await downloads.fetch(directory, alice.digest, tmp_path / "target")
    (tmp_path / "other").touch()

    ours, other = (tmp_path / "target").stat(), (tmp_path / "other").stat()

    assert stat.S_IMODE(ours.st_mode) == stat.S_IMODE(other.st_mode)
    assert abs(ours.st_mtime - other.st_mtime) < 60


async def test_several_sources_all_give(downloads: Downloads, tmp_path: Path) -> None:
    content = some_bytes(48 * MIB)
    pace = Behaviour(bytes_per_second=40 * MIB)
    sources = [FakeSource(user, content, behaviour=pace) for user in ("alice", "bob", "carol")]
    async with running(*sources) as directory:
        finished = await downloads.fetch(directory, sources[0].digest, tmp_path / "target")

    assert (tmp_path / "target").read_bytes() == content
    assert set(finished.sources) == {"alice", "bob", "carol"}
    assert sum(source.served_bytes for source in sources) <= 1.02 * len(content) + 4 * MIB
    assert finished.fetched_bytes <= 1.02 * len(content) + MIB


async def test_a_source_with_tiny_chunks_is_as_good(downloads: Downloads, tmp_path: Path) -> None:
    alice = FakeSource("alice", some_bytes(2 * MIB + 5), behaviour=Behaviour(chunk_bytes=1000))
    async with running(alice) as directory:
        await downloads.fetch(directory, alice.digest, tmp_path / "target")

    assert (tmp_path / "target").read_bytes() == alice.content


async def test_progress_grows_to_the_whole(downloads: Downloads, tmp_path: Path) -> None:
    pace = Behaviour(bytes_per_second=10 * MIB)
    alice = FakeSource("alice", some_bytes(8 * MIB), behaviour=pace)
    async with running(alice) as directory:
        await downloads.fetch(directory, alice.digest, tmp_path / "target")

    verified = [event.verified_bytes for event in downloads.progress]
    assert verified == sorted(verified)
    assert verified[-1] == 8 * MIB
    assert 2 <= len(verified) <= 20
    assert downloads.started.sources == ("alice",)


async def test_the_grant_of_the_source_goes_with_each_call(
    downloads: Downloads, tmp_path: Path
) -> None:
    alice = FakeSource("alice", b"content")
    async with running(alice) as directory:
        await downloads.fetch(directory, alice.digest, tmp_path / "target")

    assert alice.grants == ["Bearer grant-1"]


async def test_one_content_into_several_targets_at_once(
    downloads: Downloads, tmp_path: Path
) -> None:
    alice = FakeSource("alice", some_bytes(3 * MIB))
    async with running(alice) as directory, asyncio.TaskGroup() as group:
        for number in range(4):
            target = tmp_path / f"target-{number}"
            group.create_task(downloads.fetch(directory, alice.digest, target))

    assert sorted(os.listdir(tmp_path)) == [f"target-{number}" for number in range(4)]
    assert {path.read_bytes() for path in tmp_path.iterdir()} == {alice.content}


async def test_the_same_download_twice_at_once_is_told(
    downloads: Downloads, tmp_path: Path
) -> None:
    pace = Behaviour(bytes_per_second=8 * MIB)
    alice = FakeSource("alice", some_bytes(4 * MIB), behaviour=pace)
    async with running(alice) as directory:
        results = await asyncio.gather(
            *(downloads.fetch(directory, alice.digest, tmp_path / "target") for _ in range(2)),
            return_exceptions=True,
        )

    assert isinstance(results[0], Finished)
    assert isinstance(results[1], LocalRefusal)
    assert results[1].reason == "DOWNLOAD_RUNNING"
    assert os.listdir(tmp_path) == ["target"]


async def test_different_contents_into_one_target_leave_one_of_them_whole(
    downloads: Downloads, tmp_path: Path
) -> None:
    pace = Behaviour(bytes_per_second=20 * MIB)
    alice = FakeSource("alice", some_bytes(4 * MIB), behaviour=pace)
    bob = FakeSource("bob", some_bytes(6 * MIB, seed=2), behaviour=pace)
    async with running(alice, bob) as directory:
        results = await asyncio.gather(
            *(downloads.fetch(directory, s.digest, tmp_path / "target") for s in (alice, bob)),
            return_exceptions=True,
        )

        assert isinstance(results[0], Finished)
        assert isinstance(results[1], TargetExists)
        assert (tmp_path / "target").read_bytes() == alice.content

        (tmp_path / "target").unlink()
        again = await downloads.fetch(directory, bob.digest, tmp_path / "target")

    assert again.fetched_bytes == 0
    assert (tmp_path / "target").read_bytes() == bob.content
    assert os.listdir(tmp_path) == ["target"]


@pytest.mark.parametrize("is_same", [True, False])
async def test_an_existing_file_is_kept_and_nothing_fetched(
    downloads: Downloads, tmp_path: Path, is_same: bool
) -> None:
    alice = FakeSource("alice", b"content")
    (tmp_path / "target").write_bytes(b"content" if is_same else b"other")
    async with running(alice) as directory:
        with pytest.raises(TargetExists):
            await downloads.fetch(directory, alice.digest, tmp_path / "target")

        assert directory.calls == 0
        assert os.listdir(tmp_path) == ["target"]

        await downloads.fetch(directory, alice.digest, tmp_path / "target", overwrite=True)

    assert (tmp_path / "target").read_bytes() == b"content"


@pytest.fixture
def closed_folder() -> Iterator[Path]:
    """A folder that takes no files; as root, who may write everywhere, we are nobody meanwhile."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o555)
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    try:
        yield folder
    finally:
        os.seteuid(before)
        folder.chmod(0o700)
        folder.rmdir()


async def test_a_folder_without_permission_is_refused_first(
    downloads: Downloads, closed_folder: Path
) -> None:
    alice = FakeSource("alice", b"content")
    async with running(alice) as directory:
        with pytest.raises(TargetUnwritable):
            await downloads.fetch(directory, alice.digest, closed_folder / "target")

        assert directory.calls == 0


async def test_an_absent_folder_is_refused_first(downloads: Downloads, tmp_path: Path) -> None:
    alice = FakeSource("alice", b"content")
    async with running(alice) as directory:
        with pytest.raises(TargetUnwritable):
            await downloads.fetch(directory, alice.digest, tmp_path / "absent" / "target")

        assert directory.calls == 0


async def test_without_any_source_it_says_so_and_leaves_nothing(
    downloads: Downloads, tmp_path: Path
) -> None:
    async with running() as directory:
        with pytest.raises(TransferFailed, match="no peer"):
            await downloads.fetch(directory, Digest("ab" * 32), tmp_path / "target")

    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["x" * 255, "\u20ac" * 85])
async def test_the_longest_names_work(downloads: Downloads, tmp_path: Path, name: str) -> None:
    alice = FakeSource("alice", b"content")
    async with running(alice) as directory:
        await downloads.fetch(directory, alice.digest, tmp_path / name)

    assert os.listdir(tmp_path) == [name]
