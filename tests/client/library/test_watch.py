"""What happens in any of many folders is told, once they are watched, however they come and go."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
from tests.support.libraries import until

from p2p_client.library.disk.watch import watch_folders
from p2p_client.library.shelf.watchmap import WatchMap


class Told(set[str]):
    def __init__(self) -> None:
        super().__init__()
        self.troubles: list[str] = []


@asynccontextmanager
async def watching(wanted: WatchMap) -> AsyncIterator[Told]:
    told = Told()
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(watch_folders(wanted, told.update, told.troubles.append))
        yield told
        task.cancel()


def put(wanted: WatchMap, folder: Path) -> None:
    wanted.put(("root", folder.name), str(folder), (0, folder.stat().st_ino))


def drop(wanted: WatchMap, folder: Path) -> None:
    wanted.drop(("root", folder.name))


@pytest.mark.slow
async def test_thousands_of_folders_are_watched_in_groups(tmp_path: Path) -> None:
    wanted = WatchMap()
    folders = [tmp_path / str(number) for number in range(2_300)]
    for folder in folders:
        folder.mkdir()
        put(wanted, folder)

    async with watching(wanted) as told:
        await until(lambda: told >= set(map(str, folders)))
        for folder in (folders[0], folders[1_500], folders[-1]):
            (folder / "f").touch()
            await until(partial(told.__contains__, str(folder / "f")), within_seconds=10)

        # A new folder is taken in, and nothing is lost of the group that takes it in.
        told.clear()
        new = tmp_path / "new"
        new.mkdir()
        put(wanted, new)
        (folders[-1] / "g").touch()
        await until(lambda: {str(new), str(folders[-1] / "g")} <= told, within_seconds=10)
        assert str(folders[-1]) not in told
        (new / "f").touch()
        await until(lambda: str(new / "f") in told, within_seconds=10)

        # Most go, and what is left is still watched.
        for folder in folders[10:]:
            drop(wanted, folder)
        (folders[5] / "f").touch()
        await until(lambda: str(folders[5] / "f") in told, within_seconds=10)
    assert told.troubles == []


async def test_a_folder_in_the_place_of_another_is_watched_anew(tmp_path: Path) -> None:
    wanted, folder = WatchMap(), tmp_path / "a"
    folder.mkdir()
    put(wanted, folder)
    async with watching(wanted) as told:
        await until(lambda: str(folder) in told)
        folder.rename(tmp_path / "b")
        folder.mkdir()
        told.clear()
        put(wanted, folder)
        await until(lambda: str(folder) in told)

        def touched() -> bool:
            # Again and again: what was told may be the end of the old one, still watched then.
            (folder / "f").touch()
            return str(folder / "f") in told

        await until(touched)


async def test_a_name_that_is_no_text_has_the_folders_looked_at_again(tmp_path: Path) -> None:
    wanted = WatchMap()
    put(wanted, tmp_path)
    async with watching(wanted) as told:
        await until(lambda: str(tmp_path) in told)
        told.clear()
        os.mknod(os.fsencode(tmp_path) + b"/\xff")
        await until(lambda: str(tmp_path) in told, within_seconds=10)
        (tmp_path / "f").touch()
        await until(lambda: str(tmp_path / "f") in told, within_seconds=10)


async def test_folders_that_are_gone_or_unnameable_do_not_keep_others_from_being_watched(
    tmp_path: Path,
) -> None:
    wanted = WatchMap()
    wanted.put(("a", ""), str(tmp_path / "missing"), None)
    wanted.put(("b", ""), str(tmp_path / "caf\udce9"), None)
    put(wanted, tmp_path)
    async with watching(wanted) as told:
        await until(lambda: str(tmp_path) in told)
        (tmp_path / "f").touch()
        await until(lambda: str(tmp_path / "f") in told, within_seconds=10)


def test_two_roots_that_meet_in_one_folder_are_both_told() -> None:
    wanted = WatchMap()
    wanted.put(("a", ""), "/x", (1, 1))
    wanted.put(("b", ""), "/x", (1, 1))
    assert wanted.keys_at("/x/f") == [("a", ""), ("b", "")]

    wanted.drop(("a", ""))
    assert wanted.keys_at("/x/f") == [("b", "")]
    wanted.drop(("b", ""))
    wanted.drop(("b", ""))
    assert wanted.keys_at("/x") == []
    assert wanted.folders == {}


def test_the_version_grows_with_real_changes_only() -> None:
    wanted = WatchMap()
    versions = [wanted.version]
    for identity in ((1, 1), (1, 1), (1, 2)):
        wanted.put(("a", ""), "/", identity)
        versions.append(wanted.version)

    assert versions == [0, 1, 1, 2]
    assert wanted.keys_at("/") == [("a", "")]
