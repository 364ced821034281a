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
from collections.abc import Callable, Iterable, Iterator
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import TypeVar

from p2p_client.download.place.place import Place, unwritable
from p2p_client.download.place.rename import rename_without_clobbering
from p2p_client.download.tree.disk.fresh import FOLDER_FLAGS, Fresh, merge, prune, remove
from p2p_client.errors import TargetUnwritable

_READ_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_MOVED_AWAY = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})
MOST_FOLDERS_HELD = 64
_MOST_LEFT = 10_000

T = TypeVar("T")


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
        self._fresh = Fresh()

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

    def create(self, place: str, spare: Callable[[], str]) -> tuple[str, int]:
        """A new file beside a place, and its spare name, open for writing; folders are made.
        Raises OSError."""
        folder = place.rpartition("/")[0]
        with self._guard:
            fd = self._folder(folder, make=True)
            return _unused(spare, lambda name: os.open(name, _NEW_FILE, 0o666, dir_fd=fd))

    def create_new(self, place: str, spare: Callable[[], str]) -> tuple[str, int]:
        """A new file for a place, open for writing, and its bare name: the place's own where the
        folder is new, else a spare one. Folders are made, under spare names. Raises OSError.

        Args:
            spare: a hidden name, another one each time.
        """
        folder, _, name = place.rpartition("/")
        with self._guard:
            fd = self._folder(folder, make=True, spare=spare)
            if folder in self._fresh.open:
                return name, os.open(name, _NEW_FILE, 0o666, dir_fd=fd)
            return _unused(spare, lambda name: os.open(name, _NEW_FILE, 0o666, dir_fd=fd))

    def never_hide(self, folders: Iterable[str]) -> None:
        """These, and those above them, get their own names as soon as they are made."""
        for folder in folders:
            while folder and folder not in self._fresh.plain:
                self._fresh.plain.add(folder)
                folder = folder.rpartition("/")[0]

    def close_new(self) -> list[str]:
        """From now on files get hidden names in the new folders too. Answers what to `reveal` once
        all that is in them is durable, in this order."""
        with self._guard:
            return self._fresh.close()

    def reveal(self, folder: str) -> dict[str, OSError]:
        """Gives a new folder its name, with all that is in it; where one has appeared meanwhile,
        its content comes there. Answers the places that could not be had.

        Raises OSError: none of it could; then it is gone, for nobody would look for it later.
        """
        above, _, name = folder.rpartition("/")
        with self._guard:
            if not self._fresh.is_hidden(folder):
                return {}
            above_fd, hidden = self._folder(above), self._fresh.name_of(folder)
            self._changed.add(above)
            try:
                rename_without_clobbering(hidden, name, above_fd)
            except FileExistsError:
                self._forget(folder)
                return self._merge(folder, hidden)
            except OSError:  # a name, say, that this file system cannot have
                self._forget(folder)
                remove([hidden], above_fd)
                raise
            self._fresh.named(folder)
            return {}

    def give_up(self, folder: str) -> None:
        """Removes a new folder in which nothing is left; else it gets its name. Raises OSError."""
        with self._guard:
            if not self._fresh.is_hidden(folder):
                return
            hidden, above_fd = self._fresh.name_of(folder), self._folder(folder.rpartition("/")[0])
            if prune(hidden, above_fd):
                self._forget(folder)
            else:
                self.reveal(folder)

    def _merge(self, folder: str, hidden: str) -> dict[str, OSError]:
        above_fd = self._folder(folder.rpartition("/")[0])
        try:
            source_fd = os.open(hidden, FOLDER_FLAGS, dir_fd=above_fd)
            try:
                return merge(source_fd, self._folder(folder), folder, overwrite=self.overwrite)
            finally:
                os.close(source_fd)
        finally:
            self._changed.add(folder)
            remove([hidden], above_fd)

    def _forget(self, folder: str) -> None:
        """The folder is looked for under its own name from now on, and all below it."""
        self._fresh.named(folder)
        for held in [at for at in self._held if at == folder or at.startswith(f"{folder}/")]:
            os.close(self._held.pop(held))

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

    def sweep(self, folder: str, is_ours: Callable[[str], object]) -> None:
        """Removes from a folder what has such names, folders with all that is in them. Raises
        OSError."""
        with self._guard:
            fd = self._folder(folder)
            with os.scandir(fd) as entries:
                found = [entry.name for entry in entries if is_ours(entry.name)]
            remove(found, fd)

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

    @contextlib.contextmanager
    def settling(self, folders: AbstractSet[str]) -> Iterator[None]:
        """While their disks are synced whole: the names given in these folders before are durable
        then."""
        with self._guard:
            settled = self._changed & folders
            self._changed -= settled
        try:
            yield
        except BaseException:
            with self._guard:
                self._changed |= settled
            raise

    def sync_folders(self) -> None:
        """Makes the names durable that nothing else has, one folder at a time. A folder that
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

    def _folder(
        self, folder: str, *, make: bool = False, spare: Callable[[], str] | None = None
    ) -> int:
        """Its descriptor, which others may close later: use it under the guard.

        Args:
            make: it is made where it is missing, under a `spare` name where one is given.
        """
        if not folder:
            return self.fd
        held = self._held.get(folder)
        if held is not None:
            self._held.move_to_end(folder)
            return held
        above = folder.rpartition("/")[0]
        above_fd = self._folder(above, make=make, spare=spare)
        name = self._fresh.name_of(folder)
        try:
            fd = os.open(name, FOLDER_FLAGS, dir_fd=above_fd)
        except FileNotFoundError:
            if not make:
                raise
            fd = self._make(folder, above_fd, spare)
        self._held[folder] = fd
        if len(self._held) > MOST_FOLDERS_HELD:
            _, oldest = self._held.popitem(last=False)
            os.close(oldest)
        return fd

    def _make(self, folder: str, above_fd: int, spare: Callable[[], str] | None) -> int:
        above, _, name = folder.rpartition("/")
        self._changed.add(above)
        if above in self._fresh.open:
            os.mkdir(name, dir_fd=above_fd)
            self._fresh.add(folder, "")
            self._changed.add(folder)
        elif spare is not None and folder not in self._fresh.plain:
            name, _ = _unused(spare, lambda name: os.mkdir(name, dir_fd=above_fd))
            self._fresh.add(folder, name)
            self._changed.add(folder)
        else:
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, dir_fd=above_fd)
        return os.open(name, FOLDER_FLAGS, dir_fd=above_fd)


def _unused(spare: Callable[[], str], make: Callable[[str], T]) -> tuple[str, T]:
    """What was made under the first spare name that nothing has: a run that could not remove one
    of its own leaves it, and its number is passed over."""
    for _ in range(_MOST_LEFT):
        name = spare()
        with contextlib.suppress(FileExistsError):
            return name, make(name)
    raise FileExistsError(errno.EEXIST, f"{name} and many before it are in the way")
