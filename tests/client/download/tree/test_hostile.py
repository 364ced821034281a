"""Names and folders meant to do harm: nothing is written outside, and what cannot be is said."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.support.sources.trees import TreeSource, on_disk, trees_from

from p2p_client.download.tree.disk.ground import Ground
from p2p_client.download.tree.disk.staging import Staging, staging_names
from p2p_client.download.tree.plan import has_twins, unfit
from p2p_client.errors import LocalRefusal, TargetExists

GOOD = {"tree/good": b"good", "tree/sub/good": b"also good"}


@pytest.mark.parametrize(
    "name", ["../x", "/etc/x", "a/../../x", "a//b", "a\\b", "a\nb", "a/./b", ".", "x" * 256]
)
async def test_a_path_that_escapes_is_left_out_and_said(tmp_path: Path, name: str) -> None:
    root = tmp_path / "root"
    files = GOOD | {name: b"evil"}
    async with trees_from(TreeSource("alice", tuple(files.values()))) as trees:
        done = await trees.fetch(trees.tree(files), root)

        assert on_disk(root) == GOOD
        assert done.failed_files == 1
        assert set(os.listdir(tmp_path)) == {"root"}


@pytest.mark.parametrize("planted", ["tree", "tree/sub"])
async def test_a_folder_that_is_a_symlink_is_not_written_through(
    tmp_path: Path, planted: str
) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    outside.mkdir()
    (root / planted).parent.mkdir(parents=True, exist_ok=True)
    (root / planted).symlink_to(outside)
    async with trees_from(TreeSource("alice", tuple(GOOD.values()))) as trees:
        with pytest.raises(LocalRefusal, match=planted):
            await trees.fetch(trees.tree(GOOD), root, overwrite=True)

        assert not list(outside.iterdir())


async def test_a_symlink_at_a_place_is_refused_or_replaced_itself(tmp_path: Path) -> None:
    root, victim = tmp_path / "root", tmp_path / "victim"
    victim.write_bytes(b"mine")
    (root / "tree").mkdir(parents=True)
    (root / "tree/good").symlink_to(victim)
    async with trees_from(TreeSource("alice", tuple(GOOD.values()))) as trees:
        with pytest.raises(TargetExists):
            await trees.fetch(trees.tree(GOOD), root)
        await trees.fetch(trees.tree(GOOD), root, overwrite=True)

        assert victim.read_bytes() == b"mine"
        assert on_disk(root) == GOOD


async def test_a_symlink_in_the_place_of_the_lock_is_taken_out_of_the_way(tmp_path: Path) -> None:
    root, victim = tmp_path / "root", tmp_path / "victim"
    root.mkdir()
    victim.write_bytes(b"mine")
    (root / staging_names("alice:tree/")[0]).symlink_to(victim)
    async with trees_from(TreeSource("alice", tuple(GOOD.values()))) as trees:
        await trees.fetch(trees.tree(GOOD), root)

        assert victim.read_bytes() == b"mine"
        assert on_disk(root) == GOOD


async def test_a_folder_where_a_file_should_stand_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tree/good").mkdir(parents=True)
    async with trees_from(TreeSource("alice", tuple(GOOD.values()))) as trees:
        with pytest.raises(LocalRefusal, match="a folder is there"):
            await trees.fetch(trees.tree(GOOD), tmp_path, overwrite=True)


async def test_a_listed_file_that_is_a_folder_too_is_said_and_the_folder_comes(
    tmp_path: Path,
) -> None:
    files = GOOD | {"tree/sub": b"a file"}
    async with trees_from(TreeSource("alice", tuple(files.values()))) as trees:
        done = await trees.fetch(trees.tree(files), tmp_path)

        assert on_disk(tmp_path) == GOOD
        assert done.failed_files == 1
        assert trees.failed == {"sub": "NAME_CLASHES"}


async def test_names_of_unfinished_downloads_are_left_out(tmp_path: Path) -> None:
    files = GOOD | {"tree/.1.01234567.p2p-part": b"x", "tree/a.p2p-part/x": b"y"}
    async with trees_from(TreeSource("alice", tuple(files.values()))) as trees:
        done = await trees.fetch(trees.tree(files), tmp_path)

        assert on_disk(tmp_path) == GOOD
        assert done.failed_files == 2


async def test_what_appears_meanwhile_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish = Staging.publish
    (tmp_path / "tree").mkdir()

    def publish_late(self: Staging, *batch: Any) -> list[OSError | None]:
        (tmp_path / "tree/good").write_bytes(b"mine")
        return publish(self, *batch)

    monkeypatch.setattr(Staging, "publish", publish_late)
    async with trees_from(TreeSource("alice", tuple(GOOD.values()))) as trees:
        done = await trees.fetch(trees.tree(GOOD), tmp_path)

        assert on_disk(tmp_path) == GOOD | {"tree/good": b"mine"}
        assert done.failed_files == 1
        assert trees.failed == {"good": "TARGET_EXISTS"}


async def test_a_folder_swapped_for_a_symlink_meanwhile_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    outside.mkdir()
    create = Ground.create_new

    def create_late(self: Ground, place: str, spare: Callable[[], str]) -> tuple[str, int]:
        if place == "tree/sub/good" and not (root / "tree/sub").is_symlink():
            (root / "tree").mkdir(exist_ok=True)
            (root / "tree/sub").symlink_to(outside)
        return create(self, place, spare)

    monkeypatch.setattr(Ground, "create_new", create_late)
    async with trees_from(TreeSource("alice", tuple(GOOD.values()))) as trees:
        done = await trees.fetch(trees.tree(GOOD), root)

        assert not list(outside.iterdir())
        assert done.failed_files == 1


async def test_case_twins_both_come_where_the_disk_tells_them_apart(tmp_path: Path) -> None:
    files = {"tree/README": b"1", "tree/readme": b"2"}
    async with trees_from(TreeSource("alice", (b"1", b"2"))) as trees:
        await trees.fetch(trees.tree(files), tmp_path)

        assert on_disk(tmp_path) == files


def test_where_it_does_not_the_second_twin_is_said_and_not_lost_unseen() -> None:
    places = ["a/README", "a/readme", "b/readme", "a/\u00e9", "a/\u00c9"]

    found = unfit(places, by_case=False)

    assert has_twins(places)
    assert [(item.at, item.reason) for item in found] == [(1, "NAME_CLASHES"), (4, "NAME_CLASHES")]
    assert not unfit(places, by_case=True)


async def test_the_same_tree_into_the_same_folder_twice_at_once_is_refused(
    tmp_path: Path,
) -> None:
    ground = Ground.open(tmp_path, overwrite=False)
    running = Staging.open(ground, "alice:tree/", [])
    async with trees_from(TreeSource("alice", tuple(GOOD.values()))) as trees:
        with pytest.raises(LocalRefusal) as refused:
            await trees.fetch(trees.tree(GOOD), tmp_path)
        running.close()
        ground.close()

        assert refused.value.reason == "DOWNLOAD_RUNNING"


async def test_what_a_killed_run_had_written_is_swept(tmp_path: Path) -> None:
    ground = Ground.open(tmp_path, overwrite=False)
    killed = Staging.open(ground, "alice:tree/", [])
    killed.write(b"half", "tree/sub/good")
    killed.write(b"half", "tree/good")
    assert {path.name for path in tmp_path.iterdir()} == {killed._name, f".1{killed._tag}"}
    os.close(killed._fd)  # as the kernel does, without a word
    ground.close()
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/.1.other000.p2p-part").write_bytes(b"of another download")
    async with trees_from(TreeSource("alice", tuple(GOOD.values()))) as trees:
        await trees.fetch(trees.tree(GOOD), tmp_path)

        assert on_disk(tmp_path) == GOOD | {"tree/.1.other000.p2p-part": b"of another download"}
