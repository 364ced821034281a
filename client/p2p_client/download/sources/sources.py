"""Who holds a content, as far as they are still believed.

Asks the directory, groups what it answers, remembers who lied, and fetches manifests. Bans hold for
one download: within a group for a source, for every source of it when a whole manifest was a lie.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from p2p_client.content.manifest import Manifest
from p2p_client.download.picker.groups import Group, groups_of
from p2p_client.download.sources.fetcher import Fetcher
from p2p_client.download.sources.reports import Reports
from p2p_client.download.tally import Tally
from p2p_client.errors import DirectoryError, SourceError, SourceMisbehaved
from p2p_client.models import Digest, Holding, ManifestDigest, PeerId
from p2p_client.transfer.pace import Pace

if TYPE_CHECKING:
    from p2p_client.net.channels import PeerChannels

Locate = Callable[[Digest], Awaitable[Sequence[Holding]]]

STAGGER_SECONDS = 1.0
"""How long one source is waited for before the next is asked for the manifest too."""


class Sources:
    """The sources of one content for one download."""

    def __init__(
        self,
        digest: Digest,
        locate: Locate,
        channels: "PeerChannels",
        idle_timeout_seconds: float,
        pace: Pace,
        tally: Tally,
        reports: Reports | None = None,
    ) -> None:
        self._digest = digest
        self._locate = locate
        self._channels = channels
        self._idle_timeout_seconds = idle_timeout_seconds
        self._pace = pace
        self._tally = tally
        self._reports = reports
        self._holdings: list[Holding] = []
        self._banned: set[tuple[ManifestDigest, PeerId]] = set()
        self._banned_manifests: set[ManifestDigest] = set()
        self._suspects: set[PeerId] = set()

    async def locate(self) -> None:
        """Learns who holds the content now. Raises DirectoryError."""
        self._holdings = [
            holding
            for holding in await self._locate(self._digest)
            if holding.digest == self._digest
        ]

    async def locate_again(self) -> None:
        """As `locate`; while the directory is away, what was known stays known."""
        with suppress(DirectoryError):
            await self.locate()

    @property
    def are_hopeful(self) -> bool:
        """False when sources are listed and every one of them has lied."""
        return not self._holdings or bool(self.groups())

    def groups(self, preferred: ManifestDigest | None = None) -> list[Group]:
        """The groups still believed, best first."""
        believed = [
            holding
            for holding in self._holdings
            if (holding.manifest_digest, holding.source.peer_id) not in self._banned
        ]
        return groups_of(
            believed,
            banned=self._banned_manifests,
            preferred=preferred,
            suspects=self._suspects,
        )

    def fetchers(self, manifest_digest: ManifestDigest) -> list[Fetcher]:
        """One for each source of the group as it is known now."""
        return [
            Fetcher(holding, self._channels, self._idle_timeout_seconds, self._pace, self._reports)
            for group in self.groups()
            if group.manifest_digest == manifest_digest
            for holding in group.holdings
        ]

    def ban(self, manifest_digest: ManifestDigest, peers: Collection[PeerId]) -> None:
        self._banned.update((manifest_digest, peer_id) for peer_id in peers)
        self._suspects.update(peers)

    def ban_group(self, group: Group) -> None:
        """Its pieces fit its manifest, but the whole is not what was asked for."""
        self._banned_manifests.add(group.manifest_digest)
        # Partial ones may have been taken in as we were.
        self._suspects.update(one.source.peer_id for one in group.holdings if not one.partial)
        error = SourceMisbehaved("what it serves is not this content", reason="WRONG_CONTENT")
        for source in group.sources:
            self._tally.failed(source, error)

    async def manifest(self, group: Group) -> Manifest | None:
        """The group's manifest from the first source that gives it; None: none did."""
        waiting = deque(self.fetchers(group.manifest_digest))
        found: Manifest | None = None
        asked: set[asyncio.Task[Manifest | None]] = set()
        async with asyncio.TaskGroup() as tasks:
            while found is None and (waiting or asked):
                if waiting:
                    asked.add(tasks.create_task(self._manifest_of(waiting.popleft())))
                patience = STAGGER_SECONDS if waiting else None
                done, asked = await asyncio.wait(
                    asked, timeout=patience, return_when=asyncio.FIRST_COMPLETED
                )
                found = next((task.result() for task in done if task.result()), None)
            for task in asked:
                task.cancel()
        return found

    async def _manifest_of(self, fetcher: Fetcher) -> Manifest | None:
        holding = fetcher.holding
        try:
            return await fetcher.manifest()
        except SourceError as error:
            self._tally.failed(holding.source, error)
            if isinstance(error, SourceMisbehaved):
                self.ban(holding.manifest_digest, [holding.source.peer_id])
            return None
