"""Contents by digest, wherever they come from: whole files first, running downloads otherwise."""

from p2p_client.content.manifest import Manifest, PieceIndex
from p2p_client.library.disk.reading.opened import OpenContent
from p2p_client.library.errors import ContentError, ContentUnknown
from p2p_client.library.library import Library
from p2p_client.models import Digest
from p2p_client.upload.shown.partials import Partials


class Contents:
    """As the library, with the downloads that run beside it."""

    def __init__(self, library: Library, partials: Partials) -> None:
        self.partials = partials
        self.library = library

    def size_of(self, digest: Digest) -> int:
        """Raises ContentUnknown."""
        try:
            return self.library.size_of(digest)
        except ContentUnknown:
            partial = self.partials.find(digest)
            if partial is None:
                raise
            return partial.manifest.size_bytes

    def require(self, digest: Digest, offset: int, end: int) -> None:
        """Raises PiecesMissing where not all of this range can be given."""
        try:
            self.library.size_of(digest)
        except ContentUnknown:
            partial = self.partials.find(digest)
            if partial is None:
                raise
            partial.require(offset, end)

    async def open(self, digest: Digest) -> OpenContent:
        """Close it. Raises ContentUnknown, ContentChanged, ContentUnreadable; reading from it, also
        PiecesMissing."""
        try:
            return await self.library.open(digest)
        except ContentError:
            partial = self.partials.find(digest)
            if partial is None:
                raise
            return partial.open(lambda: self.partials.close(partial, is_doubtful=True))

    async def manifest(self, digest: Digest) -> Manifest:
        """Raises ContentUnknown, ContentChanged."""
        try:
            return await self.library.manifest(digest)
        except ContentError:
            partial = self.partials.find(digest)
            if partial is None:
                raise
            return partial.manifest

    async def doubt(self, digest: Digest, manifest: Manifest, index: PieceIndex) -> None:
        """Reads a piece again; where it is not what it was, the content is shown no more."""
        partial = self.partials.find(digest)
        if partial is None or self.library.has(digest):
            await self.library.doubt(digest, manifest, index)
        elif not await partial.has_still(index):
            self.partials.close(partial, is_doubtful=True)
