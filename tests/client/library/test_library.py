"""A library lists what is on disk, soon after it is there, and nothing that is gone."""

import asyncio
import os
import shutil
import time
from pathlib import Path

import pytest
from tests.support.libraries import a_library, last_progress, until

from p2p_client.content.manifest import Hashing
from p2p_client.errors import LocalRefusal, UsageError
from p2p_client.library.catalog import Catalog
from p2p_client.library.disk.files import Signature
from p2p_client.library.errors import ContentChanged, ContentUnknown
from p2p_client.library.events import HashProgress, Listed, Notice, Skipped, Withdrawn
from p2p_client.library.library import Library
from p2p_client.models import Digest


@pytest.fixture
def share(tmp_path: Path) -> Path:
    share = tmp_path / "share"
    (share / "sub").mkdir(parents=True)
    (share / "a.txt").write_bytes(b"alpha")
    (share / "sub" / "b.txt").write_bytes(b"beta")
    return share


@pytest.fixture
def cache_file(tmp_path: Path) -> Path:
    return tmp_path / "cache.db"


async def test_all_that_is_there_is_listed_and_can_be_opened(share: Path, cache_file: Path) -> None:
    async with a_library(share, cache_file=cache_file) as shared:
        assert shared.paths == {"share/a.txt", "share/sub/b.txt"}
        assert shared.catalog.settled
        for path, resource in shared.resources.items():
            content = (share.parent / path).read_bytes()
            with await shared.library.open(resource.digest) as opened:
                assert opened.size_bytes == len(content)
                assert await opened.read(0, len(content)) == content
                await opened.check()
            manifest = await shared.library.manifest(resource.digest)
            assert manifest.digest() == resource.manifest_digest
        await until(lambda: last_progress(shared) == HashProgress(2, 2, 9, 9))


async def test_what_is_not_shared_is_unknown(share: Path, cache_file: Path) -> None:
    async with a_library(share, cache_file=cache_file) as shared:
        with pytest.raises(ContentUnknown):
            await shared.library.open(Digest("0" * 64))
        with pytest.raises(ContentUnknown):
            await shared.library.manifest(Digest("0" * 64))


async def test_new_changed_renamed_and_deleted_files_are_noticed_soon(
    share: Path, cache_file: Path
) -> None:
    async with a_library(share, cache_file=cache_file) as shared:
        (share / "new" / "deep").mkdir(parents=True)
        (share / "new" / "deep" / "c").write_bytes(b"gamma")
        await until(lambda: "share/new/deep/c" in shared.paths, within_seconds=2)

        (share / "new" / "deep" / "c").write_bytes(b"other")
        before = shared.digest("share/a.txt")
        (share / "a.txt").write_bytes(b"ALPHA")
        await until(lambda: shared.resources.get("share/a.txt"), within_seconds=2)
        await until(
            lambda: "share/a.txt" in shared.paths and shared.digest("share/a.txt") != before,
            within_seconds=2,
        )

        (share / "new").rename(share / "moved")
        await until(lambda: "share/moved/deep/c" in shared.paths, within_seconds=2)
        assert "share/new/deep/c" not in shared.paths

        shutil.rmtree(share / "moved")
        (share / "sub" / "b.txt").unlink()
        await until(lambda: shared.paths == {"share/a.txt"}, within_seconds=2)
        assert {event.path for event in shared.told(Withdrawn) if isinstance(event, Withdrawn)} >= {
            "share/sub/b.txt",
            "share/moved/deep/c",
        }


async def test_a_folder_replaced_by_another_is_listed_as_the_other(
    share: Path, cache_file: Path, tmp_path: Path
) -> None:
    (tmp_path / "other" / "deeper").mkdir(parents=True)
    (tmp_path / "other" / "deeper" / "x").write_bytes(b"x")
    async with a_library(share, cache_file=cache_file) as shared:
        shutil.rmtree(share / "sub")
        (tmp_path / "other").rename(share / "sub")
        await until(lambda: shared.paths == {"share/a.txt", "share/sub/deeper/x"})

        (share / "sub" / "deeper" / "y").write_bytes(b"y")
        await until(lambda: "share/sub/deeper/y" in shared.paths, within_seconds=2)


async def test_a_root_that_goes_and_comes_back_is_withdrawn_and_listed_again(
    share: Path, cache_file: Path, tmp_path: Path
) -> None:
    async with a_library(share, cache_file=cache_file) as shared:
        share.rename(tmp_path / "away")
        await until(lambda: not shared.paths)
        assert shared.skipped == {"share": "is not there"}

        (tmp_path / "away").rename(share)
        await until(lambda: len(shared.paths) == 2)
        (share / "later").write_bytes(b"x")
        await until(lambda: "share/later" in shared.paths, within_seconds=2)
        assert shared.skipped == {}


async def test_a_single_file_is_followed_through_being_replaced_and_deleted(
    share: Path, cache_file: Path
) -> None:
    file = share / "a.txt"
    async with a_library(file, cache_file=cache_file) as shared:
        assert shared.paths == {"a.txt"}
        before = shared.digest("a.txt")

        (share / "draft").write_bytes(b"better")
        (share / "draft").replace(file)
        await until(lambda: "a.txt" in shared.paths and shared.digest("a.txt") != before)

        file.unlink()
        await until(lambda: not shared.paths)
        file.write_bytes(b"again")
        await until(lambda: shared.paths == {"a.txt"})


async def test_a_name_that_is_no_text_does_not_blind_the_watch(
    share: Path, cache_file: Path
) -> None:
    async with a_library(share, cache_file=cache_file) as shared:
        os.mknod(os.fsencode(share) + b"/\xff\xfe")
        (share / "beside").write_bytes(b"x")
        await until(lambda: "share/beside" in shared.paths)
        await until(lambda: len(shared.skipped) == 1)
        (share / "later").write_bytes(b"x")
        await until(lambda: "share/later" in shared.paths, within_seconds=2)


async def test_a_link_in_the_share_is_neither_followed_nor_watched(
    share: Path, cache_file: Path, tmp_path: Path
) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_bytes(b"secret")
    (share / "link").symlink_to(tmp_path / "outside")
    async with a_library(share, cache_file=cache_file) as shared:
        (tmp_path / "outside" / "more").write_bytes(b"more")
        (share / "sign").write_bytes(b"x")
        await until(lambda: "share/sign" in shared.paths)

        assert shared.paths == {"share/a.txt", "share/sub/b.txt", "share/sign"}
        assert shared.told(Skipped) == [
            Skipped("share/link", "is a symlink; share what it points to instead")
        ]


async def test_another_run_hashes_nothing_that_did_not_change(
    share: Path, cache_file: Path
) -> None:
    async with a_library(share, cache_file=cache_file) as shared:
        digests = {path: item.digest for path, item in shared.resources.items()}
        digest = digests["share/a.txt"]
    (share / "sub" / "b.txt").write_bytes(b"changed meanwhile")

    async with a_library(share, cache_file=cache_file) as shared:
        assert shared.digest("share/a.txt") == digest
        assert shared.digest("share/sub/b.txt") != digests["share/sub/b.txt"]
        await until(lambda: last_progress(shared) == HashProgress(1, 1, 17, 17))
        assert (await shared.library.manifest(digest)).size_bytes == 5


async def test_a_file_that_is_known_already_is_shared_without_being_hashed(
    share: Path, cache_file: Path, tmp_path: Path
) -> None:
    file = tmp_path / "film"
    file.write_bytes(b"known")
    hashing = Hashing(5)
    hashing.update(b"known")
    digest, manifest = hashing.finish()
    async with a_library(share, cache_file=cache_file) as shared:
        await until(lambda: last_progress(shared) == HashProgress(2, 2, 9, 9))

        await shared.library.know(file, Signature.of(file.stat()), digest, manifest)
        await shared.library.add(file)
        await shared.library.ready()

        assert shared.resources["film"].digest == digest
        assert await shared.library.manifest(digest) == manifest
        assert last_progress(shared) == HashProgress(2, 2, 9, 9)


async def test_a_lost_manifest_is_made_again_from_the_file(share: Path, cache_file: Path) -> None:
    async with a_library(share, cache_file=cache_file) as shared:
        pass
    cache_file.unlink()
    async with a_library(share, cache_file=cache_file.parent / "no" / "cache.db") as shared:
        resource = shared.resources["share/a.txt"]
        manifest = await shared.library.manifest(resource.digest)
        assert manifest.digest() == resource.manifest_digest
        assert [type(event) for event in shared.told(Notice)] == [Notice]


async def test_a_lost_manifest_of_a_changed_file_is_not_made_up(
    share: Path, cache_file: Path
) -> None:
    async with a_library(share, cache_file=cache_file.parent / "no" / "cache.db") as shared:
        digest = shared.digest("share/a.txt")
        (share / "a.txt").write_bytes(b"other")
        with pytest.raises((ContentChanged, ContentUnknown)):
            await shared.library.manifest(digest)


async def test_a_change_found_at_opening_is_withdrawn_at_once_and_listed_anew(
    share: Path, cache_file: Path
) -> None:
    async with a_library(share, cache_file=cache_file) as shared:
        digest = shared.digest("share/a.txt")
        (share / "a.txt").write_bytes(b"other")
        with pytest.raises(ContentChanged):
            await shared.library.open(digest)

        assert "share/a.txt" not in shared.paths
        await until(lambda: "share/a.txt" in shared.paths)
        assert shared.digest("share/a.txt") != digest


async def test_of_several_files_with_one_content_any_good_one_serves(
    share: Path, cache_file: Path
) -> None:
    (share / "twin").write_bytes(b"alpha")
    async with a_library(share, cache_file=cache_file) as shared:
        digest = shared.digest("share/twin")
        assert digest == shared.digest("share/a.txt")
        for path in ("a.txt", "twin"):
            (share / path).write_bytes(b"else!")
            if path == "a.txt":
                with await shared.library.open(digest) as opened:
                    assert await opened.read(0, 5) == b"alpha"
        with pytest.raises((ContentChanged, ContentUnknown)):
            await shared.library.open(digest)


async def test_recheck_hashes_again_and_keeps_what_is_still_true(
    share: Path, cache_file: Path
) -> None:
    async with a_library(share, cache_file=cache_file) as shared:
        digest = shared.digest("share/a.txt")
        told = len(shared.told(Listed))
        async with asyncio.timeout(5):
            await shared.library.recheck(digest)
            await shared.library.recheck(Digest("0" * 64))

        assert shared.digest("share/a.txt") == digest
        assert len(shared.told(Listed)) == told
        assert shared.told(Withdrawn) == []


async def test_a_file_that_is_written_all_the_time_does_not_hold_up_the_others(
    share: Path, cache_file: Path
) -> None:
    stop = asyncio.Event()

    async def write() -> None:
        with (share / "log").open("ab", buffering=0) as stream:
            while not stop.is_set():
                stream.write(os.urandom(100))
                await asyncio.sleep(0.005)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(write())
        async with a_library(share, cache_file=cache_file) as shared:
            assert {"share/a.txt", "share/sub/b.txt"} <= shared.paths
            stop.set()
            await until(lambda: "share/log" in shared.paths, within_seconds=10)
            size_bytes = (share / "log").stat().st_size
            await until(lambda: shared.resources["share/log"].size_bytes == size_bytes)


async def test_roots_that_would_be_listed_alike_or_are_not_there_are_refused(
    share: Path, cache_file: Path
) -> None:
    twin = share.with_name("other") / "share"
    twin.mkdir(parents=True)
    library = Library(cache_file, Catalog("e"), lambda _: None)
    await library.add(share)

    with pytest.raises(UsageError, match="both would be listed"):
        await library.add(twin)
    with pytest.raises(LocalRefusal, match="No such file"):
        await library.add(share / "missing")


async def test_a_root_added_later_is_waited_for_and_shared(
    share: Path, cache_file: Path, tmp_path: Path
) -> None:
    (tmp_path / "second").mkdir()
    (tmp_path / "second" / "c").write_bytes(b"c")
    async with a_library(share, cache_file=cache_file) as shared:
        await shared.library.add(tmp_path / "second")
        async with asyncio.timeout(5):
            await shared.library.ready()
        assert "second/c" in shared.paths


@pytest.mark.slow
async def test_ten_thousand_small_files_leave_the_event_loop_free(
    tmp_path: Path, cache_file: Path
) -> None:
    for folder in range(10):
        (tmp_path / "many" / str(folder)).mkdir(parents=True)
        for file in range(1000):
            (tmp_path / "many" / str(folder) / str(file)).write_bytes(b"%d %d" % (folder, file))
    longest_turn, is_over = 0.0, False

    async def feel() -> None:
        nonlocal longest_turn
        last = time.thread_time()  # what others do on this machine does not count
        while not is_over:
            await asyncio.sleep(0.001)
            longest_turn, last = max(longest_turn, time.thread_time() - last), time.thread_time()

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(feel())
        async with a_library(tmp_path / "many", cache_file=cache_file) as shared:
            assert shared.catalog.resource_count == 10_000
            is_over = True

    assert longest_turn < 0.5


async def test_of_two_folders_listed_alike_both_are_shared_and_clashing_files_said(
    share: Path, cache_file: Path
) -> None:
    for name, content in (("e\u0301", b"decomposed"), ("\u00e9", b"composed")):
        (share / name).mkdir()
        (share / name / "same").write_bytes(content)
        (share / name / content.decode()).write_bytes(b"x")
    async with a_library(share, cache_file=cache_file) as shared:
        assert shared.paths == {
            "share/a.txt",
            "share/sub/b.txt",
            "share/\u00e9/same",
            "share/\u00e9/composed",
            "share/\u00e9/decomposed",
        }
        assert list(shared.skipped) == ["share/\u00e9/same"]
        with await shared.library.open(shared.digest("share/\u00e9/same")) as opened:
            assert await opened.read(0, opened.size_bytes) == b"composed"


async def test_a_folder_with_our_keys_is_not_shared_wherever_it_lies(
    share: Path, tmp_path: Path
) -> None:
    state = share / ".state"
    state.mkdir()
    (state / "identity.pem").write_bytes(b"secret")
    library = Library(
        state / "cache.db", (catalog := Catalog("e")), lambda _: None, private=[state]
    )
    await library.add(share)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(library.run())
        await library.ready()
        running.cancel()

    assert {item.path for item in catalog.snapshot()[1]} == {"share/a.txt", "share/sub/b.txt"}
    assert [item.path for item in library.skipped] == ["share/.state"]
