"""Many small files read whole, folder by folder: the walk from the root is made once a folder.

The same promises as of a `HashedFile`: nothing but regular files is opened, no symlink is followed,
and what is returned was read from a file that had not changed since it was hashed.
"""

import contextlib
import os
import stat
from collections.abc import Sequence
from pathlib import Path

from p2p_client.library.disk.files import FILE_FLAGS, Location, Signature, open_folder
from p2p_client.library.disk.reading.hashed import told_apart
from p2p_client.library.errors import ContentChanged, ContentError

Hashed = tuple[Location, Signature]
"""Where a file lies, and what it was like when it was hashed."""


def read_whole(files: Sequence[Hashed]) -> list[bytes | ContentError]:
    """The bytes of each file, or why there are none: ContentChanged, ContentUnreadable.

    Blocks; for a thread. Cheap where files of one folder follow each other.
    """
    found: list[bytes | ContentError] = []
    with contextlib.ExitStack() as held:
        known: tuple[Path, str] | None = None
        folder = -1
        for location, signature in files:
            above, _, name = location.below.rpartition("/")
            try:
                if known != (location.top, above):
                    held.close()
                    known = None
                    folder = held.enter_context(open_folder(Location(location.top, above)))
                    known = (location.top, above)
                found.append(_read(name, folder, signature))
            except ContentError as error:
                found.append(error)
            except OSError as error:
                found.append(_told(error))
    return found


def _told(trouble: Exception) -> ContentError:
    try:
        with told_apart():
            raise trouble
    except ContentError as error:
        return error


def _read(name: str, folder: int, signature: Signature) -> bytes:
    # Looked at first: opening a device may do something, and sockets cannot be opened.
    _compare(os.stat(name, dir_fd=folder, follow_symlinks=False), signature)
    descriptor = os.open(name, FILE_FLAGS, dir_fd=folder)
    try:
        data = os.read(descriptor, signature.size_bytes + 1)
        while len(data) < signature.size_bytes and (more := os.read(descriptor, 1 << 20)):
            data += more
        _compare(os.fstat(descriptor), signature)
    finally:
        os.close(descriptor)
    if len(data) != signature.size_bytes:
        raise ContentChanged("the file has another length")
    return data


def _compare(status: os.stat_result, signature: Signature) -> None:
    if not (
        stat.S_ISREG(status.st_mode)
        and status.st_size == signature.size_bytes
        and status.st_mtime_ns == signature.mtime_ns
        and status.st_ctime_ns == signature.ctime_ns
        and status.st_ino == signature.inode
        and status.st_dev == signature.device
    ):
        raise ContentChanged("the file was changed since it was hashed")
