"""A new folder begins to come while it is listed; nothing has its name before the list is whole."""

import asyncio
import errno
import os
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.support.sources.fake import digest_of
from tests.support.sources.trees import WHEN, Trees, TreeSource, on_disk, trees_from

from p2p_client.download.place.place import Place
from p2p_client.download.tree.disk import writer
from p2p_client.download.tree.disk.ground import Ground
from p2p_client.download.tree.disk.staging import Staging, staging_names
from p2p_client.download.tree.early import wanted
from p2p_client.download.tree.early.head_start import HeadStart, Pages, head_start
from p2p_client.download.tree.early.wanted import Folder, Wanted
from p2p_client.download.tree.events import TreeFinished
from p2p_client.download.tree.fetch import TreeDownloader
from p2p_client.errors import Ambiguous, DiskFull, TargetExists
from p2p_client.models import ListedPeer, ListedResource, Resource
from p2p_client.transfer.pace import Pace

MIB = 1 << 20
FILES = {f"tree/{n % 7}/file-{n}.txt": f"content {n}".encode() * 9 for n in range(300)}
ALL = tuple(FILES.values())
FOLDER = Folder("alice", "tree/", 0, "tree")
Meanwhile = Callable[[HeadStart], Awaitable[None]]


def listed(peer: ListedPeer, files: dict[str, bytes]) -> list[ListedResource]:
    rows = []
    for path, content in files.items():
        digest, manifest = digest_of(content)
        resource = Resource(path, len(content), digest, manifest.digest(), WHEN, "")
        rows.append(ListedResource(resource, peer))
    return rows


def halves(files: dict[str, bytes]) -> tuple[dict[str, bytes], dict[str, bytes]]:
    half = len(files) // 2
    return dict([*files.items()][:half]), dict([*files.items()][half:])


@asynccontextmanager
async def begun(trees: Trees, root: Path) -> AsyncIterator[HeadStart]:
    def make() -> TreeDownloader:
        return TreeDownloader(
            trees.locate, trees.channels, trees.settings, Pace(None), patience_seconds=0.5
        )

    async with head_start(FOLDER, root, overwrite=False, make_trees=make) as head:
        yield head


async def fetch(
    trees: Trees, pages: Sequence[dict[str, bytes]], root: Path, meanwhile: Meanwhile | None = None
) -> TreeFinished:
    """As the first source lists it, in so many pages; `meanwhile` is waited for after the first."""
    peer = trees.sources[0].listed

    async def listing() -> Pages:
        for number, page in enumerate(pages):
            if number == 1 and meanwhile is not None:
                await meanwhile(head)
            yield listed(peer, page)

    async with begun(trees, root) as head:
        async for _ in head.pages(listing()):
            pass
        files = {path: content for page in pages for path, content in page.items()}
        downloader = TreeDownloader(
            trees.locate, trees.channels, trees.settings, Pace(None), patience_seconds=0.5
        )
        return await downloader.fetch(
            trees.tree(files), root, overwrite=False, on_event=trees.events.append, head=head
        )


def all_there(root: Path, contents: Sequence[bytes]) -> Meanwhile:
    """Waits until all of these stand somewhere below the root."""

    async def wait(_: HeadStart) -> None:
        async with asyncio.timeout(30):
            while not set(contents) <= set(on_disk(root).values()):
                await asyncio.to_thread(time.sleep, 0.01)

    return wait


async def test_files_come_out_of_sight_while_the_list_still_comes(tmp_path: Path) -> None:
    first, second = halves(FILES)

    async def seen(head: HeadStart) -> None:
        await all_there(tmp_path, tuple(first.values()))(head)
        assert not (tmp_path / "tree").exists()
        assert all(path.startswith(".") for path in on_disk(tmp_path))

    async with trees_from(TreeSource("alice", ALL)) as trees:
        done = await fetch(trees, [first, second], tmp_path, seen)

        assert on_disk(tmp_path) == FILES
        assert (done.files, done.failed_files, done.sources) == (300, 0, ("alice",))
        assert done.fetched_bytes == sum(map(len, ALL)) == len(b"".join(trees.sources[0].given))
        assert (trees.started.resumed_files, trees.started.sources) == (0, ("alice",))


async def test_a_list_that_is_refused_leaves_nothing(tmp_path: Path) -> None:
    root = tmp_path / "new"

    async def refuse(head: HeadStart) -> None:
        await all_there(root, tuple(halves(FILES)[0].values()))(head)
        raise Ambiguous("two states of one tree", [])

    async with trees_from(TreeSource("alice", ALL)) as trees:
        with pytest.raises(Ambiguous):
            await fetch(trees, halves(FILES), root, refuse)

    assert not root.exists()


async def test_one_that_is_cancelled_while_the_list_comes_leaves_nothing(tmp_path: Path) -> None:
    came, first_page = asyncio.Event(), halves(FILES)[0]

    async def for_ever(head: HeadStart) -> None:
        await all_there(tmp_path, tuple(first_page.values()))(head)
        came.set()
        await asyncio.Event().wait()

    async with trees_from(TreeSource("alice", ALL)) as trees:
        async with asyncio.TaskGroup() as tasks, asyncio.timeout(30):
            fetching = tasks.create_task(fetch(trees, [first_page, FILES], tmp_path, for_ever))
            await came.wait()
            fetching.cancel()
            await asyncio.wait({fetching})

        assert fetching.cancelled()
        assert not list(tmp_path.iterdir())


async def test_a_file_that_clashes_with_a_later_folder_is_removed(tmp_path: Path) -> None:
    files = FILES | {"tree/x": b"a file", "tree/x/y": b"in a folder of that name"}
    contents = tuple(files.values())
    async with trees_from(TreeSource("alice", contents)) as trees:
        first = {"tree/x": b"a file"}
        rest = {path: content for path, content in files.items() if path not in first}
        done = await fetch(trees, [first, rest], tmp_path, all_there(tmp_path, (b"a file",)))

        del files["tree/x"]
        assert on_disk(tmp_path) == files
        assert done.failed_files == 1
        assert trees.failed == {"x": "NAME_CLASHES"}


@pytest.mark.parametrize("rest", [{}, {"tree/z": b"small"}])
async def test_where_all_that_came_early_is_removed_the_rest_is_not_left_out_of_sight(
    tmp_path: Path, rest: dict[str, bytes]
) -> None:
    large = bytes(2 * MIB)
    files = {"tree/x": b"a file", "tree/x/large": large, **rest}
    async with trees_from(TreeSource("alice", tuple(files.values()))) as trees:
        first = {"tree/x": b"a file"}
        later = {path: content for path, content in files.items() if path not in first}
        done = await fetch(trees, [first, later], tmp_path, all_there(tmp_path, (b"a file",)))

        assert on_disk(tmp_path) == later
        assert done.failed_files == 1
    assert [each.name for each in tmp_path.iterdir()] == ["tree"]


async def test_the_part_file_of_a_large_one_is_never_out_of_sight(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    large, seen, place = bytes(2 * MIB), list[bool](), Ground.place

    def place_seen(self: Ground, where: str) -> Place:
        found = place(self, where)
        seen.append(os.path.samestat(os.fstat(found.folder_fd), (tmp_path / "tree/x").stat()))
        return found

    monkeypatch.setattr(Ground, "place", place_seen)
    files = {"tree/x": b"a file", "tree/x/large": large}
    async with trees_from(TreeSource("alice", tuple(files.values()))) as trees:
        first, later = {"tree/x": b"a file"}, {"tree/x/large": large}
        await fetch(trees, [first, later], tmp_path, all_there(tmp_path, (b"a file",)))

    assert seen == [True]


async def no_more(head: HeadStart) -> None:
    """Waits until the head start has ended by itself, while the list still comes."""
    assert head._running is not None
    async with asyncio.timeout(30):
        await asyncio.wait({head._running})


async def test_where_the_folder_is_there_nothing_comes_early(tmp_path: Path) -> None:
    first, second = halves(FILES)
    for path, content in first.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(content)
    async with trees_from(TreeSource("alice", ALL)) as trees:
        done = await fetch(trees, [first, second], tmp_path, no_more)

        assert on_disk(tmp_path) == FILES
        assert sorted(trees.sources[0].given) == sorted(second.values())
        assert done.resumed_bytes == sum(map(len, first.values()))


async def test_another_file_in_the_way_is_refused_before_a_byte_comes(tmp_path: Path) -> None:
    path = next(iter(FILES))
    (tmp_path / path).parent.mkdir(parents=True)
    (tmp_path / path).write_bytes(b"mine")
    async with trees_from(TreeSource("alice", ALL)) as trees:
        with pytest.raises(TargetExists):
            await fetch(trees, halves(FILES), tmp_path, no_more)

        assert on_disk(tmp_path) == {path: b"mine"}
        assert not trees.sources[0].given


async def test_a_folder_that_appears_meanwhile_is_not_written_over(tmp_path: Path) -> None:
    path, other = next(iter(FILES)), "tree/mine"
    first, second = halves(FILES)

    async def appear(head: HeadStart) -> None:
        await all_there(tmp_path, tuple(first.values()))(head)
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).write_bytes(b"mine")
        (tmp_path / other).write_bytes(b"mine too")

    async with trees_from(TreeSource("alice", ALL)) as trees:
        done = await fetch(trees, [first, second], tmp_path, appear)

        assert on_disk(tmp_path) == FILES | {path: b"mine", other: b"mine too"}
        assert trees.failed == {path.rpartition("/")[2]: "TARGET_EXISTS"}
        assert done.failed_files == 1


async def test_a_wrong_content_that_came_early_is_fetched_elsewhere(tmp_path: Path) -> None:
    wrong = frozenset(ALL[:5])
    async with trees_from(TreeSource("alice", ALL, wrong=wrong), TreeSource("bob", ALL)) as trees:
        done = await fetch(trees, halves(FILES), tmp_path)

        assert on_disk(tmp_path) == FILES
        assert not done.failed_files


async def test_a_source_that_falls_silent_early_holds_up_nobody(tmp_path: Path) -> None:
    async with trees_from(TreeSource("alice", ALL, stall_after=40), TreeSource("b", ALL)) as trees:
        done = await fetch(trees, halves(FILES), tmp_path)

        assert on_disk(tmp_path) == FILES
        assert not done.failed_files


async def test_large_and_empty_files_and_twins_come_as_well(tmp_path: Path) -> None:
    large = bytes(range(256)) * (3 * MIB // 256) + b"end"
    twins = {"tree/twin-a": b"twin", "tree/sub/twin-b": b"twin"}
    later = {"tree/large": large, "tree/empty": b"", "tree/new/twin-c": b"twin"}
    files = FILES | twins | later
    first = FILES | twins
    async with trees_from(TreeSource("alice", (*ALL, large, b"twin"))) as trees:
        done = await fetch(trees, [first, later], tmp_path, all_there(tmp_path, (*ALL, b"twin")))

        assert on_disk(tmp_path) == files
        assert done.fetched_bytes == sum(map(len, ALL)) + len(large) + len(b"twin")


async def test_many_files_of_one_content_are_not_copied_one_by_one(tmp_path: Path) -> None:
    first, later = {"tree/a": b"same"}, {f"tree/b/{n}": b"same" for n in range(100)}
    async with trees_from(TreeSource("alice", (b"same",))) as trees:
        done = await fetch(trees, [first, later], tmp_path, all_there(tmp_path, (b"same",)))

        assert on_disk(tmp_path) == first | later
        assert done.fetched_bytes == 2 * len(b"same")


async def test_a_disk_that_takes_no_more_is_told_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, written = Staging.write, list[str]()

    def write_some(self: Staging, data: bytes, place: str) -> str:
        if len(written) >= 40:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written.append(place)
        return write(self, data, place)

    async def full(_: HeadStart) -> None:
        async with asyncio.timeout(30):
            while len(written) < 40:
                await asyncio.to_thread(time.sleep, 0.01)

    monkeypatch.setattr(Staging, "write", write_some)
    async with trees_from(TreeSource("alice", ALL)) as trees:
        with pytest.raises(DiskFull):
            await fetch(trees, [FILES, {}], tmp_path, full)

        assert not on_disk(tmp_path)
        assert not [each for each in tmp_path.iterdir() if each.name.startswith(".")]
        monkeypatch.undo()
        await fetch(trees, [FILES], tmp_path)
        assert on_disk(tmp_path) == FILES


async def test_a_disk_that_fails_while_names_are_held_back_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = threading.Event()

    def fail(self: Staging, places: object) -> None:
        tried.set()
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    async def flushed(_: HeadStart) -> None:
        assert await asyncio.to_thread(tried.wait, 30)

    monkeypatch.setattr(writer, "BATCH_FILES", 32)
    monkeypatch.setattr(Staging, "flush", fail)
    async with trees_from(TreeSource("alice", ALL)) as trees:
        done = await fetch(trees, halves(FILES), tmp_path, flushed)

        assert on_disk(tmp_path) == FILES  # the disk was well again: all of it came anew
        assert not done.failed_files


async def test_what_a_killed_one_left_is_swept(tmp_path: Path) -> None:
    name, tag = staging_names("alice:tree/")
    (tmp_path / name).touch()
    hidden = tmp_path / f".1{tag}"
    (hidden / "0").mkdir(parents=True)
    (hidden / "0/file-0.txt").write_bytes(b"half")
    async with trees_from(TreeSource("alice", ALL)) as trees:
        await fetch(trees, halves(FILES), tmp_path)

        assert on_disk(tmp_path) == FILES
        assert [each.name for each in tmp_path.iterdir()] == ["tree"]


def names(found: Wanted) -> list[str]:
    return [found.places[file] for content in found.take() for file in content.files]


def test_early_come_only_files_of_that_user_and_folder_with_safe_names() -> None:
    peer, other = TreeSource("Alice", ()).listed, TreeSource("mallory", ()).listed
    found = Wanted(FOLDER)
    found.add(listed(other, {"tree/other": b"1"}))
    found.add(
        listed(
            peer,
            {
                "tree/good": b"2",
                "tree/../../bad": b"3",
                "tree/a.p2p-part": b"4",
                "trees/b": b"5",
                "tree/empty": b"",
                "tree/large": bytes(MIB + 1),
            },
        )
    )

    assert names(found) == ["tree/good"]
    assert found.user == "Alice"


def test_early_comes_no_more_than_can_be_thrown_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wanted, "MOST_BYTES", 10)
    found = Wanted(FOLDER)
    found.add(listed(TreeSource("alice", ()).listed, {f"tree/{n}": b"%04d" % n for n in range(9)}))

    assert names(found) == ["tree/0", "tree/1"]


def test_a_call_asks_for_no_more_than_a_few_megabytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wanted, "CALL_BYTES", 10)
    found = Wanted(FOLDER)
    found.add(listed(TreeSource("alice", ()).listed, {f"tree/{n}": b"%04d" % n for n in range(5)}))

    assert [len(found.take()) for _ in range(4)] == [2, 2, 1, 0]
