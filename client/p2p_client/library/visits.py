"""Visits to folders: each is listed in a thread and compared with what the shelf knows.

Says what differs; hashing is not done here.
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import field
from itertools import islice
from typing import Never

from p2p_client.library.cache import HashCache
from p2p_client.library.disk.hash import resource_of
from p2p_client.library.disk.scan import Folder, Found, Identity, Listing, Root, list_folders
from p2p_client.library.events import Skipped
from p2p_client.library.readiness import Readiness
from p2p_client.library.shelf.index import key_of
from p2p_client.library.shelf.shelf import Shelf
from p2p_client.library.shelf.watchmap import FolderKey
from p2p_client.models import Resource
from p2p_client.records import dataclass

RESCAN_SECONDS = 60.0
LOST_ROOT_SECONDS = 1.0
_FOLDERS_AT_ONCE = 64
_ENTRIES_AT_ONCE = 2_000
_FILES_AT_ONCE = 500  # between two breaths of the event loop
_CLASHES = "has a name that is listed like that of another file"


@dataclass(slots=True)
class _Visit:
    """One folder as it was found; `listing` is None when it is gone."""

    key: FolderKey
    listing: Listing | None
    is_deep: bool
    clashing: list[Skipped] = field(default_factory=list)


class Visits:
    """
    Args:
        on_idle: told whenever all wanted visits were made.
    """

    def __init__(
        self, shelf: Shelf, cache: HashCache, readiness: Readiness, on_idle: Callable[[], None]
    ) -> None:
        self.private: frozenset[Identity] = frozenset()
        self._shelf = shelf
        self._index = shelf.index
        self._cache = cache
        self._readiness = readiness
        self._on_idle = on_idle
        self._wanted: dict[FolderKey, bool] = {}  # True: with all folders below
        self._wake = asyncio.Event()
        self._roots: list[FolderKey] = []
        self._scan_seconds = 0.0

    def add_root(self, root: Root) -> None:
        location = root.location if root.is_folder else root.location.folder
        folder = Folder(root, root.name if root.is_folder else "", location)
        self._index.add_folder(folder)
        self._roots.append(key_of(folder))
        self._readiness.expect_root(root.name)
        self.want(key_of(folder))

    def want(self, key: FolderKey, *, deep: bool = False) -> None:
        """Wants a folder visited. New folders found on the way are visited too."""
        self._wanted[key] = deep or self._wanted.get(key, False)
        self._wake.set()

    def want_changed(self, paths: Iterable[str]) -> None:
        """Wants the places visited where, by the system's word, something happened."""
        for path in paths:
            for key in self._index.keys_at(path):
                self.want(key)

    async def run(self) -> Never:
        """Makes the wanted visits, until cancelled."""
        while True:
            await self._wake.wait()
            started_at = time.monotonic()
            while self._wanted:
                await self._visit_some()
            self._scan_seconds = time.monotonic() - started_at
            self._wake.clear()
            self._on_idle()

    async def run_rescans(self) -> Never:
        """Wants everything visited now and then, and roots that are lost often, until cancelled."""
        next_at = time.monotonic() + RESCAN_SECONDS
        while True:
            await asyncio.sleep(LOST_ROOT_SECONDS)
            for key in self._index.lost_roots():
                self.want(key)
            if time.monotonic() >= next_at and not self._wanted:
                # At most a twentieth of the time goes into looking for what we are told anyway.
                next_at = time.monotonic() + max(RESCAN_SECONDS, 20 * self._scan_seconds)
                self.want_all()

    def want_all(self) -> None:
        for key in self._roots:
            self.want(key, deep=True)
        for path in self._index.failed_paths():
            self._shelf.want_hashed(path, again=True)

    async def _visit_some(self) -> None:
        taken = {key: self._wanted.pop(key) for key in list(islice(self._wanted, _FOLDERS_AT_ONCE))}
        folders = [folder for key in taken if (folder := self._index.folder(key))]
        listed = await asyncio.to_thread(list_folders, folders, self.private, _ENTRIES_AT_ONCE)
        for folder in folders[len(listed) :]:
            key = key_of(folder)
            self.want(key, deep=taken[key])
        visits = [
            _Visit(key_of(folder), listing, taken[key_of(folder)]) for folder, listing in listed
        ]
        fresh = [item for visit in visits for item in await self._compare(visit)]
        await self._note(fresh)
        for visit in visits:
            self._finish(visit)

    async def _compare(self, visit: "_Visit") -> list[tuple["_Visit", Found]]:
        """The files that are new or changed."""
        files = visit.listing.files if visit.listing else []
        fresh: list[tuple[_Visit, Found]] = []
        for at in range(0, len(files), _FILES_AT_ONCE):
            some = files[at : at + _FILES_AT_ONCE]
            fresh += [(visit, found) for found in some if self._index.is_fresh(visit.key, found)]
            await asyncio.sleep(0)
        return fresh

    async def _note(self, fresh: list[tuple["_Visit", Found]]) -> None:
        for at in range(0, len(fresh), _FILES_AT_ONCE):
            some = fresh[at : at + _FILES_AT_ONCE]
            resources = await asyncio.to_thread(self._look_up, [found for _, found in some])
            for (visit, found), resource in zip(some, resources, strict=True):
                if self._index.is_taken(visit.key, found.path):
                    visit.clashing.append(Skipped(found.path, _CLASHES))
                    continue
                if resource is None:
                    self._readiness.expect_file(visit.key[0], found.path)
                self._shelf.note(visit.key, found, resource)

    def _finish(self, visit: "_Visit") -> None:
        if self._index.folder(visit.key) is None:
            return  # went with a folder above it
        if visit.listing is None:
            gone, skipped = self._index.lose_folder(visit.key)
            new: list[Folder] = []
        else:
            gone, new, skipped = self._index.finish_visit(visit.key, visit.listing, visit.clashing)
            if visit.is_deep:
                new = visit.listing.folders
        self._shelf.lose(gone)
        self._shelf.tell_skipped(skipped)
        for child in new:
            self.want(key_of(child), deep=visit.is_deep)

    def _look_up(self, fresh: list[Found]) -> list[Resource | None]:
        known = self._cache.lookup([(found.location, found.signature) for found in fresh])
        return [
            resource_of(found.path, found.signature, *digests) if digests else None
            for found, digests in zip(fresh, known, strict=True)
        ]
