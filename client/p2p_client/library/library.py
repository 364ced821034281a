"""The library: all that one peer shares, kept true to the disk."""

from collections.abc import Callable
from pathlib import Path

from p2p_client.content.manifest import Manifest
from p2p_client.library.catalog import Catalog
from p2p_client.library.events import LibraryEvent, Skipped
from p2p_client.models import Digest

__all__ = ["Library", "LibraryEvent", "Skipped"]


class Library:
    """Files and folders served in place.

    Args:
        cache_file: the hash cache, made when it is not there.
        catalog: where resources are listed as they become ready, and withdrawn.
        on_event: told from the event loop's thread; must be quick.
    """

    def __init__(
        self, cache_file: Path, catalog: Catalog, on_event: Callable[[LibraryEvent], None]
    ) -> None: ...

    @property
    def skipped(self) -> tuple[Skipped, ...]:
        """What is in the shared folders and not shared."""
        ...

    async def add(self, root: Path) -> None:
        """Shares one more file or folder; may be called before `run` and while it runs.

        Raises:
            LocalRefusal: not there, not readable, neither a file nor a folder, not listable.
            UsageError: another root has that basename; the root folder has none.
        """
        ...

    async def run(self) -> None:
        """Scans, hashes, lists as ready and watches, until cancelled."""
        ...

    async def ready(self) -> None:
        """Returns when all that the first scan of every root found is listed or skipped."""
        ...

    async def open(self, digest: Digest) -> object:
        """OpenContent: `.size_bytes`, `await read(offset, length)`, `await check()`, `close()`."""
        ...

    async def manifest(self, digest: Digest) -> Manifest:
        """The manifest of one content. Raises the ContentError family."""
        ...

    async def recheck(self, digest: Digest) -> None:
        """Hashes the files of this content again, and returns when that is done."""
        ...
