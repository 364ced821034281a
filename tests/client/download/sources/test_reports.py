"""Who sent a bad piece is told so, once, and no download waits for it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.support.downloads.downloads import Downloads, some_bytes
from tests.support.libraries import until
from tests.support.sources.fake import Behaviour, FakeSource, digest_of, running

from p2p_client.content.manifest import PieceIndex
from p2p_client.download.download import Downloader
from p2p_client.download.sources.reports import MOST_OF_ONE_SOURCE, Reports
from p2p_client.errors import TransferFailed
from p2p_client.net.channels import PeerChannels

MIB = 1 << 20
CONTENT = some_bytes(8 * MIB)
DIGEST, MANIFEST = digest_of(CONTENT)


@asynccontextmanager
async def telling(downloader: Downloader) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(downloader.reports.run())
        yield
        await downloader.reports.settle(5.0)
        task.cancel()


async def test_the_sender_of_a_bad_piece_is_told_which_it_was(
    downloads: Downloads, tmp_path: Path
) -> None:
    bad = FakeSource("bad", CONTENT, behaviour=Behaviour(corrupt_pieces=frozenset(range(8))))
    good = FakeSource("good", CONTENT, behaviour=Behaviour(bytes_per_second=16 * MIB))
    async with running(bad, good) as directory:
        downloader = downloads.downloader(directory)
        async with telling(downloader):
            await downloader.fetch(
                DIGEST, tmp_path / "f", overwrite=False, on_event=downloads.events.append
            )

    assert (tmp_path / "f").read_bytes() == CONTENT
    assert 1 <= len(bad.reported) <= MOST_OF_ONE_SOURCE
    assert all(manifest == MANIFEST.digest() for manifest, _ in bad.reported)
    assert {piece for _, piece in bad.reported} <= set(range(8))
    assert good.reported == []


async def test_of_a_stream_the_piece_that_was_bad_is_named(
    downloads: Downloads, tmp_path: Path
) -> None:
    downloads.patience_seconds = 0.2
    bad = FakeSource("bad", CONTENT, behaviour=Behaviour(corrupt_pieces=frozenset({5})))
    async with running(bad) as directory:
        downloader = downloads.downloader(directory)
        async with telling(downloader):
            with pytest.raises(TransferFailed):
                await downloader.fetch(
                    DIGEST, tmp_path / "f", overwrite=False, on_event=downloads.events.append
                )

    assert ("bad", "BAD_PIECE") in downloads.failures
    assert bad.reported == [(MANIFEST.digest(), 5)]


async def test_each_piece_is_told_once_and_not_too_many_of_them() -> None:
    source = FakeSource("bad", CONTENT)
    channels = PeerChannels(insecure=True)
    reports = Reports(channels)
    async with running(source), asyncio.TaskGroup() as tasks:
        task = tasks.create_task(reports.run())
        for piece in (3, 3, 0, 3, 1, 2, 4, 5, 6):
            reports.add(source.holding(), PieceIndex(piece))
        await reports.settle(5.0)
        task.cancel()
    await channels.close()

    assert [piece for _, piece in source.reported] == [3, 0, 1, 2]


async def test_a_source_that_is_gone_is_not_told_and_the_next_one_is() -> None:
    gone, there = FakeSource("gone", CONTENT), FakeSource("there", CONTENT)
    channels = PeerChannels(insecure=True)
    reports = Reports(channels)
    async with running(gone, there), asyncio.TaskGroup() as tasks:
        holding = gone.holding()
        await gone.stop()
        task = tasks.create_task(reports.run())
        reports.add(holding, PieceIndex(0))
        reports.add(there.holding(), PieceIndex(0))
        await until(lambda: there.reported)
        assert not task.done()
        task.cancel()
    await channels.close()


async def test_reports_that_nobody_sends_do_not_pile_up() -> None:
    source = FakeSource("bad", CONTENT)
    reports = Reports(PeerChannels(insecure=True))
    async with running(source):
        holdings = [FakeSource(f"user{number}", CONTENT[:1]).holding() for number in range(100)]
    for holding in holdings:
        reports.add(holding, PieceIndex(0))
    await reports.settle(0.01)
