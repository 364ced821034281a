"""A tree's writer that is cancelled in the middle of a batch, and what earlier runs left."""

import asyncio
import errno
import os
import threading
from contextlib import closing, suppress
from pathlib import Path

from blake3 import blake3

from p2p_client.download.tree.disk.ground import Ground
from p2p_client.download.tree.disk.staging import Staging
from p2p_client.download.tree.disk.writer import Arrived, Watch, Writer


class SlowStaging(Staging):
    begun: threading.Event
    may_go_on: threading.Event

    def write(self, data: bytes, place: str) -> str:
        self.begun.set()
        self.may_go_on.wait(5)
        return super().write(data, place)


async def test_what_was_verified_gets_its_name_and_nothing_temporary_is_left(
    tmp_path: Path,
) -> None:
    places = ["a", "b"]
    watch = Watch(lambda content, count: None, lambda file: None, lambda file, error: None)
    arrived = [Arrived(at, blake3(b"x%d" % at).digest(), [at], b"x%d" % at) for at in range(2)]
    with (
        closing(Ground.open(tmp_path / "tree", overwrite=False)) as ground,
        closing(SlowStaging.open(ground, "anna:tree", places)) as staging,
    ):
        assert isinstance(staging, SlowStaging)
        staging.begun, staging.may_go_on = threading.Event(), threading.Event()
        writer = Writer(staging, places, watch)
        async with asyncio.TaskGroup() as tasks:
            putting = tasks.create_task(writer.put(arrived))
            await asyncio.to_thread(staging.begun.wait, 5)
            putting.cancel()
            with suppress(asyncio.CancelledError):
                await putting
            staging.may_go_on.set()
        await writer.close()

    names = {path.name: path.read_bytes() for path in (tmp_path / "tree").iterdir()}
    assert names == {"a": b"x0", "b": b"x1"}


class RefusingStaging(Staging):
    """The disk makes a file, and takes nothing for it."""

    def write(self, data: bytes, place: str) -> str:
        self.discard(super().write(data, place), place)
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))


async def test_a_new_folder_whose_files_all_failed_is_removed(tmp_path: Path) -> None:
    failed, places = list[int](), ["tree/a", "tree/sub/b"]
    watch = Watch(lambda *_: None, lambda _: None, lambda file, _: failed.append(file))
    arrived = [Arrived(at, blake3(b"x").digest(), [at], b"x") for at in range(2)]
    with (
        closing(Ground.open(tmp_path / "to", overwrite=False)) as ground,
        closing(RefusingStaging.open(ground, "anna:tree", places)) as staging,
    ):
        writer = Writer(staging, places, watch)
        await writer.put(arrived)
        await writer.finish()
        await writer.close()

    assert failed == [0, 1]
    assert not (tmp_path / "to").exists()


def test_a_name_that_an_earlier_run_left_is_passed_over(tmp_path: Path) -> None:
    with closing(Ground.open(tmp_path / "tree", overwrite=False)) as ground:
        with closing(Staging.open(ground, "anna:tree", ["a"])) as staging:
            left = staging.write(b"left", "a")
        with closing(Staging.open(ground, "anna:tree", ["a"])) as staging:
            written = staging.write(b"new", "a")

        assert written != left
        assert (tmp_path / "tree" / left).read_bytes() == b"left"
        assert (tmp_path / "tree" / written).read_bytes() == b"new"
