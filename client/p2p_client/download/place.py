"""Where a download ends up: a name in a folder that is held open, so that nobody swaps it.

Everything on disk happens below the held folder and by bare names; no symlink is ever followed,
and nothing is overwritten unless that was asked for. What is written there before the end is
`part_file.py`'s.
"""

import contextlib
import ctypes
import errno
import functools
import os
import re
import stat
import sys
import unicodedata
from ctypes import c_char_p, c_int, c_uint
from dataclasses import dataclass
from pathlib import Path

from p2p_client.errors import LocalRefusal, PeerError, TargetExists, TargetUnwritable

MOST_NAME_BYTES = 255
MOST_PATH_BYTES = 1024
MOST_LEVELS = 64
_FORBIDDEN_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_JOINERS = frozenset("\u200c\u200d")  # they spell words and emoji, and are of category Cf
_RENAME_NOREPLACE = 1
_PART = "[A-Za-z0-9_][A-Za-z0-9_. -]{0,63}"
_PLAIN = re.compile(f"(?:{_PART}/){{0,9}}{_PART}")
"""What most names are like, and nothing is wrong with: seen in a tenth of the time."""


def safe_name(name: str) -> str:
    """The name or relative path as it came from the network, once it is seen to be harmless.

    Raises:
        LocalRefusal: it could leave its folder, deceive a reader, or is too long or deep.
    """
    wrong = _what_is_wrong(name)
    if wrong is not None:
        raise LocalRefusal(
            f"the name {name[:80]!a} {wrong}: give a name of your own with -o", reason="NAME_UNSAFE"
        )
    return name


def _what_is_wrong(name: str) -> str | None:
    if _PLAIN.fullmatch(name):
        return None
    if not (name.isascii() and name.isprintable()):  # nearly all names; saves a long walk
        if any(_is_forbidden(character) for character in name):
            return "holds characters that must not be shown"
        if unicodedata.normalize("NFC", name) != name:
            return "is not in Unicode's composed form"
    if len(name.encode()) > MOST_PATH_BYTES:
        return "is too long"
    if name.count("/") >= MOST_LEVELS:
        return "has too many levels"
    framed = f"/{name}/"
    if any(wrong in framed for wrong in ("//", "/./", "/../", "\\")):
        return "is not a plain relative path"
    if any(len(part.encode()) > MOST_NAME_BYTES for part in name.split("/")):
        return "has a part that is too long"
    return None


def _is_forbidden(character: str) -> bool:
    return character not in _JOINERS and unicodedata.category(character) in _FORBIDDEN_CATEGORIES


@dataclass(frozen=True, slots=True)
class Place:
    """A target below a held folder. Close it."""

    path: Path
    folder_fd: int
    overwrite: bool

    @classmethod
    def open(cls, target: Path, *, overwrite: bool) -> "Place":
        """Holds the target's folder; `check` tells whether the target may come to be in it.

        Raises:
            TargetUnwritable: the folder is absent or cannot be used.
            LocalRefusal: the target can only be a folder.
        """
        if target.name in {"", "..", "."}:
            raise _is_a_folder(target)
        try:
            folder_fd = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise TargetUnwritable(
                f"the folder {target.parent} does not exist: make it first"
            ) from None
        except OSError as error:
            raise unwritable(target, error) from None
        return cls(target, folder_fd, overwrite)

    @property
    def name(self) -> str:
        return self.path.name

    def close(self) -> None:
        os.close(self.folder_fd)

    def stat(self, name: str) -> os.stat_result | None:
        """What stands under a bare name in the folder, symlinks not followed; None: nothing."""
        try:
            return os.stat(name, dir_fd=self.folder_fd, follow_symlinks=False)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise unwritable(self.path, error) from None

    def unlink(self, name: str) -> None:
        """Removes a bare name from the folder; none there is well."""
        try:
            os.unlink(name, dir_fd=self.folder_fd)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise unwritable(self.path.with_name(name), error) from None

    def check(self) -> None:
        """Whether the target may come to be, as things stand now.

        Raises:
            TargetExists: something stands there and `overwrite` is False; a symlink counts, even
                one that leads nowhere.
            LocalRefusal: it is a folder, or neither a file nor a symlink.
        """
        found = self.stat(self.name)
        if found is None:
            return
        if stat.S_ISDIR(found.st_mode):
            raise _is_a_folder(self.path)
        if not self.overwrite:
            raise TargetExists(
                f"{self.path} exists: choose another name, or replace it with --overwrite"
            )
        if not (stat.S_ISREG(found.st_mode) or stat.S_ISLNK(found.st_mode)):
            raise LocalRefusal(f"{self.path} is not a file: choose another name")

    def publish(self, name: str, fd: int) -> None:
        """Gives the file `fd`, known in the folder as `name`, the target's name; durable after.

        The caller has fsynced it. Without `overwrite` an existing target is never touched, also
        one that appeared just now.

        Raises:
            TargetExists, LocalRefusal, TargetUnwritable: as `check`; `name` still stands.
        """
        self.check()
        if not self.is_named(name, fd):
            raise LocalRefusal(f"{name} was replaced beside {self.path} by somebody: run it again")
        try:
            if self.overwrite:
                os.replace(name, self.name, src_dir_fd=self.folder_fd, dst_dir_fd=self.folder_fd)
            else:
                rename_without_clobbering(name, self.name, self.folder_fd)
            os.fsync(self.folder_fd)
        except FileExistsError:
            raise TargetExists(
                f"{self.path} appeared meanwhile and is left alone; the download is kept beside "
                "it: move that file away or use --overwrite, and run it again"
            ) from None
        except OSError as error:
            raise unwritable(self.path, error) from None
        if not self.is_named(self.name, fd):
            raise LocalRefusal(f"{self.path} was replaced by somebody just now: check it")

    def is_named(self, name: str, fd: int) -> bool:
        """Whether the name in the folder is that of the open file."""
        found, held = self.stat(name), os.fstat(fd)
        return found is not None and (found.st_dev, found.st_ino) == (held.st_dev, held.st_ino)


def _is_a_folder(path: Path) -> LocalRefusal:
    return LocalRefusal(f"{path} is a folder: name a file in it", reason="TARGET_IS_FOLDER")


def unwritable(path: Path, error: OSError) -> PeerError:
    """The refusal that says why this path cannot be written."""
    why = os.strerror(error.errno) if error.errno else str(error)
    return TargetUnwritable(f"{path} cannot be written: {why}")


def file_mode() -> int:
    """The mode of a file made by an ordinary program of this user: 0666 less the umask."""
    try:
        status = Path("/proc/self/status").read_text()
        umask = next(
            int(line.split()[1], 8) for line in status.splitlines() if line[:6] == "Umask:"
        )
    except (OSError, StopIteration, ValueError):
        # The umask cannot be read without setting it, for the whole process, for a moment.
        umask = os.umask(0o077)
        os.umask(umask)
    return 0o666 & ~umask


def rename_without_clobbering(
    old: str, new: str, folder_fd: int, to_folder_fd: int | None = None
) -> None:
    """Raises FileExistsError when `new` exists; atomic wherever the system allows it."""
    to_fd = folder_fd if to_folder_fd is None else to_folder_fd
    try:
        _renameat2(old, new, folder_fd, to_fd)
    except OSError as error:
        if error.errno not in {errno.ENOSYS, errno.EINVAL, errno.ENOTSUP}:
            raise
    else:
        return
    try:
        os.link(old, new, src_dir_fd=folder_fd, dst_dir_fd=to_fd, follow_symlinks=False)
    except OSError as error:
        if error.errno not in {errno.EPERM, errno.ENOSYS, errno.ENOTSUP, errno.EMLINK}:
            raise
        # A file system with neither (FAT over FUSE): looked at just now, as well as can be.
        with contextlib.suppress(FileNotFoundError):
            os.stat(new, dir_fd=to_fd, follow_symlinks=False)
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from None
        os.rename(old, new, src_dir_fd=folder_fd, dst_dir_fd=to_fd)
    else:
        os.unlink(old, dir_fd=folder_fd)


@functools.cache
def _renameat2_call() -> "ctypes._NamedFuncPointer | None":
    if not sys.platform.startswith("linux"):
        return None
    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if call is not None:
        call.argtypes = (c_int, c_char_p, c_int, c_char_p, c_uint)
    return call


def _renameat2(old: str, new: str, folder_fd: int, to_folder_fd: int) -> None:
    call = _renameat2_call()
    if call is None:
        raise OSError(errno.ENOSYS, "no renameat2")
    encoded = os.fsencode(old), os.fsencode(new)
    if call(folder_fd, encoded[0], to_folder_fd, encoded[1], _RENAME_NOREPLACE):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
