"""At a limited rate a source is heard of often: silence of our own making is not its fault."""

from tests.support.downloads.downloads import Downloads, some_bytes
from tests.support.sources.fake import FakeSource, running

from p2p_client.download.sources.fetcher import Fetcher
from p2p_client.transfer.pace import SLICES_PER_SECOND, Pace

RATE = 2_000_000


async def test_what_came_at_once_is_passed_on_a_little_at_a_time(downloads: Downloads) -> None:
    alice = FakeSource("alice", some_bytes(300_001))
    async with running(alice):
        fetcher = Fetcher(alice.holding(), downloads.channels, 5.0, Pace(RATE))
        parts = [bytes(part) async for part in fetcher.fetch(0, 300_001)]

    assert b"".join(parts) == alice.content
    assert max(map(len, parts)) <= RATE / SLICES_PER_SECOND
