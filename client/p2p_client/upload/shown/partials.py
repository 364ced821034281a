"""Downloads that run, as others may fetch from them: only pieces that were verified, ever.

A registry by digest, and the listing of it in the catalog. How a download goes on is not known
here; it tells which pieces it holds, and when it is over.
"""

import asyncio
import os
from collections.abc import Callable

from blake3 import blake3

from p2p_client.content.manifest import Manifest, PieceIndex
from p2p_client.content.piece_map import PieceMap
from p2p_client.library.catalog import Catalog
from p2p_client.library.disk.files import Signature
from p2p_client.library.disk.reading.hashed import HashedFile
from p2p_client.library.disk.reading.opened import OpenContent
from p2p_client.library.errors import ContentChanged, ContentUnknown, PiecesMissing
from p2p_client.models import Digest, ManifestDigest, PartialContent

_READ_BYTES = 1 << 20


class Partial:
    """One download as it is shown. Of the event loop, but for what its files read.

    Args:
        descriptor: of the part file, for reading; ours from now on.
    """

    def __init__(self, digest: Digest, manifest: Manifest, held: PieceMap, descriptor: int) -> None:
        self.digest = digest
        self.manifest = manifest
        self.manifest_digest = manifest.digest()
        self.held = PieceMap.from_bytes(held.piece_count, held.to_bytes())
        self.added: list[PieceIndex] = []  # since the beginning, in order
        self.is_closed = False
        self.is_doubtful = False
        self.settled: Signature | None = None  # of the file from when it was complete
        self._descriptor = descriptor
        self._moved = asyncio.Event()

    @property
    def content(self) -> PartialContent:
        return PartialContent(self.digest, self.manifest_digest, self.manifest.size_bytes)

    def settle(self) -> Signature:
        """It stands complete under its name, where anybody may write to it: from now on it counts
        only as long as it has the signature that it has now."""
        self.settled = Signature.of(os.fstat(self._descriptor))
        return self.settled

    def hold(self, index: PieceIndex) -> None:
        if not self.held.has(index):
            self.held.add(index)
            self.added.append(index)
            self._wake()

    def require(self, offset: int, end: int) -> None:
        """Raises PiecesMissing unless every piece that the bytes [offset, end) touch is held."""
        size = self.manifest.piece_size_bytes
        for index in range(offset // size, -(-end // size) if end > offset else 0):
            if not self.held.has(PieceIndex(index)):
                raise PiecesMissing(f"piece {index} is not held")

    async def has_still(self, index: PieceIndex) -> bool:
        """Whether the disk gives back a piece as it was verified; one not held is not lost."""
        if not self.held.has(index):
            return True
        hasher, (offset, length) = blake3(), self.manifest.span(index)
        with self.open() as content:
            for at in range(offset, offset + length, _READ_BYTES):
                hasher.update(await content.read(at, min(_READ_BYTES, offset + length - at)))
        return hasher.digest() == self.manifest.digest_of(index)

    def open(self, on_changed: Callable[[], None] = lambda: None) -> OpenContent:
        """Raises ContentUnknown when it is shown no more."""
        if self.is_closed:
            raise ContentUnknown("not shared here any more")
        pieces = _VerifiedPieces(self, os.dup(self._descriptor))
        return OpenContent(self.digest, pieces, on_changed)

    def close(self, *, is_doubtful: bool) -> None:
        self.is_doubtful = self.is_doubtful or is_doubtful
        if not self.is_closed:
            self.is_closed = True
            os.close(self._descriptor)
            self._wake()

    async def moved_on(self, seen: int) -> None:
        """Returns when more pieces were added than those seen. Raises ContentUnknown when it is
        shown no more."""
        while len(self.added) <= seen:
            if self.is_closed:
                raise ContentUnknown("not shared here any more")
            await self._moved.wait()

    def _wake(self) -> None:
        self._moved.set()
        self._moved = asyncio.Event()


class _VerifiedPieces(HashedFile):
    """The part file as its readers see it: bytes of held pieces, as long as these are believed.

    While it is incomplete nobody writes where a piece was verified, and there is no signature to
    compare: the file as a whole changes all the time.
    """

    def __init__(self, partial: Partial, descriptor: int) -> None:
        self._keep(descriptor)
        self._partial = partial

    @property
    def size_bytes(self) -> int:
        return self._partial.manifest.size_bytes

    def _allow(self, offset: int, end: int) -> None:
        self._partial.require(offset, end)

    def check(self) -> None:
        with self._borrowed() as descriptor:
            self._check(descriptor)

    def _check(self, descriptor: int) -> None:
        if self._partial.is_doubtful:
            raise ContentUnknown("what was read is in doubt")
        settled = self._partial.settled
        if settled is not None and Signature.of(os.fstat(descriptor)) != settled:
            raise ContentChanged("the file was changed since it was complete")


class Partials:
    """All downloads that are shown; of several of one content the first that runs is."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._shown: dict[Digest, list[Partial]] = {}

    def find(self, digest: Digest, manifest_digest: ManifestDigest | None = None) -> Partial | None:
        """The download of this content; None: none is shown, or under another manifest only."""
        for partial in self._shown.get(digest, [])[:1]:
            if manifest_digest in (None, partial.manifest_digest):
                return partial
        return None

    def show(
        self,
        digest: Digest,
        manifest: Manifest,
        held: PieceMap,
        open_reader: Callable[[], int],
    ) -> Partial:
        """Raises what `open_reader` raises."""
        partial = Partial(digest, manifest, held, open_reader())
        self._shown.setdefault(digest, []).append(partial)
        self._list(digest)
        return partial

    def close(self, partial: Partial, *, is_doubtful: bool = False) -> None:
        """Shows it no more; again does nothing."""
        partial.close(is_doubtful=is_doubtful)
        shown = self._shown.get(partial.digest, [])
        if partial in shown:
            shown.remove(partial)
            self._list(partial.digest)

    def close_all(self) -> None:
        for partial in [one for shown in self._shown.values() for one in shown]:
            self.close(partial)

    def _list(self, digest: Digest) -> None:
        first = self.find(digest)
        if first is None:
            self._shown.pop(digest, None)
            self._catalog.withdraw_partial(digest)
        else:
            self._catalog.put_partial(first.content)
