"""Coming to hold the part file of a download: ours alone, locked, and nothing that was planted."""

import contextlib
import fcntl
import os
import stat

from p2p_client.download.part.journal import JournalFile
from p2p_client.download.place.names import MOST_NAME_BYTES
from p2p_client.download.place.place import Place
from p2p_client.errors import LocalRefusal, TargetUnwritable
from p2p_client.models import Digest

_PART_SUFFIX = ".p2p-part"
_JOURNAL_SUFFIX = ".p2p-journal"
_LONGEST_SUFFIX = _JOURNAL_SUFFIX + ".new"
_MOST_ATTEMPTS = 8


def part_names(target_name: str, digest: Digest) -> tuple[str, str]:
    """The bare names of part file and journal, the target's own name shortened where it must be."""
    tag = f".{digest[:8]}"
    room = MOST_NAME_BYTES - len(f".{tag}{_LONGEST_SUFFIX}")
    encoded = os.fsencode(target_name)
    stem = target_name if len(encoded) <= room else encoded[:room].decode(errors="ignore")
    return f".{stem}{tag}{_PART_SUFFIX}", f".{stem}{tag}{_JOURNAL_SUFFIX}"


def claim(place: Place, name: str) -> int:
    """Makes the part file, or takes over a plain file of ours with no other name; locked.

    Raises:
        LocalRefusal: the same download runs already, here or in another process; or what stands
            there is another user's, or a folder.
        OSError: the folder takes no file.
    """
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    for _ in range(_MOST_ATTEMPTS):
        try:
            fd = os.open(name, flags | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=place.folder_fd)
        except FileExistsError:
            if not _is_ours(place, name):
                continue
            try:
                fd = os.open(name, flags, dir_fd=place.folder_fd)
            except FileNotFoundError:
                continue
        try:
            _lock(place, fd)
            # Between open and lock another run may have finished, or somebody replaced it.
            if place.is_named(name, fd) and _is_ours(place, name):
                os.fchmod(fd, 0o600)
                return fd
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)
    raise LocalRefusal(
        f"somebody keeps replacing {name} beside {place.path}: choose another folder"
    )


def _is_ours(place: Place, name: str) -> bool:
    """Whether a part file there may be written to. What somebody planted is taken out of the way;
    that harms nothing it points to. Raises LocalRefusal for another user's file or a folder."""
    found = place.stat(name)
    if found is None:
        return False
    if stat.S_ISDIR(found.st_mode):
        raise LocalRefusal(f"a folder named {name} is in the way of {place.path}: remove it")
    if stat.S_ISREG(found.st_mode):
        if found.st_uid != os.geteuid():
            raise LocalRefusal(
                f"{name} beside {place.path} belongs to another user, who may be downloading the "
                "same: choose another folder or name"
            )
        if found.st_nlink == 1:
            return True
    place.unlink(name)
    return False


def _lock(place: Place, fd: int) -> None:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise LocalRefusal(
            f"{place.path} is being downloaded already: wait for that, or choose another name",
            reason="DOWNLOAD_RUNNING",
        ) from None
    except OSError as error:
        raise TargetUnwritable(
            f"files in {place.path.parent} cannot be locked ({os.strerror(error.errno or 0)}): "
            "choose another folder"
        ) from None


def sweep_leftovers(place: Place, digest: Digest) -> None:
    """Removes what a run killed between its last rename and its last unlink left: a journal, or a
    second name, of the very file that now stands under the target's name."""
    target = place.stat(place.name)
    if target is None or not stat.S_ISREG(target.st_mode):
        return
    name, journal_name = part_names(place.name, digest)
    part = place.stat(name)
    if part is not None and (part.st_dev, part.st_ino) != (target.st_dev, target.st_ino):
        return
    journal_file = JournalFile(place, journal_name)
    journal = journal_file.load()
    if journal and (journal.device, journal.inode) == (target.st_dev, target.st_ino):
        with contextlib.suppress(OSError):
            journal_file.remove()
            place.unlink(name)
