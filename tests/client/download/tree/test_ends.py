"""A tree whose disk is slow or full, or that is left in the middle: nothing lost, nothing left."""

import asyncio
import errno
import os
import threading
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from blake3 import blake3
from tests.support.sources.trees import TreeSource, on_disk, trees_from

from p2p_client.download.threads import until_stopped
from p2p_client.download.tree.account import Account
from p2p_client.download.tree.disk.ground import Ground
from p2p_client.download.tree.disk.staging import FEW, Staging
from p2p_client.download.tree.disk.writer import Arrived, Watch, Writer
from p2p_client.download.tree.lanes import handout
from p2p_client.download.tree.lanes.givers import MOST_LOCATED, Givers
from p2p_client.download.tree.lanes.packed import Asked, Came, PackedSource
from p2p_client.download.tree.lanes.small import MOST_SOURCES, SmallContents
from p2p_client.download.tree.plan import TreeFile, contents_of
from p2p_client.errors import DiskFull
from p2p_client.models import Digest, Holding, ManifestDigest, PeerId, Source

WHEN = datetime(2026, 1, 1, tzinfo=UTC)
TELL_NOBODY = Watch(lambda content, count: None, lambda file: None, lambda file, error: None)
LONG_SECONDS = 20


def digest_of(content: bytes) -> bytes:
    return blake3(content).digest()


def files_of(contents: Sequence[bytes]) -> list[TreeFile]:
    return [
        TreeFile(f"tree/{at}", len(content), digest_of(content), bytes(32), WHEN, "", ())
        for at, content in enumerate(contents)
    ]


class Everybody:
    """A directory in which each of some users has everything."""

    def __init__(self, users: int, size_bytes: int) -> None:
        self.sources = [
            Source(PeerId(f"peer-number-{n:05}"), f"user{n}", (), b"", "", WHEN)
            for n in range(users)
        ]
        self.size_bytes = size_bytes
        self.asked: list[Sequence[Digest]] = []

    async def locate(self, digests: Sequence[Digest]) -> list[Holding]:
        self.asked.append(digests)
        return [
            Holding(digest, source, ManifestDigest(""), self.size_bytes)
            for digest in digests
            for source in self.sources
        ]


class Slow(Writer):
    """The first thing that comes takes until the disk is back."""

    disk_is_back: asyncio.Event
    on_verified: Callable[[int, int], None]

    async def put(self, arrived: Sequence[Arrived]) -> list[int]:
        if any(item.content == 0 for item in arrived):
            await self.disk_is_back.wait()
        for item in arrived:
            self.on_verified(item.content, len(item.data))
        return []


async def test_what_waits_for_the_disk_is_kept_when_its_call_is_taken_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contents = [b"%d" % at for at in range(4)]
    files = files_of(contents)
    directory = Everybody(2, 1)
    disk_is_back = asyncio.Event()
    first = directory.sources[0].peer_id

    class Giver(PackedSource):
        """The first gives two contents and falls silent; the second finds the disk back."""

        def __init__(self, source: Source) -> None:
            self.source = source

        async def fetch(
            self, wanted: Sequence[Asked], on_queued: object = None
        ) -> AsyncGenerator[Came, None]:
            if self.source.peer_id == first:
                if len(wanted) == len(contents):
                    yield [contents[0]]
                    monkeypatch.setattr(handout, "STUCK_SECONDS", 0.0)
                    yield [contents[1]]
                await asyncio.Event().wait()
            monkeypatch.setattr(handout, "STUCK_SECONDS", 3600.0)
            disk_is_back.set()
            for asked in wanted:
                yield [next(c for c in contents if digest_of(c) == asked.digest)]

    monkeypatch.setattr(handout, "STUCK_SECONDS", 3600.0)
    monkeypatch.setattr(handout, "WORTH_SECONDS", 3600.0)
    account = Account(files, [file.path for file in files], tmp_path, lambda event: None)
    givers = Givers(files, contents_of(files, range(4)), directory.locate)
    await givers.locate()
    fetching = SmallContents(
        files,
        contents_of(files, range(4)),
        givers,
        account,
        most_bytes=1 << 20,
        patience_seconds=1.0,
    )
    with (
        closing(Ground.open(tmp_path / "root", overwrite=False)) as ground,
        closing(Staging.open(ground, "anna:tree", [])) as staging,
    ):
        writer = Slow(staging, [], TELL_NOBODY)
        writer.disk_is_back, writer.on_verified = disk_is_back, fetching.verified

        async with asyncio.timeout(LONG_SECONDS):
            await fetching.run(writer, Giver)
        await writer.close()

    assert account.verified_bytes == 4
    assert not account.failed_count


async def test_no_more_than_some_sources_are_asked_at_once(tmp_path: Path) -> None:
    files = files_of([b"x"])
    directory = Everybody(3 * MOST_SOURCES, 1)
    contents = contents_of(files, [0])
    account = Account(files, ["x"], tmp_path, lambda event: None)
    givers = Givers(files, contents, directory.locate)
    await givers.locate()
    fetching = SmallContents(
        files, contents, givers, account, most_bytes=1 << 20, patience_seconds=0.0
    )
    asked: list[list[PeerId]] = []

    class Silent(PackedSource):
        def __init__(self, source: Source) -> None:
            self.source = source
            asked[-1].append(source.peer_id)

    for _ in range(3):
        asked.append([])
        fetching._offer(Silent)

    assert [len(some) for some in asked] == [MOST_SOURCES] * 3
    assert {peer for some in asked for peer in some} == {s.peer_id for s in directory.sources}


async def test_each_content_without_a_source_is_located_in_its_turn() -> None:
    files = files_of([b"%d" % at for at in range(MOST_LOCATED + 10)])
    directory = Everybody(0, 1)
    givers = Givers(files, contents_of(files, range(len(files))), directory.locate)

    await givers.locate_again(range(len(files)))
    await givers.locate_again(range(len(files)))

    assert len({digest for asked in directory.asked for digest in asked}) == len(files)


class FullDisk(Staging):
    def sync(self, written: Sequence[tuple[str, str]]) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


async def test_what_a_full_disk_does_not_keep_is_not_left_under_hidden_names(
    tmp_path: Path,
) -> None:
    contents = [b"%d" % at for at in range(30)]
    arrived = [Arrived(at, digest_of(c), [at], c) for at, c in enumerate(contents)]
    with (
        closing(Ground.open(tmp_path / "root", overwrite=False)) as ground,
        closing(FullDisk.open(ground, "anna:tree", [])) as staging,
    ):
        writer = Writer(staging, [f"sub/{at}" for at in range(30)], TELL_NOBODY)
        await writer.put(arrived[:20])
        with pytest.raises(DiskFull):
            await writer.finish()
        await writer.put(arrived[20:])
        await writer.close()

    assert not on_disk(tmp_path)


async def test_an_empty_file_that_cannot_be_written_does_not_stop_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Staging.write

    def write_some(self: Staging, data: bytes, place: str) -> str:
        if place == "tree/no/empty":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return write(self, data, place)

    monkeypatch.setattr(Staging, "write", write_some)
    files = {"tree/no/empty": b"", "tree/empty": b"", "tree/full": b"1"}
    async with trees_from(TreeSource("alice", (b"1",))) as trees:
        done = await trees.fetch(trees.tree(files), tmp_path)

        assert on_disk(tmp_path) == {"tree/empty": b"", "tree/full": b"1"}
        assert done.failed_files == 1
        assert trees.failed == {"empty": "TARGET_UNWRITABLE"}


async def test_a_large_content_whose_first_place_is_taken_comes_to_its_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = b"large" * (1 << 19)
    place = Ground.place

    def place_late(self: Ground, where: str) -> object:
        if where == "tree/a":
            (tmp_path / "tree").mkdir()
            (tmp_path / "tree/a").write_bytes(b"mine")
        return place(self, where)

    monkeypatch.setattr(Ground, "place", place_late)
    async with trees_from(TreeSource("alice", (large,))) as trees:
        await trees.fetch(trees.tree({"tree/a": large, "tree/b": large}), tmp_path)

        assert on_disk(tmp_path) == {"tree/a": b"mine", "tree/b": large}
        assert trees.failed == {"a": "TARGET_EXISTS"}


async def test_a_copy_that_is_left_in_the_middle_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "origin").write_bytes(b"x" * 100)
    reading, may_go_on = threading.Event(), threading.Event()
    with (
        closing(Ground.open(tmp_path, overwrite=False)) as ground,
        closing(Staging.open(ground, "anna:tree", [])) as staging,
    ):

        def copy(stop: threading.Event) -> str | None:
            reading.set()
            may_go_on.wait(LONG_SECONDS)
            return staging.copy("origin", "copy", digest_of(b"x" * 100), stop)

        async with asyncio.TaskGroup() as tasks:
            copying = tasks.create_task(until_stopped(copy))
            await asyncio.to_thread(reading.wait, LONG_SECONDS)
            copying.cancel()
            await asyncio.sleep(0)
            assert not copying.done()  # the ground must not be closed under the thread
            may_go_on.set()

    assert copying.cancelled()
    assert on_disk(tmp_path) == {"origin": b"x" * 100}


async def test_closing_leaves_the_loop_free_and_ends_with_its_threads(tmp_path: Path) -> None:
    syncing, may_go_on = threading.Event(), threading.Event()

    class SlowDisk(Staging):
        def sync(self, written: Sequence[tuple[str, str]]) -> None:
            syncing.set()
            may_go_on.wait(LONG_SECONDS)
            super().sync(written)

    with (
        closing(Ground.open(tmp_path, overwrite=False)) as ground,
        closing(SlowDisk.open(ground, "anna:tree", [])) as staging,
    ):
        writer = Writer(staging, ["a"], TELL_NOBODY)
        await writer.put([Arrived(0, digest_of(b"x"), [0], b"x")])
        async with asyncio.TaskGroup() as tasks:
            closing_it = tasks.create_task(writer.close())
            await asyncio.to_thread(syncing.wait, LONG_SECONDS)
            closing_it.cancel()
            await asyncio.sleep(0)
            assert not closing_it.done()
            may_go_on.set()

    assert on_disk(tmp_path) == {"a": b"x"}


def test_every_disk_below_the_ground_is_made_durable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = [f"{folder}/{at}" for folder in ("here", "mounted") for at in range(FEW)]
    with (
        closing(Ground.open(tmp_path, overwrite=False)) as ground,
        closing(Staging.open(ground, "anna:tree", [])) as staging,
    ):
        (tmp_path / "mounted").mkdir()
        written = [(staging.write(b"x", place), place) for place in places]
        mounted = (tmp_path / "mounted").stat().st_ino
        fstat = os.fstat

        def fstat_of_two_disks(fd: int) -> os.stat_result:
            found = fstat(fd)
            device = found.st_dev + (found.st_ino == mounted)
            return os.stat_result((*found[:2], device, *found[3:]))

        monkeypatch.setattr(os, "fstat", fstat_of_two_disks)
        synced: list[int] = []

        def syncfs(fd: int) -> int:
            synced.append(fstat(fd).st_ino)
            return 0

        monkeypatch.setattr(staging, "_syncfs", syncfs)
        staging.sync(written)

    assert mounted in synced
    assert len(synced) == 2


def test_a_folder_that_was_moved_away_does_not_stop_the_end(tmp_path: Path) -> None:
    with (
        closing(Ground.open(tmp_path / "root", overwrite=False)) as ground,
        closing(Staging.open(ground, "anna:tree", [])) as staging,
    ):
        for at in range(70):  # more than are held open
            written = [(staging.write(b"x", f"{at}/x"), f"{at}/x")]
            assert staging.publish(written, ground.close_new()) == [None]
        (tmp_path / "root/0").rename(tmp_path / "moved")
        (tmp_path / "root/0").symlink_to(tmp_path)

        ground.sync_folders()

    assert (tmp_path / "moved/x").read_bytes() == b"x"


def test_a_folder_named_like_what_was_left_does_not_stop_the_sweep(tmp_path: Path) -> None:
    with closing(Ground.open(tmp_path, overwrite=False)) as ground:
        killed = Staging.open(ground, "anna:tree", [])
        left = [killed.write(b"half", "x") for _ in range(3)]
        for name in left[1:]:
            (tmp_path / name).rename(tmp_path / "aside")
            (tmp_path / name).mkdir()
            (tmp_path / "aside").rename(tmp_path / name.replace(".2.", ".7.").replace(".3.", ".8."))
        os.close(killed._fd)  # as the kernel does, without a word
        with closing(Staging.open(ground, "anna:tree", ["x"])):
            pass

    assert not on_disk(tmp_path)
