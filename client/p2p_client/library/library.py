"""The library: all that one peer shares, served in place and kept true to the disk.

Loops that work on one shelf: one visits folders and compares them with what is known, some hash
what is new, one is told by the system where something happened. All folders are visited every
minute as well, for such telling is never complete. The disk is only touched in threads.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from p2p_client.content.manifest import Manifest, PieceIndex
from p2p_client.errors import UsageError
from p2p_client.library.cache import HashCache
from p2p_client.library.catalog import Catalog
from p2p_client.library.disk.files import Signature
from p2p_client.library.disk.hash import Hashed, resource_of
from p2p_client.library.disk.reading.hashed import HashedFile
from p2p_client.library.disk.reading.opened import OpenContent
from p2p_client.library.disk.reading.pieces import has_piece
from p2p_client.library.disk.reading.small import read_whole
from p2p_client.library.disk.roots import identities, root_of
from p2p_client.library.disk.watch import watch_folders
from p2p_client.library.errors import (
    ContentChanged,
    ContentError,
    ContentUnknown,
    ContentUnreadable,
)
from p2p_client.library.events import HashProgress, LibraryEvent, Notice, Skipped
from p2p_client.library.hashers import Hashers
from p2p_client.library.readiness import Readiness
from p2p_client.library.shelf.index import SharedFile
from p2p_client.library.shelf.shelf import Shelf
from p2p_client.library.visits import Visits
from p2p_client.models import Digest
from p2p_client.records import dataclass

__all__ = ["Library", "LibraryEvent", "Skipped"]

_MANIFEST_BYTES_KEPT = 8 << 20


@dataclass(frozen=True, slots=True)
class SmallRead:
    """Contents being read in a thread; `reading` has one outcome for each that is shared."""

    digests: tuple[Digest, ...]
    are_shared: tuple[bool, ...]
    reading: asyncio.Future[list[bytes | ContentError]]


class Library:
    """Files and folders served in place.

    Args:
        cache_file: the hash cache, made when it is not there.
        catalog: where resources are listed as they become ready, and withdrawn.
        on_event: told from the event loop's thread; must be quick.
        private: folders that are never shared, whatever they lie in: our keys and state.
    """

    def __init__(
        self,
        cache_file: Path,
        catalog: Catalog,
        on_event: Callable[[LibraryEvent], None],
        *,
        private: Sequence[Path] = (),
    ) -> None:
        self._catalog = catalog
        self._tell = on_event
        self._private = tuple(private)
        self._troubles: deque[str] = deque()  # said by threads
        self._cache = HashCache(cache_file, self._troubles.append)
        self._readiness = Readiness()
        self._shelf = Shelf(catalog, on_event, self._wake, self._readiness.conclude_file)
        self._hashers = Hashers(self._shelf, self._cache, self._on_progress)
        self._visits = Visits(self._shelf, self._cache, self._readiness, self._on_idle)
        self._roots: dict[str, Path] = {}
        self._manifests: OrderedDict[Digest, Manifest] = OrderedDict()

    @property
    def skipped(self) -> tuple[Skipped, ...]:
        """What is in the shared folders and not shared."""
        return self._shelf.index.skipped

    async def add(self, root: Path) -> None:
        """Shares one more file or folder; may be called before `run` and while it runs.

        Raises:
            LocalRefusal: not there, not readable, neither a file nor a folder, not listable.
            UsageError: another root has that basename; the root folder has none.
        """
        self._visits.private = await asyncio.to_thread(identities, self._private)
        found = await asyncio.to_thread(root_of, root, self._visits.private)
        other = self._roots.get(found.name)
        if other is not None:
            raise UsageError(
                f"cannot share {root}: {other} is already shared, and both would be listed as "
                f"{found.name!r}; rename one, or share them from two state folders"
            )
        self._roots[found.name] = root
        self._visits.add_root(found)

    async def run(self) -> None:
        """Scans, hashes, lists as ready and watches, until cancelled."""
        watched = self._shelf.index.watched
        try:
            async with asyncio.TaskGroup() as loops:
                loops.create_task(self._hashers.run())
                loops.create_task(self._visits.run())
                loops.create_task(self._visits.run_rescans())
                loops.create_task(watch_folders(watched, self._visits.want_changed, self._notice))
        finally:
            self._cache.close()

    async def ready(self) -> None:
        """Returns when all that the first scan of every root found is listed or skipped."""
        await self._readiness.wait()

    def has(self, digest: Digest) -> bool:
        """Whether a file with this content is listed."""
        return bool(self._shelf.index.holders(digest))

    def size_of(self, digest: Digest) -> int:
        """The size of a content that is shared. Raises ContentUnknown."""
        for file in self._shelf.index.holders(digest):
            if file.resource is not None:
                return file.resource.size_bytes
        raise ContentUnknown("not shared here")

    async def know(
        self, path: Path, signature: Signature, digest: Digest, manifest: Manifest
    ) -> None:
        """Remembers what a file is, so that it need not be hashed when it is shared.

        Of one who writes to it in the very tick of the clock in which it was finished there is no
        trace in the signature; whoever fetches sees it.

        Raises LocalRefusal: it is not there, or cannot be shared.
        """
        await asyncio.to_thread(self._know_here, path, signature, digest, manifest)

    def _know_here(
        self, path: Path, signature: Signature, digest: Digest, manifest: Manifest
    ) -> None:
        root = root_of(path, frozenset())
        resource = resource_of(root.name, signature, digest, manifest.digest())
        hashed = Hashed(root.name, root.location, signature, digest, manifest, resource)
        self._cache.store([hashed])

    async def open(self, digest: Digest) -> OpenContent:
        """A file with this content, found unchanged by now. Close it.

        Raises ContentUnknown, ContentChanged, ContentUnreadable: of several files with the content
        any good one serves.
        """
        trouble: ContentError = ContentUnknown("not shared here")
        for file in self._shelf.index.holders(digest):
            distrust = partial(self._shelf.distrust, file.path, file.signature)
            try:
                opened = await _open(file)
            except ContentChanged as error:
                distrust()
                trouble = error
            except ContentUnreadable as error:
                trouble = error
            else:
                return OpenContent(digest, opened, distrust)
        raise trouble

    def start_reading(self, digests: Sequence[Digest]) -> SmallRead:
        """Starts to read small contents, all of them into memory; `finish_reading` waits for it."""
        holders = [self._shelf.index.holders(digest) for digest in digests]
        hashed = [(files[0].location, files[0].signature) for files in holders if files]
        loop = asyncio.get_running_loop()
        reading = loop.run_in_executor(None, read_whole, hashed)
        return SmallRead(tuple(digests), tuple(map(bool, holders)), reading)

    async def finish_reading(self, read: SmallRead) -> list[bytes | ContentError]:
        """Each content whole, or why it cannot be had: what `open` raises.

        Of several files with one content the first was read; where that failed, others are tried.
        """
        outcomes = iter(await read.reading)
        found: list[bytes | ContentError] = []
        for digest, is_shared in zip(read.digests, read.are_shared, strict=True):
            outcome = next(outcomes) if is_shared else ContentUnknown("not shared here")
            if is_shared and isinstance(outcome, ContentError):
                outcome = await self._read_other(digest)
            found.append(outcome)
        return found

    async def _read_other(self, digest: Digest) -> bytes | ContentError:
        try:
            with await self.open(digest) as content:
                return await content.read(0, content.size_bytes) if content.size_bytes else b""
        except ContentError as error:
            return error

    async def manifest(self, digest: Digest) -> Manifest:
        """The manifest of one content, from the cache, or made again from the file.

        Raises ContentUnknown, ContentChanged.
        """
        holders = self._shelf.index.holders(digest)
        if not holders:
            raise ContentUnknown("not shared here")
        manifest = self._manifests.pop(digest, None) or await self._find_manifest(holders)
        self._manifests[digest] = manifest  # last: the one used latest
        kept_bytes = sum(len(kept.piece_digests) for kept in self._manifests.values())
        while kept_bytes > _MANIFEST_BYTES_KEPT:
            _, dropped = self._manifests.popitem(last=False)
            kept_bytes -= len(dropped.piece_digests)
        return manifest

    async def recheck(self, digest: Digest) -> None:
        """Hashes the files of this content again, and returns when that is done; they stay listed
        until they are found to be something else."""
        concluded = []
        for file in self._shelf.index.holders(digest):
            concluded.append(self._readiness.conclusion_of(file.path))
            self._shelf.want_hashed(file.path, again=False)
        for event in concluded:
            await event.wait()

    async def doubt(self, digest: Digest, manifest: Manifest, index: PieceIndex) -> None:
        """Reads a piece of the content again. A file that does not have it is not what it was:
        withdrawn, hashed, and listed as what it is. Cancelling stops the waiting alone."""
        files = self._shelf.index.holders(digest)
        loop = asyncio.get_running_loop()
        reading = loop.run_in_executor(None, self._without_piece, files, manifest, index)
        reading.add_done_callback(self._distrust_found)
        await asyncio.wait({reading})

    def _without_piece(
        self, files: Sequence[SharedFile], manifest: Manifest, index: PieceIndex
    ) -> list[tuple[str, Signature]]:
        """Of files with the content those that do not have the piece. Blocks."""
        found = []
        for path, location, signature in [(f.path, f.location, f.signature) for f in files]:
            if not has_piece(location, signature, manifest, index):
                self._cache.forget(location)
                found.append((path, signature))
        return found

    def _distrust_found(self, reading: "asyncio.Future[list[tuple[str, Signature]]]") -> None:
        if reading.cancelled():
            return
        for path, signature in reading.result():
            self._shelf.distrust(path, signature)

    async def _find_manifest(self, holders: Sequence[SharedFile]) -> Manifest:
        resource = holders[0].resource
        assert resource is not None, "holders have a resource"
        manifest = await asyncio.to_thread(
            self._cache.manifest, resource.digest, resource.size_bytes, resource.manifest_digest
        )
        for file in holders if manifest is None else ():
            manifest = await self._hashers.manifest_of(file)
            if manifest is not None:
                break
            self._shelf.distrust(file.path, file.signature)
        if manifest is None:
            raise ContentChanged("the file was changed since it was hashed")
        return manifest

    def _wake(self) -> None:
        self._hashers.wake()

    def _on_idle(self) -> None:
        self._tell_troubles()
        self._readiness.conclude_scan()
        self._catalog.settled = True

    def _on_progress(self, progress: HashProgress) -> None:
        self._tell_troubles()
        self._tell(progress)

    def _tell_troubles(self) -> None:
        while self._troubles:
            self._notice(self._troubles.popleft())

    def _notice(self, text: str) -> None:
        self._tell(Notice(text))


async def _open(file: SharedFile) -> HashedFile:
    """Whoever is cancelled meanwhile leaves no descriptor behind."""
    opening = asyncio.get_running_loop().run_in_executor(
        None, HashedFile, file.location, file.signature
    )
    try:
        return await asyncio.shield(opening)
    except asyncio.CancelledError:
        opening.add_done_callback(_close)
        raise


def _close(opening: asyncio.Future[HashedFile]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()
