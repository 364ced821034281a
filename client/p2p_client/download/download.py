"""Fetching contents to files: what all downloads of a peer have in common.

The target is checked and its part file locked before anybody is asked; the rest is one `Run`.
"""

from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import AsyncExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING

from p2p_client.config import Settings
from p2p_client.download.events import Event, Finished
from p2p_client.download.part.claim import sweep_leftovers
from p2p_client.download.part.part_file import PartFile
from p2p_client.download.partial.exhibit import OpenExhibit
from p2p_client.download.place.place import Place
from p2p_client.download.run import Run
from p2p_client.download.sources.reports import Reports
from p2p_client.download.sources.sources import Locate, Sources
from p2p_client.download.tally import Tally
from p2p_client.download.threads import worker_threads
from p2p_client.errors import TargetExists
from p2p_client.models import Digest
from p2p_client.transfer.memory import keep_freed_memory
from p2p_client.transfer.pace import Pace

if TYPE_CHECKING:
    from p2p_client.net.channels import PeerChannels

PATIENCE_SECONDS = 10.0


class Downloader:
    """Fetches contents; any number at once.

    Args:
        patience_seconds: how long sources are waited for when none is left to ask.
        pace: shared with others who download; None: the limit of the settings.
    """

    def __init__(
        self,
        locate: Locate,
        channels: "PeerChannels",
        settings: Settings,
        *,
        patience_seconds: float = PATIENCE_SECONDS,
        pace: Pace | None = None,
    ) -> None:
        self._locate = locate
        self._channels = channels
        self._settings = settings
        self._patience_seconds = patience_seconds
        self.pace = pace or Pace(settings.limit_down_bytes_per_second)
        self.reports = Reports(channels)
        keep_freed_memory()

    async def fetch(
        self,
        digest: Digest,
        target: Path,
        *,
        overwrite: bool,
        on_event: Callable[[Event], None],
        open_exhibit: OpenExhibit | None = None,
    ) -> Finished:
        """Brings the content to `target`, resuming what an earlier run has verified.

        Cancelling it keeps all that was verified. `on_event` is called in the event loop.
        `open_exhibit` serves the download while it runs; None: nobody does.

        Raises:
            LocalRefusal: the target exists (TargetExists), cannot be written (TargetUnwritable),
                is a folder, or is being downloaded already; before a byte is fetched.
            TransferFailed: no source is left, each named with its reason; or DiskFull. What was
                verified is kept, and the same call resumes.
            DirectoryError: the first Locate failed.
        """
        with closing(Place.open(target, overwrite=overwrite)) as place:
            return await self.fetch_to(digest, place, on_event=on_event, open_exhibit=open_exhibit)

    async def fetch_to(
        self,
        digest: Digest,
        place: Place,
        *,
        on_event: Callable[[Event], None],
        open_exhibit: OpenExhibit | None = None,
    ) -> Finished:
        """As `fetch`, to a place that the caller holds."""
        async with AsyncExitStack() as stack:
            try:
                place.check()
            except TargetExists:
                sweep_leftovers(place, digest)
                raise
            part = stack.enter_context(closing(PartFile.open(place, digest)))
            # Left before the part file is closed: no thread works on a closed file.
            threads = await stack.enter_async_context(
                worker_threads(self._settings.download_streams + 2)
            )
            run = self._run(digest, part, threads, on_event, open_exhibit)
            return await run.fetch()

    def _run(
        self,
        digest: Digest,
        part: PartFile,
        threads: Executor,
        on_event: Callable[[Event], None],
        open_exhibit: OpenExhibit | None,
    ) -> Run:
        tally = Tally(on_event)
        idle_seconds = self._settings.idle_timeout_seconds
        sources = Sources(
            digest, self._locate, self._channels, idle_seconds, self.pace, tally, self.reports
        )
        return Run(
            digest,
            part,
            sources,
            tally,
            threads,
            on_event,
            streams=self.pace.streams(self._settings.download_streams),
            patience_seconds=self._patience_seconds,
            open_exhibit=open_exhibit,
        )
