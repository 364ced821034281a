"""What the library knows of the disk: folders, the files in them, and which content each has.

Compared folder by folder with what a scan finds. Knows no threads and touches no disk.
"""

from collections.abc import Iterable, Sequence
from dataclasses import field

from p2p_client.library.disk.files import Location, Signature
from p2p_client.library.disk.names import printable
from p2p_client.library.disk.scan import Folder, Found, Identity, Listing
from p2p_client.library.events import Skipped
from p2p_client.library.shelf.watchmap import FolderKey, WatchMap
from p2p_client.models import Digest, Resource
from p2p_client.records import dataclass


@dataclass(slots=True)
class SharedFile:
    """A file on disk; `resource` is what it was found to be under `signature`, if it was hashed."""

    path: str
    location: Location
    signature: Signature
    resource: Resource | None = None
    folder: FolderKey = ("", "")


@dataclass(slots=True)
class _KnownFolder:
    folder: Folder
    files: set[str] = field(default_factory=set)  # as listed
    folders: set[FolderKey] = field(default_factory=set)
    identity: Identity | None = None
    is_lost: bool = False  # a root that is not there now, or closed to us
    skipped: tuple[Skipped, ...] = ()
    failed: dict[str, Skipped] = field(default_factory=dict)  # files that would not be read


def key_of(folder: Folder) -> FolderKey:
    root = folder.root
    return (root.name, folder.location.below if root.is_folder else "")


def _watched_path(folder: Folder) -> str:
    """A single file is watched by its folder: to save may mean to put another file in its place."""
    return str(folder.location.disk_path if folder.root.is_folder else folder.location.top)


class Index:
    def __init__(self) -> None:
        self._files: dict[str, SharedFile] = {}
        self._folders: dict[FolderKey, _KnownFolder] = {}
        self._holders: dict[Digest, tuple[str, ...]] = {}
        self._roots: set[str] = set()
        self.watched = WatchMap()

    # --- what there is -------------------------------------------------------------------------

    def file(self, path: str) -> SharedFile | None:
        return self._files.get(path)

    def folder(self, key: FolderKey) -> Folder | None:
        known = self._folders.get(key)
        return known.folder if known else None

    def holders(self, digest: Digest) -> tuple[SharedFile, ...]:
        return tuple(self._files[path] for path in self._holders.get(digest, ()))

    @property
    def skipped(self) -> tuple[Skipped, ...]:
        return tuple(
            skipped
            for known in self._folders.values()
            for skipped in (*known.skipped, *known.failed.values())
        )

    # --- what to watch -------------------------------------------------------------------------

    def keys_at(self, path: str) -> list[FolderKey]:
        """The folders to visit when something happened at this path on disk."""
        keys = []
        for key in self.watched.keys_at(path):
            root = self._folders[key].folder.root
            if root.is_folder or path in (str(root.disk_path), str(root.location.top)):
                keys.append(key)
        return keys

    # --- a visit to one folder -----------------------------------------------------------------

    def add_folder(self, folder: Folder) -> bool:
        """Whether it was new."""
        key = key_of(folder)
        if key in self._folders:
            return False
        self._folders[key] = _KnownFolder(folder, identity=folder.identity)
        self.watched.put(key, _watched_path(folder), folder.identity)
        if key[1] == "":
            self._roots.add(key[0])
        return True

    def is_fresh(self, key: FolderKey, found: Found) -> bool:
        """Whether a file is new, differs from what was known, or has a path that is taken."""
        known = self._files.get(found.path)
        return (
            known is None
            or known.signature != found.signature
            or known.folder != key
            or known.location != found.location
        )

    def is_taken(self, key: FolderKey, path: str) -> bool:
        """Whether a file of another folder has the path: names that differ on disk may be listed
        alike. The one that came first keeps it."""
        known = self._files.get(path)
        return known is not None and known.folder != key

    def finish_visit(
        self, key: FolderKey, listing: Listing, clashing: Sequence[Skipped]
    ) -> tuple[list[str], list[Folder], list[Skipped]]:
        """Ends the visit of a folder that is known.

        Returns:
            Paths of files that are no longer there, folders that are new, and what is skipped now
            and was not before.
        """
        known = self._folders[key]
        gone = list(known.files - {item.path for item in listing.files})
        now = {key_of(folder): folder for folder in listing.folders}
        for child in known.folders:
            if child not in now or self._folders[child].folder.identity != now[child].identity:
                gone.extend(self._paths_below(child))
                self._forget_folder(child)
        new = [folder for folder in listing.folders if self.add_folder(folder)]
        known.folders = set(now)
        self._look_after(key, known, listing)
        before = set(known.skipped)
        known.skipped = (*listing.skipped, *clashing)
        return gone, new, [item for item in known.skipped if item not in before]

    def _look_after(self, key: FolderKey, known: _KnownFolder, listing: Listing) -> None:
        """Whether it can be watched now. A folder that is closed to us tells nothing itself; the
        one above it does, and a root has none."""
        known.is_lost = listing.identity is None and key[1] == ""
        known.identity = listing.identity or known.folder.identity
        if known.is_lost:
            self.watched.drop(key)
        else:
            self.watched.put(key, _watched_path(known.folder), known.identity)

    def lose_folder(self, key: FolderKey) -> tuple[list[str], list[Skipped]]:
        """The folder is gone with all below it; a root stays known, for it may come back.

        Returns:
            Paths of files that are no longer there, and what is newly skipped.
        """
        known = self._folders.get(key)
        gone = (Skipped(printable(key[0]), "is not there"),)
        if known is None or known.skipped == gone:
            return [], []
        lost = list(self._paths_below(key))
        self._forget_folder(key)
        if key[1] != "":
            return lost, []
        self.add_folder(known.folder)
        self.watched.drop(key)
        self._folders[key].is_lost = True
        self._folders[key].skipped = gone
        return lost, list(gone)

    def lost_roots(self) -> list[FolderKey]:
        return [(root, "") for root in self._roots if self._folders[(root, "")].is_lost]

    # --- one file ------------------------------------------------------------------------------

    def see(self, key: FolderKey, found: Found) -> Resource | None:
        """Notes a new or changed file as not hashed yet; answers what it was listed as."""
        before = self.forget(found.path)
        self._files[found.path] = SharedFile(
            found.path, found.location, found.signature, folder=key
        )
        known = self._folders[key]
        known.files.add(found.path)
        known.failed.pop(found.path, None)
        return before

    def settle(self, path: str, signature: Signature, resource: Resource) -> None:
        """The file was found to be this."""
        file = self._files[path]
        self._release(file)
        file.signature = signature
        file.resource = resource
        holders = self._holders.get(resource.digest, ())
        self._holders[resource.digest] = (*holders, path)

    def unsettle(self, path: str) -> Resource | None:
        """What the file is, is no longer known; answers what it was listed as."""
        file = self._files.get(path)
        return self._release(file) if file else None

    def fail(self, path: str, why: str) -> Skipped | None:
        """The file would not be read. None: that is known already."""
        file = self._files[path]
        failed = self._folders[file.folder].failed
        skipped = Skipped(path, why)
        if failed.get(path) == skipped:
            return None
        failed[path] = skipped
        return skipped

    def failed_paths(self) -> list[str]:
        return [path for known in self._folders.values() for path in known.failed]

    def clear_failure(self, path: str) -> None:
        self._folders[self._files[path].folder].failed.pop(path, None)

    def forget(self, path: str) -> Resource | None:
        """The file is gone; answers what it was listed as."""
        file = self._files.get(path)
        if file is None:
            return None
        resource = self._release(file)
        del self._files[path]
        known = self._folders.get(file.folder)
        if known is not None:
            known.files.discard(path)
            known.failed.pop(path, None)
        return resource

    def _release(self, file: SharedFile) -> Resource | None:
        resource, file.resource = file.resource, None
        if resource is not None:
            rest = tuple(path for path in self._holders[resource.digest] if path != file.path)
            if rest:
                self._holders[resource.digest] = rest
            else:
                del self._holders[resource.digest]
        return resource

    # --- whole trees ---------------------------------------------------------------------------

    def _paths_below(self, key: FolderKey) -> Iterable[str]:
        known = self._folders.get(key)
        if known is not None:
            yield from known.files
            for folder in known.folders:
                yield from self._paths_below(folder)

    def _forget_folder(self, key: FolderKey) -> None:
        known = self._folders.pop(key, None)
        if known is not None:
            self.watched.drop(key)
            for folder in known.folders:
                self._forget_folder(folder)
