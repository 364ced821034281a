"""What lies in shared folders now: one folder at a time, by its descriptor, through no symlink."""

import os
import stat
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import field
from pathlib import Path

from p2p_client.library.disk.files import Location, Signature, open_folder
from p2p_client.library.disk.names import (
    Unlistable,
    check_path,
    is_of_downloads,
    listed_name,
    printable,
)
from p2p_client.library.events import Skipped
from p2p_client.records import dataclass

_SYMLINK = "is a symlink; share what it points to instead"
_SPECIAL = "is neither a file nor a folder"
# A folder with such a file and one of these beside it is the state of a peer, or of a directory.
_STATE_MARKS = {
    "identity.pem": {"peer_id", "config.json", "known_directories.json", "cache.db"},
    "directory.db": {"directory.db.lock"},
}


Identity = tuple[int, int]
"""Device and inode: differs when another folder takes one's place."""


@dataclass(frozen=True, slots=True)
class Root:
    """What a person gave to share."""

    name: str  # as listed: the first part of every path below
    location: Location  # a folder: (itself, ""); a single file: (its folder, its name)
    is_folder: bool

    @property
    def disk_path(self) -> Path:
        return self.location.disk_path


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder within a root, or the place of a single file that is a root."""

    root: Root
    listed: str  # its path as listed; for a single file's place: empty
    location: Location
    identity: Identity | None = None  # when it was found; None: a root, not looked at yet


@dataclass(frozen=True, slots=True)
class Found:
    path: str  # as listed
    location: Location
    signature: Signature


@dataclass(slots=True)
class Listing:
    files: list[Found] = field(default_factory=list)
    folders: list[Folder] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    identity: Identity | None = None  # of the folder itself; None: it could not be opened

    def __len__(self) -> int:
        return len(self.files) + len(self.folders) + len(self.skipped)


def list_folders(
    folders: Sequence[Folder], private: frozenset[tuple[int, int]], most_entries: int
) -> list[tuple[Folder, Listing | None]]:
    """Lists folders until about `most_entries` were seen, at least one. Blocks; for a thread.

    Args:
        private: device and inode of folders that are never shared: our own state.
    Returns:
        Folders in the given order, possibly not all; None: the folder is gone.
    """
    listed: list[tuple[Folder, Listing | None]] = []
    entries = 0
    for folder in folders:
        listing = list_folder(folder, private)
        listed.append((folder, listing))
        entries += 1 + (len(listing) if listing else 0)
        if entries >= most_entries:
            break
    return listed


def list_folder(folder: Folder, private: frozenset[Identity]) -> Listing | None:
    if not folder.root.is_folder:
        return _look_at_file(folder.root)
    try:
        with open_folder(folder.location) as descriptor:
            status = os.fstat(descriptor)
            identity = (status.st_dev, status.st_ino)
            if identity in private:
                return _skipped(folder, "holds this program's own keys and state")
            listing = _list_open(folder, descriptor)
            listing.identity = identity
            return listing
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        return _skipped(folder, f"cannot be read: {error.strerror}")


def _skipped(folder: Folder, why: str) -> Listing:
    return Listing(skipped=[Skipped(printable(folder.listed), why)])


def _look_at_file(root: Root) -> Listing | None:
    name = root.location.below
    try:
        with open_folder(root.location.folder) as descriptor:
            folder = os.fstat(descriptor)
            status = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        why = f"cannot be read: {error.strerror}"
        return Listing(skipped=[Skipped(printable(root.name), why)])
    listing = Listing(identity=(folder.st_dev, folder.st_ino))
    if stat.S_ISREG(status.st_mode):
        listing.files.append(Found(root.name, root.location, Signature.of(status)))
    else:
        listing.skipped.append(Skipped(printable(root.name), "is no longer a regular file"))
    return listing


def _list_open(folder: Folder, descriptor: int) -> Listing:
    listing = Listing()
    taken: set[str] = set()
    with os.scandir(descriptor) as entries:
        ordered = sorted(entries, key=_exact_names_first)
    if _is_state(entry.name for entry in ordered):
        return _skipped(folder, "holds keys and state of this program")
    for entry in ordered:
        if is_of_downloads(entry.name):
            continue
        try:
            _add(listing, folder, entry, taken)
        except Unlistable as error:
            shown = f"{folder.listed}/{entry.name}"
            listing.skipped.append(Skipped(printable(shown), str(error)))
        except FileNotFoundError:
            continue  # it went while we looked
    return listing


def _is_state(names: Iterable[str]) -> bool:
    """Whether these make a state folder, ours or another one's: a key must never be shared."""
    found = set(names)
    return any(key in found and marks & found for key, marks in _STATE_MARKS.items())


def _exact_names_first(entry: os.DirEntry[str]) -> tuple[bool, str]:
    """Of two names that are listed alike, the one spelt as it is listed comes first."""
    exact = entry.name.isascii() or unicodedata.is_normalized("NFC", entry.name)
    return not exact, entry.name


def _add(listing: Listing, folder: Folder, entry: os.DirEntry[str], taken: set[str]) -> None:
    if entry.is_symlink():
        raise Unlistable(_SYMLINK)
    is_folder = entry.is_dir(follow_symlinks=False)
    if not is_folder and not entry.is_file(follow_symlinks=False):
        raise Unlistable(_SPECIAL)
    path = f"{folder.listed}/{listed_name(entry.name)}"
    check_path(path)
    location = folder.location.child(entry.name)
    if path in taken and not is_folder:
        raise Unlistable("has a name that is listed like that of another file here")
    taken.add(path)
    status = entry.stat(follow_symlinks=False)
    if is_folder:
        identity = (status.st_dev, status.st_ino)
        listing.folders.append(Folder(folder.root, path, location, identity))
    else:
        listing.files.append(Found(path, location, Signature.of(status)))
