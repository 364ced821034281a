"""What is under way in threads when a stream ends, and what is left of the hash of the whole."""

import asyncio
from collections.abc import Sequence
from typing import cast

import pytest
from blake3 import blake3
from tests.support.downloads.downloads import some_bytes

from p2p_client.content.manifest import HASH_BYTES, Manifest, PieceIndex, piece_size_of
from p2p_client.download.part.assembly import Assembly
from p2p_client.download.part.whole import MOST_KEPT_BYTES, Whole
from p2p_client.download.writer import PieceWriter
from p2p_client.errors import BadPiece


class Threads:
    """Stands in for an assembly whose threads the test ends by hand."""

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest
        self.under_way: list[asyncio.Future[bool]] = []
        self.writing_count = 0

    def write(
        self, offset: int, views: Sequence[memoryview], hasher: blake3, ends_piece: bool
    ) -> asyncio.Future[bool]:
        self.under_way.append(asyncio.get_running_loop().create_future())
        self.writing_count += 1
        return self.under_way[-1]

    def end(self, number: int) -> None:
        self.writing_count -= 1
        self.under_way[number].set_result(True)


async def test_a_stream_with_a_bad_piece_is_not_over_before_its_other_writes_are() -> None:
    size = piece_size_of(1)
    threads = Threads(Manifest(2 * size, size, bytes(2 * HASH_BYTES)))
    verified: list[PieceIndex] = []
    writer = PieceWriter(cast(Assembly, threads), 0, verified.append)
    await writer.take(memoryview(bytes(2 * size)))
    first, second = threads.under_way

    async def settle() -> None:
        with pytest.raises(BadPiece):
            await writer.settle()

    async with asyncio.TaskGroup() as tasks:
        settling = tasks.create_task(settle())
        first.set_result(False)
        for _ in range(5):
            await asyncio.sleep(0)
        was_over = settling.done()
        second.set_result(True)

    assert not was_over
    assert verified == []


async def test_a_stream_alone_has_more_threads_than_one_beside_others() -> None:
    size = piece_size_of(1)
    threads = Threads(Manifest(20 * size, size, bytes(20 * HASH_BYTES)))

    first = PieceWriter(cast(Assembly, threads), 0, lambda _: None)
    second = PieceWriter(cast(Assembly, threads), 10 * size, lambda _: None)
    started: list[int] = []

    async with asyncio.TaskGroup() as tasks:
        for writer in (first, second):
            tasks.create_task(writer.take(memoryview(bytes(8 * size))))
            for _ in range(50):
                await asyncio.sleep(0)
            started.append(len(threads.under_way))
        while len(threads.under_way) < 16:
            threads.end(min(n for n, done in enumerate(threads.under_way) if not done.done()))
            await asyncio.sleep(0)

    assert started == [6, 8]


def test_what_was_read_back_with_what_lies_before_it_is_not_kept() -> None:
    content = some_bytes(3_000)
    whole = Whole()
    assert whole.wants(1_000, 1_000)
    whole.offer(1_000, [memoryview(content)[1_000:2_000]])

    whole.read_back(0, [memoryview(content)])

    assert whole.digest() == blake3(content).hexdigest()
    assert whole.wants(10_000, MOST_KEPT_BYTES)  # all of the room is there again
