"""New folders of a tree: hidden until all that is in them is durable; nobody's is taken over."""

import errno
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.support.sources.trees import TreeSource, on_disk, trees_from

from p2p_client.download.place.rename import rename_without_clobbering
from p2p_client.download.tree.disk.ground import MOST_FOLDERS_HELD, Ground
from p2p_client.download.tree.disk.staging import Staging

FILES = {"tree/a": b"1", "tree/sub/b": b"2", "tree/sub/deep/c": b"3", "other/d": b"4"}


@pytest.fixture
def staging(tmp_path: Path) -> Iterator[Staging]:
    with (
        closing(Ground.open(tmp_path, overwrite=False)) as ground,
        closing(Staging.open(ground, "anna:tree", [])) as opened,
    ):
        yield opened


def written(staging: Staging, files: dict[str, bytes]) -> list[tuple[str, str]]:
    return [(staging.write(data, place), place) for place, data in files.items()]


def visible(root: Path) -> dict[str, bytes]:
    """What somebody finds who does not look at hidden names."""
    found = on_disk(root)
    return {
        path: data
        for path, data in found.items()
        if not any(part.startswith(".") for part in path.split("/"))
    }


def test_nothing_is_seen_of_a_new_folder_before_it_is_named(
    tmp_path: Path, staging: Staging
) -> None:
    batch = written(staging, FILES)

    assert not visible(tmp_path)
    assert all(name.startswith(".") for name in os.listdir(tmp_path))
    assert staging.publish(batch, staging.ground.close_new()) == [None] * 4
    assert visible(tmp_path) == FILES


def test_what_comes_into_it_while_it_is_being_named_waits_for_its_own_turn(
    tmp_path: Path, staging: Staging
) -> None:
    first, folders = written(staging, FILES), staging.ground.close_new()
    more = {"tree/e": b"5", "tree/new/f": b"6", "tree/sub/g": b"7"}
    second = written(staging, more)

    assert staging.publish(first, folders) == [None] * 4
    assert visible(tmp_path) == FILES
    assert staging.publish(second, staging.ground.close_new()) == [None] * 3
    assert visible(tmp_path) == FILES | more


def test_where_the_folder_appeared_meanwhile_the_files_come_into_it_and_replace_none(
    tmp_path: Path, staging: Staging
) -> None:
    first, folders = written(staging, FILES), staging.ground.close_new()
    more = {"tree/e": b"5", "tree/sub/g": b"7", "tree/new/h": b"8"}
    second = written(staging, more)
    (tmp_path / "tree/sub").mkdir(parents=True)
    (tmp_path / "tree/sub/b").write_bytes(b"mine")
    (tmp_path / "tree/sub/g").write_bytes(b"mine")

    outcomes = staging.publish(first, folders)
    later = staging.publish(second, staging.ground.close_new())

    assert [type(outcome) for outcome in outcomes] == [type(None), FileExistsError] + [
        type(None)
    ] * 2
    assert [type(outcome) for outcome in later] == [type(None), FileExistsError, type(None)]
    mine = {"tree/sub/b": b"mine", "tree/sub/g": b"mine"}
    assert visible(tmp_path) == FILES | more | mine
    staging.close()
    assert on_disk(tmp_path) == FILES | more | mine  # and nothing hidden


def test_with_overwrite_it_replaces_files_there_and_no_folder(tmp_path: Path) -> None:
    with (
        closing(Ground.open(tmp_path, overwrite=True)) as ground,
        closing(Staging.open(ground, "anna:tree", [])) as staging,
    ):
        batch = written(staging, FILES)
        (tmp_path / "tree/a").mkdir(parents=True)
        (tmp_path / "tree/a/kept").write_bytes(b"mine")
        (tmp_path / "tree/sub").mkdir()
        (tmp_path / "tree/sub/b").write_bytes(b"old")
        outcomes = staging.publish(batch, ground.close_new())

    assert outcomes[0] is not None
    assert outcomes[1:] == [None] * 3
    rest = {path: data for path, data in FILES.items() if path != "tree/a"}
    assert on_disk(tmp_path) == rest | {"tree/a/kept": b"mine"}


@pytest.mark.parametrize("what", ["a file", "a symlink"])
def test_where_something_else_took_the_folders_name_it_is_left_alone(
    tmp_path: Path, staging: Staging, what: str
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    batch = written(staging, FILES)
    if what == "a file":
        (tmp_path / "tree").write_bytes(b"mine")
    else:
        (tmp_path / "tree").symlink_to(outside)

    outcomes = staging.publish(batch, staging.ground.close_new())

    assert [outcome is None for outcome in outcomes] == [False, False, False, True]
    assert not list(outside.iterdir())
    assert (tmp_path / "tree").is_symlink() or (tmp_path / "tree").read_bytes() == b"mine"
    staging.close()
    assert on_disk(tmp_path).keys() <= {"tree", "other/d"}


def test_what_the_disk_did_not_keep_is_removed_with_its_folders(
    tmp_path: Path, staging: Staging
) -> None:
    first, folders = written(staging, FILES), staging.ground.close_new()
    second = written(staging, {"tree/sub/g": b"7"})

    staging.drop(first, folders)

    assert not visible(tmp_path)
    assert staging.publish(second, staging.ground.close_new()) == [None]
    staging.close()
    assert on_disk(tmp_path) == {"tree/sub/g": b"7"}
    assert not (tmp_path / "other").exists()


def test_many_more_folders_than_are_held_open_come_in_one_batch(
    tmp_path: Path, staging: Staging
) -> None:
    files = {f"tree/{at % 200}/{at}": b"%d" % at for at in range(2 * 200)}
    assert len(files) > MOST_FOLDERS_HELD

    batch = written(staging, files)

    assert staging.publish(batch, staging.ground.close_new()) == [None] * len(files)
    assert visible(tmp_path) == files


def test_a_folder_that_is_never_hidden_is_there_at_once(tmp_path: Path, staging: Staging) -> None:
    staging.ground.never_hide(["tree/sub"])

    batch = written(staging, FILES)

    assert (tmp_path / "tree/sub").is_dir()
    assert not (tmp_path / "tree/sub/deep").exists()
    assert not visible(tmp_path)
    assert staging.publish(batch, staging.ground.close_new()) == [None] * 4
    assert visible(tmp_path) == FILES


def test_a_hidden_folder_that_somebody_removed_costs_what_was_in_it_alone(
    tmp_path: Path, staging: Staging
) -> None:
    first, folders = written(staging, FILES), staging.ground.close_new()
    hidden = next(path.parent for path in tmp_path.glob(".*/a"))
    shutil.rmtree(hidden)

    outcomes = staging.publish(first, folders)

    assert [outcome is None for outcome in outcomes] == [False, False, False, True]
    assert visible(tmp_path) == {"other/d": b"4"}


def test_where_renaming_can_replace_a_folder_that_appears_meanwhile_keeps_its_files(
    tmp_path: Path, staging: Staging, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file system without RENAME_NOREPLACE (NFS): it is looked at, and then renamed."""
    batch = written(staging, FILES)
    rename = os.rename

    def unsupported(*_: object) -> None:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    def late(old: str, new: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        if new == "tree":
            (tmp_path / "tree").mkdir()
            (tmp_path / "tree/a").write_bytes(b"mine")
        rename(old, new, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    monkeypatch.setattr("p2p_client.download.place.rename._renameat2", unsupported)
    monkeypatch.setattr(os, "rename", late)
    outcomes = staging.publish(batch, staging.ground.close_new())

    assert [outcome is None for outcome in outcomes] == [False, True, True, True]
    staging.close()
    assert on_disk(tmp_path) == FILES | {"tree/a": b"mine"}


def test_a_folder_whose_name_the_disk_cannot_have_leaves_nothing_hidden(
    tmp_path: Path, staging: Staging, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `a:b` on FAT, where its hidden name is a good one."""
    rename = rename_without_clobbering

    def renamed(old: str, new: str, folder_fd: int, to_folder_fd: int | None = None) -> None:
        if new == "tree":
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        rename(old, new, folder_fd, to_folder_fd)

    where = "p2p_client.download.tree.disk.ground.rename_without_clobbering"
    monkeypatch.setattr(where, renamed)
    first, folders = written(staging, FILES), staging.ground.close_new()
    second = written(staging, {"tree/e": b"5", "tree/new/f": b"6", "other/g": b"7"})

    outcomes = staging.publish(first, folders)
    later = staging.publish(second, staging.ground.close_new())

    assert [outcome is None for outcome in outcomes] == [False, False, False, True]
    assert [outcome is None for outcome in later] == [False, False, True]
    staging.close()
    assert on_disk(tmp_path) == {"other/d": b"4", "other/g": b"7"}


async def test_a_large_file_gets_a_part_file_that_a_killed_run_leaves_for_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its folder is none of the hidden ones, which the next run sweeps."""
    large = b"large" * (1 << 19)
    files = {"tree/sub/a": b"1", "tree/sub/large": large}
    seen: list[bool] = []
    place = Ground.place

    def place_seen(self: Ground, where: str) -> Any:
        # As if a small one had come before it.
        name, fd = self.create_new("tree/sub/early", lambda: ".early")
        os.close(fd)
        self.remove_beside(name, "tree/sub/early")
        found = place(self, where)
        seen.append(os.path.samestat(os.fstat(found.folder_fd), (tmp_path / "tree/sub").stat()))
        return found

    monkeypatch.setattr(Ground, "place", place_seen)
    async with trees_from(TreeSource("alice", tuple(files.values()))) as trees:
        await trees.fetch(trees.tree(files), tmp_path)

    assert seen == [True]
    assert on_disk(tmp_path) == files


async def test_a_folder_that_appears_during_the_download_keeps_what_is_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync = Staging.sync

    def sync_late(self: Staging, batch: Sequence[tuple[str, str]]) -> None:
        (tmp_path / "tree/sub").mkdir(parents=True, exist_ok=True)
        (tmp_path / "tree/sub/b").write_bytes(b"mine")
        sync(self, batch)

    monkeypatch.setattr(Staging, "sync", sync_late)
    async with trees_from(TreeSource("alice", tuple(FILES.values()))) as trees:
        done = await trees.fetch(trees.tree(FILES), tmp_path)

        assert on_disk(tmp_path) == FILES | {"tree/sub/b": b"mine"}
        assert done.failed_files == 1
        assert trees.failed == {"b": "TARGET_EXISTS"}


async def test_two_trees_that_share_a_new_folder_come_side_by_side(tmp_path: Path) -> None:
    """Two downloads into one place: the one that names it second finds it there."""
    mine, yours = {"tree/a": b"1", "tree/sub/b": b"2"}, {"tree/c": b"3", "tree/sub/d": b"4"}
    with (
        closing(Ground.open(tmp_path, overwrite=False)) as ground,
        closing(Ground.open(tmp_path, overwrite=False)) as other,
        closing(Staging.open(ground, "anna:tree", [])) as staging,
        closing(Staging.open(other, "bert:tree", [])) as second,
    ):
        batches = written(staging, mine), written(second, yours)
        assert staging.publish(batches[0], ground.close_new()) == [None] * 2
        assert second.publish(batches[1], other.close_new()) == [None] * 2

    assert on_disk(tmp_path) == mine | yours


async def test_a_full_disk_leaves_no_hidden_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sync_full(self: Staging, batch: Sequence[tuple[str, str]]) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Staging, "sync", sync_full)
    async with trees_from(TreeSource("alice", tuple(FILES.values()))) as trees:
        with pytest.raises(Exception, match="no room"):
            await trees.fetch(trees.tree(FILES), tmp_path)

    assert not list(tmp_path.iterdir())


MANY = {f"tree/sub/{at}": b"%d" % at for at in range(20)}


def synced_by(staging: Staging, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The folders that are made durable one by one at the end, relative to the root."""
    found: set[str] = set()
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda fd: found.add(os.readlink(f"/proc/self/fd/{fd}")))
        staging.ground.sync_folders()
    return {os.path.relpath(path, staging.ground.root) for path in found}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="syncfs is Linux's")
def test_folders_that_were_synced_with_their_disk_are_not_synced_one_by_one(
    staging: Staging, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch, folders = written(staging, MANY), staging.ground.close_new()
    staging.sync(batch)
    late = written(staging, {"tree/sub/late": b"1"})
    staging.publish(batch, folders)

    assert synced_by(staging, monkeypatch) == {".", "tree"}
    staging.publish(late, [])
    assert synced_by(staging, monkeypatch) == {"tree/sub"}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="syncfs is Linux's")
def test_a_sync_that_failed_leaves_no_folder_out(
    staging: Staging, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch, folders = written(staging, MANY), staging.ground.close_new()
    monkeypatch.setattr(staging, "_syncfs", lambda _: -1)
    with pytest.raises(OSError):
        staging.sync(batch)
    staging.publish(batch, folders)

    assert synced_by(staging, monkeypatch) == {".", "tree", "tree/sub"}
