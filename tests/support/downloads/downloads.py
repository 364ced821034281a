"""A downloader over real channels, and what it told."""

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.sources.fake import FakeDirectory

from p2p_client.config import Settings
from p2p_client.download.download import Downloader
from p2p_client.download.events import Event, Finished, Progress, SourceFailed, Started
from p2p_client.models import Digest
from p2p_client.net.channels import PeerChannels

MIB = 1 << 20


def some_bytes(size_bytes: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size_bytes)


@dataclass
class Downloads:
    """One downloading peer; `events` are those of all its downloads."""

    channels: PeerChannels
    events: list[Event] = field(default_factory=list)
    patience_seconds: float = 1.0
    idle_timeout_seconds: float = 1.0
    streams: int = 4

    def downloader(self, directory: FakeDirectory) -> Downloader:
        settings = Settings(
            idle_timeout_seconds=self.idle_timeout_seconds, download_streams=self.streams
        )
        return Downloader(
            directory.locate, self.channels, settings, patience_seconds=self.patience_seconds
        )

    async def fetch(
        self, directory: FakeDirectory, digest: Digest, target: Path, *, overwrite: bool = False
    ) -> Finished:
        return await self.downloader(directory).fetch(
            digest, target, overwrite=overwrite, on_event=self.events.append
        )

    @property
    def started(self) -> Started:
        return next(event for event in self.events if isinstance(event, Started))

    @property
    def progress(self) -> list[Progress]:
        return [event for event in self.events if isinstance(event, Progress)]

    @property
    def failures(self) -> list[tuple[str, str]]:
        """User and reason of each SourceFailed, in order."""
        return [(e.user, e.reason) for e in self.events if isinstance(e, SourceFailed)]


@asynccontextmanager
async def a_downloader() -> AsyncIterator[Downloads]:
    channels = PeerChannels(insecure=True)
    try:
        yield Downloads(channels)
    finally:
        await channels.close()
