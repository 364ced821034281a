"""Where a download ends up: a name in a folder that is held open, so that nobody swaps it.

Everything on disk happens below the held folder and by bare names; no symlink is ever followed,
and nothing is overwritten unless that was asked for. What is written there before the end is
`part/`'s; which names are harmless, `names.py`'s.
"""

import os
import stat
from pathlib import Path

from p2p_client.download.place.rename import rename_without_clobbering
from p2p_client.errors import LocalRefusal, PeerError, TargetExists, TargetUnwritable
from p2p_client.records import dataclass


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
