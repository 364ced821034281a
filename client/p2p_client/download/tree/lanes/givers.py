"""Who may give which contents of a tree: from what was listed, and a few calls of Locate.

The owner's peers have what they list. To learn of others one call asks for a sample of the
contents: who has most of these is thought to have the rest as well, and says so where that is
wrong. A grant for many contents is good for all that the source shares.
"""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

from p2p_client.download.tree.lanes.handout import Handout
from p2p_client.download.tree.plan import Content, TreeFile
from p2p_client.errors import DirectoryError
from p2p_client.models import Digest, Holding, PeerId, Source

SAMPLE = 128
MOST_LOCATED = 1_000

LocateMany = Callable[[Sequence[Digest]], Awaitable[Sequence[Holding]]]


class Givers:
    """`contents` are known by their index."""

    def __init__(
        self, files: Sequence[TreeFile], contents: Sequence[Content], locate: LocateMany
    ) -> None:
        self.sources: dict[PeerId, Source] = {}
        self._files = files
        self._contents = contents
        self._locate = locate
        self._index = {files[content.files[0]].digest: at for at, content in enumerate(contents)}
        self._held: dict[PeerId, set[int]] = {}
        self._broad: set[PeerId] = set()
        self._located_again = 0

    @property
    def users(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(source.user for source in self.sources.values()))

    async def locate(self) -> None:
        """Learns who is there, by a sample. Raises DirectoryError."""
        step = max(1, len(self._contents) // SAMPLE)
        sample = range(0, len(self._contents), step)[:SAMPLE]
        held = await self._ask(sample)
        for peer_id, found in held.items():
            if len(self._contents) > len(sample) and 2 * len(found) >= len(sample):
                self._broad.add(peer_id)

    async def locate_again(self, contents: Sequence[int]) -> None:
        """Asks for some of these, each time for the next ones; while the directory is away, what
        was known stays known."""
        first = self._located_again % max(1, len(contents))
        turned = [*contents[first:], *contents[:first]][:MOST_LOCATED]
        self._located_again = first + len(turned)
        with suppress(DirectoryError):
            await self._ask(turned)

    async def _ask(self, contents: Sequence[int]) -> dict[PeerId, set[int]]:
        digests = [self._digest(at) for at in contents]
        held: dict[PeerId, set[int]] = {}
        for holding in await self._locate(digests):
            at = self._index.get(bytes.fromhex(holding.digest))
            if at is None or holding.partial:
                continue
            if holding.size_bytes == self._contents[at].size_bytes:
                held.setdefault(holding.source.peer_id, set()).add(at)
                self.sources[holding.source.peer_id] = holding.source
        for peer_id, found in held.items():
            self._held.setdefault(peer_id, set()).update(found)
        return held

    def offer(self, handout: Handout, first: int) -> None:
        """Offers every source what it may give of the contents before `first`."""
        listed = self._listed()
        for peer_id in self.sources:
            if peer_id in self._broad:
                handout.offer(peer_id, range(first))
                continue
            may = self._held.get(peer_id, set()) | listed.get(peer_id, set())
            handout.offer(peer_id, sorted(at for at in may if at < first))

    def holdings(self, digest: Digest) -> list[Holding]:
        """Who has one content, as far as is known without asking."""
        at = self._index.get(bytes.fromhex(digest))
        if at is None:
            return []
        file = self._files[self._contents[at].files[0]]
        owners = {peer.peer_id for peer in file.peers}
        return [
            Holding(digest, source, file.manifest_digest_hex, file.size_bytes)
            for peer_id, source in self.sources.items()
            if peer_id in owners or at in self._held.get(peer_id, ())
        ]

    def _listed(self) -> dict[PeerId, set[int]]:
        listed: dict[PeerId, set[int]] = {}
        for at, content in enumerate(self._contents):
            for file in content.files:
                for peer in self._files[file].peers:
                    if peer.peer_id in self.sources:
                        listed.setdefault(peer.peer_id, set()).add(at)
        return listed

    def _digest(self, at: int) -> Digest:
        return self._files[self._contents[at].files[0]].digest_hex
