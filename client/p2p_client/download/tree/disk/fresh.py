"""New folders: filled under hidden names, and named as a whole.

What lies in a folder that nobody knows the name of needs no hidden name of its own: one renaming
does for all that is in it. What of it was made durable is `staging.py`'s to know.
"""

import contextlib
import os
import shutil
from collections.abc import Iterable

from p2p_client.download.place.rename import rename_without_clobbering

FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Fresh:
    """Which folders are new, by their relative paths; touches no disk.

    A folder that is *open* takes files under their own names. Once it is closed it is about to be
    named: what comes into it later needs hidden names. `plain` folders are never hidden.
    """

    def __init__(self) -> None:
        self.open: set[str] = set()
        self.plain: set[str] = set()
        self._hidden: dict[str, str] = {}  # the uppermost of those made together
        self._tops: list[str] = []

    def name_of(self, folder: str) -> str:
        """The bare name that a folder has on the disk for now."""
        return self._hidden.get(folder) or folder.rpartition("/")[2]

    def is_hidden(self, folder: str) -> bool:
        return folder in self._hidden

    def add(self, folder: str, hidden_name: str) -> None:
        """A new folder was made; without a hidden name: in one that is open."""
        self.open.add(folder)
        if hidden_name:
            self._hidden[folder] = hidden_name
            self._tops.append(folder)

    def close(self) -> list[str]:
        """Closes all that are open; answers those to be named, a folder before what is in it."""
        tops, self._tops = self._tops, []
        self.open.clear()
        return tops

    def named(self, folder: str) -> None:
        del self._hidden[folder]


def merge(source_fd: int, target_fd: int, below: str, *, overwrite: bool) -> dict[str, OSError]:
    """Moves all that is in one folder to another that is there, each folder as a whole where it
    can be; answers what could not be moved, which is removed.

    Args:
        below: the relative path of the target, for what is answered.
    """
    failed: dict[str, OSError] = {}
    with os.scandir(source_fd) as entries:
        found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    for name, is_folder in found:
        path = f"{below}/{name}" if below else name
        try:
            if overwrite and not is_folder:
                os.replace(name, name, src_dir_fd=source_fd, dst_dir_fd=target_fd)
            else:
                rename_without_clobbering(name, name, source_fd, target_fd)
        except FileExistsError as error:
            if is_folder:
                failed |= _merge_folder(name, source_fd, target_fd, path, overwrite=overwrite)
            else:
                failed[path] = error
                os.unlink(name, dir_fd=source_fd)
        except OSError as error:
            failed[path] = error
            remove([name], source_fd)
    return failed


def _merge_folder(
    name: str, source_fd: int, target_fd: int, path: str, *, overwrite: bool
) -> dict[str, OSError]:
    try:
        inner_source = os.open(name, FOLDER_FLAGS, dir_fd=source_fd)
        try:
            inner_target = os.open(name, FOLDER_FLAGS, dir_fd=target_fd)
            try:
                return merge(inner_source, inner_target, path, overwrite=overwrite)
            finally:
                os.close(inner_target)
        finally:
            os.close(inner_source)
    except OSError as error:  # another thing than a folder is there
        return {path: error}
    finally:
        remove([name], source_fd)


def remove(names: Iterable[str], folder_fd: int) -> None:
    """Removes files, and folders with all that is in them; what cannot be removed is left."""
    for name in names:
        with contextlib.suppress(OSError):
            try:
                os.unlink(name, dir_fd=folder_fd)
            except (IsADirectoryError, PermissionError):  # what a folder gives: Linux, others
                shutil.rmtree(name, ignore_errors=True, dir_fd=folder_fd)


def prune(name: str, folder_fd: int) -> bool:
    """Removes a folder and those in it, as far as they are empty; whether it is gone."""
    with contextlib.suppress(OSError):
        fd = os.open(name, FOLDER_FLAGS, dir_fd=folder_fd)
        try:
            with os.scandir(fd) as entries:
                inner = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
            for each in inner:
                prune(each, fd)
        finally:
            os.close(fd)
        os.rmdir(name, dir_fd=folder_fd)
        return True
    return False
