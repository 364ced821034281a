"""Telling one who watches which pieces we hold, as they come."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager

from p2p_client.content.manifest import PieceIndex
from p2p_client.content.piece_map import PieceMap
from p2p_client.library.errors import ContentUnknown
from p2p_client.models import Digest, ManifestDigest
from p2p_client.upload.refusals import Overloaded
from p2p_client.upload.shown.contents import Contents

MOST_WATCHERS = 64
MOST_WATCHERS_OF_ONE = 16
"""Of one user: a watcher may be silent for as long as it likes, so nobody gets all the room."""
SPACING_SECONDS = 0.02
"""Pieces that come close together are told together."""
MOST_TOLD = 4_096

Tell = Callable[[bytes, Sequence[PieceIndex]], Awaitable[None]]
"""Sends a bitmap (empty but in the first message) and added pieces."""


class Telling:
    """Counts those who watch."""

    def __init__(self, contents: Contents) -> None:
        self._contents = contents
        self._watchers: Counter[str] = Counter()

    @property
    def watchers(self) -> int:
        return self._watchers.total()

    async def tell(
        self, user: str, digest: Digest, manifest_digest: ManifestDigest, tell: Tell
    ) -> None:
        """Returns when all pieces are held and told.

        Raises:
            Overloaded: too many watch, in all or of this user.
            ContentUnknown: not here, under another manifest only, or not any more.
        """
        with self._counted(user):
            partial = self._contents.partials.find(digest, manifest_digest)
            if partial is None:
                await tell(await self._everything(digest, manifest_digest), ())
                return
            seen = len(partial.added)
            await tell(partial.held.to_bytes(), ())
            while not partial.held.is_complete or seen < len(partial.added):
                await partial.moved_on(seen)
                new = partial.added[seen : seen + MOST_TOLD]
                seen += len(new)
                await tell(b"", new)
                await asyncio.sleep(SPACING_SECONDS)

    async def _everything(self, digest: Digest, manifest_digest: ManifestDigest) -> bytes:
        manifest = await self._contents.manifest(digest)
        if manifest.digest() != manifest_digest:
            raise ContentUnknown("held under another manifest")
        held = PieceMap(manifest.piece_count)
        for index in manifest.indices():
            held.add(index)
        return held.to_bytes()

    @contextmanager
    def _counted(self, user: str) -> Iterator[None]:
        if self._watchers[user] >= MOST_WATCHERS_OF_ONE:
            raise Overloaded(MOST_WATCHERS_OF_ONE)
        if self.watchers >= MOST_WATCHERS:
            raise Overloaded(MOST_WATCHERS)
        self._watchers[user] += 1
        try:
            yield
        finally:
            self._watchers[user] -= 1
            if not self._watchers[user]:
                del self._watchers[user]
