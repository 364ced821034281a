"""Shared files as the disk has them: where they lie, whether they are still the same, their bytes.

Every open walks down from the root's own directory and follows no symlink on the way, so a path
that was lawful when it was scanned cannot lead out of the share later. Nothing but regular files is
ever opened, and nothing is mapped: a mapped file that is truncated kills the process.
"""

import contextlib
import errno
import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from p2p_client.library.disk.fresh import new_bytes
from p2p_client.library.errors import ContentChanged, ContentUnreadable
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


_WITHOUT_WAITING: int = getattr(os, "RWF_NOWAIT", 0)  # Linux


class HashedFile:
    """An open file that had one signature when it was hashed; gives bytes only while it has it.

    All but `close` and `read_cached` wait for the disk: call them from a thread. All but `close`
    raise ContentChanged, ContentUnreadable.
    """

    def __init__(self, location: Location, signature: Signature) -> None:
        self._location = location
        self._signature = signature
        with told_apart():
            self._keep(open_file(location))
        try:
            self._check(self._descriptor)
        except BaseException:
            os.close(self._descriptor)
            raise

    def _keep(self, descriptor: int) -> None:
        self._guard = threading.Lock()
        self._readers = 0
        self._is_closed = False
        self._descriptor = descriptor

    @property
    def size_bytes(self) -> int:
        return self._signature.size_bytes

    def read(self, offset: int, length: int, head: bytes = b"") -> bytes:
        """Exactly these bytes, which lie within the size, behind `head`. Checked after they were
        read: what is returned was read from a file that had not changed until then."""
        self._allow(offset, offset + length)
        found, room = new_bytes(head, length)
        with self._borrowed() as descriptor:
            while room:
                with told_apart():
                    count = os.preadv(descriptor, [room], offset)
                if not count:
                    raise ContentChanged("the file got shorter")
                offset += count
                room = room[count:]
            self._check(descriptor)
        return found

    def read_cached(self, offset: int, length: int, head: bytes = b"") -> bytes | None:
        """As `read`, where the system has all of it in memory; else None, at once."""
        self._allow(offset, offset + length)
        if not _WITHOUT_WAITING:
            return None
        found, room = new_bytes(head, length)
        with self._borrowed() as descriptor:
            try:
                count = os.preadv(descriptor, [room], offset, _WITHOUT_WAITING)
            except OSError:  # not there, or not to be had in this way: the usual one tells
                return None
            if count < length:
                return None
            self._check(descriptor)
        return found

    def check(self) -> None:
        """That the file is unchanged and still the one to be found under its path."""
        with self._borrowed() as descriptor:
            self._check(descriptor)
        with told_apart():
            found = signature_of(self._location)
        if found != self._signature:
            raise ContentChanged("another file took its place")

    def close(self) -> None:
        """Safe to call twice, and while a thread reads: the descriptor goes with that reader."""
        with self._guard:
            was_closed, self._is_closed = self._is_closed, True
            if not was_closed and self._readers == 0:
                os.close(self._descriptor)

    @contextlib.contextmanager
    def _borrowed(self) -> Iterator[int]:
        with self._guard:
            if self._is_closed:
                raise ContentUnreadable("the file was closed")
            self._readers += 1
        try:
            yield self._descriptor
        finally:
            self._give_back()

    def _give_back(self) -> None:
        with self._guard:
            self._readers -= 1
            if self._is_closed and self._readers == 0:
                os.close(self._descriptor)

    def _allow(self, offset: int, end: int) -> None:
        """Raises a ContentError when the bytes [offset, end) are not to be read."""

    def _check(self, descriptor: int) -> None:
        with told_apart():
            found = Signature.of(os.fstat(descriptor))
        if found != self._signature:
            raise ContentChanged("the file was changed since it was hashed")


@contextlib.contextmanager
def told_apart() -> Iterator[None]:
    """Turns what the disk says into: gone for good (ContentChanged), or trouble that may pass."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError, NotAFile) as error:
        raise ContentChanged("the file is gone") from error
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ESTALE):
            raise ContentChanged("the file is gone") from error
        raise ContentUnreadable(f"the disk does not give the file: {error.strerror}") from error
