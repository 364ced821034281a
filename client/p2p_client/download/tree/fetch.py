"""Fetching trees into folders: the folder is held, the tree's own staging locked, and one run made.

What a tree comes by is made here, for all trees with the same channels, settings and limit.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING

from p2p_client.config import Settings
from p2p_client.download.download import PATIENCE_SECONDS, Downloader
from p2p_client.download.tree.disk.ground import Ground
from p2p_client.download.tree.disk.staging import Staging
from p2p_client.download.tree.early.head_start import HeadStart
from p2p_client.download.tree.events import TreeEvent, TreeFinished
from p2p_client.download.tree.lanes.givers import Givers, LocateMany
from p2p_client.download.tree.lanes.large import LargeContents
from p2p_client.download.tree.lanes.packed import PackedSource
from p2p_client.download.tree.lanes.small import SmallContents
from p2p_client.download.tree.plan import Content, Tree
from p2p_client.download.tree.run import Run
from p2p_client.models import Digest, Holding, Source
from p2p_client.transfer.memory import keep_freed_memory
from p2p_client.transfer.pace import Pace

if TYPE_CHECKING:
    from p2p_client.net.channels import PeerChannels

MOST_CALL_BYTES = 32 << 20
SECONDS_OF_A_CALL = 5.0
"""With a limit, a call is for no more than this takes: a source does not wait for a slow reader."""


class TreeDownloader:
    """
    Args:
        pace: the limit of all downloads.
    """

    def __init__(
        self,
        locate: LocateMany,
        channels: "PeerChannels",
        settings: Settings,
        pace: Pace,
        *,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        self.locate = locate
        self._channels = channels
        self._settings = settings
        self._pace = pace
        self._patience_seconds = patience_seconds
        keep_freed_memory()

    async def fetch(
        self,
        tree: Tree,
        root: Path,
        *,
        overwrite: bool,
        on_event: Callable[[TreeEvent], None],
        head: HeadStart | None = None,
    ) -> TreeFinished:
        """Brings the tree's files below `root`, which is made where only itself is missing.

        Files that fail do not stop the others: `failed_files` counts them, each is told. Cancelling
        keeps all that was verified.

        Args:
            head: what of it came already, out of sight.

        Raises:
            LocalRefusal: files that stand at their places are others (TargetExists), something else
                is in the way, or the tree is being fetched already; before a byte is fetched.
            DiskFull, TransferFailed: the disk takes no more; what is there stays.
            DirectoryError: the first Locate failed.
        """
        if head is not None and await head.end(tree):
            places = [tree.place(file) for file in tree.files]
            return await Run(self, tree, places, head.staging, on_event, head).fetch()
        with ExitStack() as stack:
            ground = stack.enter_context(closing(Ground.open(root, overwrite=overwrite)))
            places = [tree.place(file) for file in tree.files]
            staging = Staging.open(ground, tree.target, places)
            stack.enter_context(closing(staging))
            return await Run(self, tree, places, staging, on_event).fetch()

    def connect(self, source: Source) -> PackedSource:
        idle_seconds = self._settings.idle_timeout_seconds
        return PackedSource(source, self._channels, idle_seconds, self._pace)

    def small(self, run: Run, contents: Sequence[Content], givers: Givers) -> SmallContents:
        limit = self._settings.limit_down_bytes_per_second
        most_bytes = MOST_CALL_BYTES
        if limit is not None:
            most_bytes = min(most_bytes, int(limit * SECONDS_OF_A_CALL))
        return SmallContents(
            run.files,
            contents,
            givers,
            run.account,
            most_bytes=most_bytes,
            patience_seconds=self._patience_seconds,
        )

    def large(self, run: Run, contents: Sequence[Content], givers: Givers) -> LargeContents:
        asked: set[Digest] = set()

        async def locate(digest: Digest) -> Sequence[Holding]:
            """At first from what is known of the tree: no call for each of its files."""
            if digest not in asked:
                asked.add(digest)
                if known := givers.holdings(digest):
                    return known
            return await self.locate([digest])

        downloader = Downloader(
            locate,
            self._channels,
            self._settings,
            patience_seconds=self._patience_seconds,
            pace=self._pace,
        )
        return LargeContents(run.files, run.places, contents, run.account, downloader)

    def givers(self, run: Run, contents: Sequence[Content]) -> Givers:
        return Givers(run.files, contents, self.locate)
