"""The folder that a tree comes to stand in: held open, and all folders below it by their names.

Every path is walked part by part from the held folder, and no symlink is followed on the way; what
was seen to be a folder once may have been replaced since, so the walk is made again now and then.
Methods block; call them in threads.
"""

import contextlib
import errno
import os
import stat
import threading
from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path

from p2p_client.download.place.place import Place, unwritable
from p2p_client.download.place.rename import rename_without_clobbering
from p2p_client.errors import TargetUnwritable

_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_MOVED_AWAY = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})
MOST_FOLDERS_HELD = 64


class Ground:
    """Close it."""

    def __init__(self, root: Path, fd: int, *, overwrite: bool, is_new: bool = False) -> None:
        self.root = root
        self.fd = fd
        self.overwrite = overwrite
        self._is_new = is_new
        self._guard = threading.RLock()
        self._held: OrderedDict[str, int] = OrderedDict()
        self._changed: set[str] = set()  # folders with new names in them

    @classmethod
    def open(cls, root: Path, *, overwrite: bool) -> "Ground":
        """Holds the folder, made where only itself is missing.

        Raises TargetUnwritable.
        """
        is_new = False
        try:
            with contextlib.suppress(FileExistsError):
                root.mkdir()
                is_new = True
            fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise TargetUnwritable(
                f"the folder {root.parent} does not exist: make it first"
            ) from None
        except OSError as error:
            raise unwritable(root, error) from None
        return cls(root, fd, overwrite=overwrite, is_new=is_new)

    def close(self) -> None:
        """A folder that was made for nothing goes again."""
        with self._guard:
            for fd in self._held.values():
                os.close(fd)
            self._held.clear()
            if self.fd >= 0:
                os.close(self.fd)
                self.fd = -1
                if self._is_new:
                    with contextlib.suppress(OSError):
                        self.root.rmdir()

    def stat(self, place: str) -> os.stat_result | None:
        """What stands there, symlinks not followed; None: nothing. Raises OSError, also where a
        folder on the way is none."""
        folder, _, name = place.rpartition("/")
        with self._guard:
            try:
                return os.stat(name, dir_fd=self._folder(folder), follow_symlinks=False)
            except FileNotFoundError:
                return None

    def open_file(self, place: str) -> int:
        """A descriptor of the regular file there. Raises OSError."""
        folder, _, name = place.rpartition("/")
        with self._guard:
            fd = os.open(name, _READ_FLAGS, dir_fd=self._folder(folder))
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise OSError(errno.EINVAL, "not a regular file")
        return fd

    def place(self, place: str) -> Place:
        """The place for one file's own download, its folders made. Raises OSError."""
        folder, _, _ = place.rpartition("/")
        with self._guard:
            self._changed.add(folder)
            fd = os.dup(self._folder(folder, make=True))
        return Place(self.root / place, fd, self.overwrite)

    def create(self, name: str, place: str) -> int:
        """A new file of that bare name, open for writing, beside a place; folders are made. Raises
        OSError."""
        folder = place.rpartition("/")[0]
        with self._guard:
            return os.open(name, _NEW_FILE, 0o666, dir_fd=self._folder(folder, make=True))

    def put(self, name: str, place: str) -> None:
        """Gives the file beside the place its name; without `overwrite` nothing is replaced.

        Raises OSError: FileExistsError where something stands there, IsADirectoryError also with
        `overwrite`.
        """
        folder, _, new = place.rpartition("/")
        with self._guard:
            self._changed.add(folder)
            fd = self._folder(folder, make=True)
            if self.overwrite:
                os.replace(name, new, src_dir_fd=fd, dst_dir_fd=fd)
            else:
                rename_without_clobbering(name, new, fd)

    def open_beside(self, name: str, place: str) -> int:
        """A file that `create` made, for reading. Raises OSError."""
        folder = place.rpartition("/")[0]
        with self._guard:
            return os.open(name, _READ_FLAGS, dir_fd=self._folder(folder))

    def remove_beside(self, name: str, place: str) -> None:
        """Removes a file that `create` made. Raises OSError."""
        folder = place.rpartition("/")[0]
        with self._guard:
            os.unlink(name, dir_fd=self._folder(folder))

    def names_in(self, folder: str) -> list[str]:
        """Raises OSError."""
        with self._guard, os.scandir(self._folder(folder)) as entries:
            return [entry.name for entry in entries]

    def has_folder(self, folder: str) -> bool:
        """Raises OSError where something else stands there or on the way."""
        with self._guard:
            try:
                self._folder(folder)
            except FileNotFoundError:
                return False
            return True

    def disks_of(self, folders: Iterable[str]) -> list[int]:
        """A descriptor of one folder on each disk that these lie on (below the ground something
        may be mounted), to be closed by the caller. Raises OSError."""
        found: dict[int, int] = {}
        try:
            for folder in folders:
                with self._guard:
                    fd = self._folder(folder)
                    disk = os.fstat(fd).st_dev
                    if disk not in found:
                        found[disk] = os.dup(fd)
        except OSError:
            for fd in found.values():
                os.close(fd)
            raise
        return list(found.values())

    def sync_folders(self) -> None:
        """Makes the names given since the last time durable, one folder at a time. A folder that
        somebody has moved away is left alone. Raises OSError."""
        with self._guard:
            changed, self._changed = self._changed, set()
        for folder in changed:
            try:
                with self._guard:
                    os.fsync(self._folder(folder))
            except OSError as error:
                if error.errno not in _MOVED_AWAY:
                    raise

    def _folder(self, folder: str, *, make: bool = False) -> int:
        """Its descriptor, which others may close later: use it under the guard."""
        if not folder:
            return self.fd
        held = self._held.get(folder)
        if held is not None:
            self._held.move_to_end(folder)
            return held
        above, _, name = folder.rpartition("/")
        above_fd = self._folder(above, make=make)
        try:
            fd = os.open(name, _FOLDER_FLAGS, dir_fd=above_fd)
        except FileNotFoundError:
            if not make:
                raise
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, dir_fd=above_fd)
            self._changed.add(above)
            fd = os.open(name, _FOLDER_FLAGS, dir_fd=above_fd)
        self._held[folder] = fd
        if len(self._held) > MOST_FOLDERS_HELD:
            _, oldest = self._held.popitem(last=False)
            os.close(oldest)
        return fd
