"""What is listed, kept true to what is known: the index, the catalog and the hash queue as one.

All of it runs on the event loop's thread, without awaiting: between two calls the three agree.
"""

import time
from collections.abc import Callable, Iterable

from p2p_client.library.catalog import Catalog
from p2p_client.library.disk.files import Signature
from p2p_client.library.disk.hash import Gone, Hashed, Outcome, Unreadable, Unsteady
from p2p_client.library.disk.scan import Found
from p2p_client.library.events import LibraryEvent, Listed, Skipped, Withdrawn
from p2p_client.library.shelf.index import Index, SharedFile
from p2p_client.library.shelf.meter import Meter
from p2p_client.library.shelf.queue import HashQueue, Lane
from p2p_client.library.shelf.watchmap import FolderKey
from p2p_client.models import Resource


class Shelf:
    """
    Args:
        on_work: told when there is something new to hash.
        on_concluded: told the path whenever a file needs no hashing any more.
    """

    def __init__(
        self,
        catalog: Catalog,
        tell: Callable[[LibraryEvent], None],
        on_work: Callable[[], None],
        on_concluded: Callable[[str], None],
    ) -> None:
        self.index = Index()
        self.meter = Meter()
        self.queue = HashQueue()
        self._catalog = catalog
        self._tell = tell
        self._on_work = on_work
        self._on_concluded = on_concluded

    def note(self, key: FolderKey, found: Found, resource: Resource | None) -> None:
        """A scan found a new or changed file; `resource` is what the hash cache knows it to be."""
        before = self.index.see(key, found)
        if resource is not None:
            self.queue.drop(found.path)
            self._list(found.path, found.signature, resource, before)
            self._on_concluded(found.path)
            return
        self._withdraw(found.path, before)
        self.want_hashed(found.path, again=before is not None)

    def want_hashed(self, path: str, *, again: bool) -> None:
        file = self.index.file(path)
        if file is None:
            return
        if path not in self.queue:
            self.meter.expect(file.signature.size_bytes)
        self.queue.push(path, file.signature.size_bytes, time.monotonic(), again=again)
        self._on_work()

    def take(self, lane: Lane, most_files: int) -> list[SharedFile]:
        """What to hash next; `conclude` each of them."""
        while paths := self.queue.take(time.monotonic(), lane, most_files):
            files = [file for path in paths if (file := self.index.file(path))]
            for path in set(paths).difference(file.path for file in files):
                self.queue.finish(path)
            if files:
                return files
        return []

    def conclude(self, outcome: Outcome) -> None:
        """A file was hashed, or could not be."""
        path = outcome.path
        was_pushed = self.queue.finish(path)
        self.meter.finish_file()
        file = self.index.file(path)
        if file is None:
            self._on_concluded(path)
            return
        match outcome:
            case Hashed(signature=signature) if was_pushed and signature != file.signature:
                self.want_hashed(path, again=True)
                return
            case Hashed(signature=signature, resource=resource):
                self.index.clear_failure(path)
                self._list(path, signature, resource, self.index.unsettle(path))
            case Unsteady():
                self._withdraw(path, self.index.unsettle(path))
                self.want_hashed(path, again=True)
            case Gone():
                self._withdraw(path, self.index.forget(path))
            case Unreadable(why=why):
                self._withdraw(path, self.index.unsettle(path))
                if skipped := self.index.fail(path, why):
                    self._tell(skipped)
        self._on_concluded(path)

    def lose(self, paths: Iterable[str]) -> None:
        """Files are no longer there."""
        for path in paths:
            self.queue.drop(path)
            self._withdraw(path, self.index.forget(path))
            self._on_concluded(path)

    def distrust(self, path: str, signature: Signature) -> None:
        """The file is no longer what it was under this signature: withdrawn, and hashed again."""
        file = self.index.file(path)
        if file is None or file.signature != signature or file.resource is None:
            return  # known already
        self._withdraw(path, self.index.unsettle(path))
        self.want_hashed(path, again=True)

    def tell_skipped(self, skipped: Iterable[Skipped]) -> None:
        for item in skipped:
            self._tell(item)

    def _list(
        self, path: str, signature: Signature, resource: Resource, before: Resource | None
    ) -> None:
        self.index.settle(path, signature, resource)
        if before != resource:
            self._catalog.put(resource)
            self._tell(Listed(path, resource.size_bytes, resource.digest))

    def _withdraw(self, path: str, before: Resource | None) -> None:
        if before is not None:
            self._catalog.withdraw(path)
            self._tell(Withdrawn(path))
