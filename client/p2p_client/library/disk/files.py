"""Shared files as the disk has them: where they lie, and whether they are still the same.

Every open walks down from the root's own directory and follows no symlink on the way, so a path
that was lawful when it was scanned cannot lead out of the share later. Nothing but regular files is
ever opened.
"""

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from p2p_client.records import dataclass

_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Non-blocking, for a FIFO that took the file's place must not hang us.
FILE_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Signature:
    """What must not differ between hashing and serving.

    ctime and inode catch a file that was rewritten with size and mtime put back.
    """

    size_bytes: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    device: int

    @classmethod
    def of(cls, status: os.stat_result) -> Self:
        return cls(
            status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_dev
        )


@dataclass(frozen=True, slots=True)
class Location:
    """A file or folder: the folder that the walk starts from, and what lies below it.

    `below` is the disk's own spelling with "/" between the parts; empty is `top` itself.
    """

    top: Path  # absolute, symlinks resolved once when the root was added
    below: str

    @property
    def disk_path(self) -> Path:
        return self.top / self.below

    @property
    def folder(self) -> "Location":
        return Location(self.top, self.below.rpartition("/")[0])

    def child(self, name: str) -> "Location":
        return Location(self.top, f"{self.below}/{name}" if self.below else name)


class NotAFile(OSError):
    """Something else than a regular file is in the place of one."""


@contextlib.contextmanager
def open_folder(location: Location) -> Iterator[int]:
    """The folder's descriptor. Raises OSError; a symlink on the way is one."""
    descriptor = os.open(location.top, _FOLDER_FLAGS)
    try:
        for part in location.below.split("/") if location.below else ():
            deeper = os.open(part, _FOLDER_FLAGS, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = deeper
        yield descriptor
    finally:
        os.close(descriptor)


def open_file(location: Location) -> int:
    """A descriptor of the regular file; the caller closes it. Raises OSError, NotAFile."""
    name = location.below.rpartition("/")[2]
    with open_folder(location.folder) as folder:
        # Looked at first: opening a device may do something, and sockets cannot be opened.
        if not stat.S_ISREG(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
            raise NotAFile(f"{name!r} is no regular file")
        descriptor = os.open(name, FILE_FLAGS, dir_fd=folder)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise NotAFile(f"{name!r} is no regular file")
    return descriptor


def signature_of(location: Location) -> Signature:
    """The file's signature by its path, without opening it. Raises OSError, NotAFile."""
    with open_folder(location.folder) as folder:
        name = location.below.rpartition("/")[2]
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
    if not stat.S_ISREG(status.st_mode):
        raise NotAFile(f"{name!r} is no regular file")
    return Signature.of(status)
