"""What a person gave to share, looked at once: where it is, what it is listed as, may it be."""

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from p2p_client.errors import LocalRefusal, UsageError
from p2p_client.library.disk.files import Location
from p2p_client.library.disk.names import Unlistable, is_of_downloads, listed_name
from p2p_client.library.disk.scan import Identity, Root


def root_of(given: Path, private: frozenset[Identity]) -> Root:
    """The root that this path means. A symlink is resolved, once: what it points to is shared.

    Blocks; for a thread.

    Args:
        private: folders that are never shared.
    Raises:
        LocalRefusal: not there, not readable, neither file nor folder, private, or with a name
            that cannot be listed.
        UsageError: it has no name of its own: the root of the file system.
    """
    try:
        path = given.resolve(strict=True)
        status = _readable(path)
    except (OSError, RuntimeError) as error:
        why = error.strerror if isinstance(error, OSError) else "a symlink that leads to itself"
        raise LocalRefusal(f"cannot share {given}: {why}") from error
    is_folder = stat.S_ISDIR(status.st_mode)
    if not is_folder and not stat.S_ISREG(status.st_mode):
        raise LocalRefusal(f"cannot share {given}: it is neither a file nor a folder")
    if _identity(path if is_folder else path.parent) in private:
        raise LocalRefusal(f"cannot share {given}: it holds this program's own keys and state")
    name = _name(given, path)
    if is_folder:
        return Root(name, Location(path, ""), is_folder=True)
    if is_of_downloads(path.name):
        raise LocalRefusal(f"cannot share {given}: it is an unfinished download")
    return Root(name, Location(path.parent, path.name), is_folder=False)


def identities(folders: Sequence[Path]) -> frozenset[Identity]:
    """Of those that are there. Blocks; for a thread."""
    return frozenset(_identity(folder) for folder in folders if folder.is_dir())


def _name(given: Path, path: Path) -> str:
    """`.` and `x/..` are called what they resolve to."""
    name = path.name if given.name in ("", "..") else given.name
    if not name:
        raise UsageError(
            f"cannot share {given}: it has no name to be listed by; share what is in it"
        )
    try:
        return listed_name(name)
    except Unlistable as error:
        raise LocalRefusal(f"cannot share {given}: it {error}; rename it") from error


def _readable(path: Path) -> os.stat_result:
    status = path.stat()
    if stat.S_ISDIR(status.st_mode):
        os.scandir(path).close()
    elif stat.S_ISREG(status.st_mode):
        os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
    return status


def _identity(folder: Path) -> Identity:
    status = folder.stat()
    return status.st_dev, status.st_ino
