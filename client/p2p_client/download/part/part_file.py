"""An unfinished download on disk: the part file, locked, and its journal beside it.

`.<name>.<8 hex of the digest>.p2p-part` and `.p2p-journal` next to the target. Ours alone: made
exclusively and private, or taken over from an earlier run only when it is a plain file of ours with
no other name. Methods block; call them in threads. It does not know about sources or hashes.
"""

import contextlib
import ctypes
import errno
import fcntl
import os
import stat
import sys
import threading
from collections.abc import Sequence

from p2p_client.content.piece_map import PieceMap
from p2p_client.download.part.journal import Journal, JournalFile
from p2p_client.download.place import MOST_NAME_BYTES, Place, file_mode, unwritable
from p2p_client.errors import DiskFull, LocalRefusal, PeerError, TargetUnwritable, TransferFailed
from p2p_client.models import Digest, ManifestDigest

_PART_SUFFIX = ".p2p-part"
_JOURNAL_SUFFIX = ".p2p-journal"
_LONGEST_SUFFIX = _JOURNAL_SUFFIX + ".new"
_MOST_ATTEMPTS = 8
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_CANNOT_ALLOCATE = frozenset({errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.ENODEV})


def part_names(target_name: str, digest: Digest) -> tuple[str, str]:
    """The bare names of part file and journal, the target's own name shortened where it must be."""
    tag = f".{digest[:8]}"
    room = MOST_NAME_BYTES - len(f".{tag}{_LONGEST_SUFFIX}")
    encoded = os.fsencode(target_name)
    stem = target_name if len(encoded) <= room else encoded[:room].decode(errors="ignore")
    return f".{stem}{tag}{_PART_SUFFIX}", f".{stem}{tag}{_JOURNAL_SUFFIX}"


class PartFile:
    """The part file of one download, held and locked. Close it, or publish it."""

    def __init__(
        self, place: Place, digest: Digest, name: str, journal: JournalFile, fd: int
    ) -> None:
        self.place = place
        self.name = name
        self._digest = digest
        self._journal = journal
        self._fd = fd
        self._keeping = threading.Lock()

    @classmethod
    def open(cls, place: Place, digest: Digest) -> "PartFile":
        """Makes the part file, or takes over the one of an earlier run.

        Raises:
            LocalRefusal: the same download runs already, here or in another process.
            TargetUnwritable, DiskFull: the folder takes no file.
        """
        name, journal_name = part_names(place.name, digest)
        try:
            fd = _open_ours(place, name)
        except OSError as error:
            raise disk_error(place, error) from None
        return cls(place, digest, name, JournalFile(place, journal_name), fd)

    def load(self) -> Journal | None:
        """The journal, if it was kept for this very file and digest and the file is long enough."""
        journal, found = self._journal.load(), os.fstat(self._fd)
        if journal is None or journal.digest != self._digest:
            return None
        fits = (journal.device, journal.inode) == (found.st_dev, found.st_ino)
        return journal if fits and found.st_size >= journal.size_bytes else None

    @property
    def is_empty(self) -> bool:
        return os.fstat(self._fd).st_size == 0

    @property
    def is_closed(self) -> bool:
        return self._fd < 0

    def allocate(self, size_bytes: int) -> None:
        """Makes the file at least this long, with the room reserved where that can be done.

        Raises DiskFull, saying how much is missing, with the file's content as it was.
        """
        held = os.fstat(self._fd)
        try:
            missing = size_bytes - held.st_blocks * 512 - _available_bytes(self._fd)
            if missing > 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if size_bytes > held.st_size and not _fallocate(self._fd, size_bytes):
                os.ftruncate(self._fd, size_bytes)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, held.st_size)
            if error.errno not in _FULL:
                raise disk_error(self.place, error) from None
            missing = size_bytes - held.st_blocks * 512 - _available_bytes(self._fd)
            raise disk_full(self.place, error, missing) from None

    def write(self, offset: int, buffers: Sequence[bytes | memoryview]) -> None:
        """Writes all buffers one after another at the offset. Raises DiskFull, TransferFailed."""
        views = [memoryview(buffer) for buffer in buffers if len(buffer)]
        try:
            while views:
                written = os.pwritev(self._fd, views, offset)
                offset += written
                while views and written >= len(views[0]):
                    written -= len(views.pop(0))
                if written:
                    views[0] = views[0][written:]
        except OSError as error:
            raise disk_error(self.place, error) from None

    def read_into(self, offset: int, buffer: memoryview) -> int:
        """Fills the buffer; fewer bytes only at the end of the file. Raises TransferFailed."""
        filled = 0
        try:
            while filled < len(buffer):
                count = os.preadv(self._fd, [buffer[filled:]], offset + filled)
                if not count:
                    break
                filled += count
        except OSError as error:
            raise disk_error(self.place, error) from None
        return filled

    def next_data(self, offset: int) -> int | None:
        """Where data next stands at or after the offset, holes skipped; None: nowhere."""
        try:
            return os.lseek(self._fd, offset, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return None
            return offset  # cannot tell holes from data

    def keep(self, manifest_digest: ManifestDigest, size_bytes: int, held: PieceMap) -> None:
        """Makes what is held durable, data first and then the journal.

        A journal that finds no room stays as it was, for the data may well fit: what it does not
        tell is found again by reading. `held` is not shared with anybody who changes it meanwhile.
        Raises DiskFull, TransferFailed.
        """
        with self._keeping:
            if self.is_closed:
                return  # published while this waited for its turn
            try:
                os.fdatasync(self._fd)
            except OSError as error:
                raise disk_error(self.place, error) from None
            found = os.fstat(self._fd)
            journal = Journal(
                self._digest,
                manifest_digest,
                size_bytes,
                found.st_dev,
                found.st_ino,
                held.to_bytes(),
            )
            try:
                self._journal.save(journal)
            except OSError as error:
                if error.errno not in _FULL:
                    raise disk_error(self.place, error) from None

    def trim(self, end: int) -> None:
        """Gives back the room after `end`, where nothing is verified."""
        with contextlib.suppress(OSError):
            if os.fstat(self._fd).st_size > end:
                os.ftruncate(self._fd, end)

    def publish(self, size_bytes: int) -> None:
        """The whole file, durable, under the target's name; nothing else is left. Closes it.

        Raises what Place.publish raises, and DiskFull or TransferFailed; the part is kept then.
        """
        with self._keeping:
            try:
                os.ftruncate(self._fd, size_bytes)
                os.fchmod(self._fd, file_mode())
                os.utime(self._fd)
                os.fsync(self._fd)
            except OSError as error:
                raise disk_error(self.place, error) from None
            self.place.publish(self.name, self._fd)
            self.forget()
            self.close()

    def forget(self) -> None:
        """The journal is not to be believed; the data stays."""
        with contextlib.suppress(OSError):
            self._journal.remove()

    def discard(self) -> None:
        """Nothing in it is worth keeping: removes it and its journal, and closes it."""
        self.forget()
        with contextlib.suppress(OSError, PeerError):
            if self.place.is_named(self.name, self._fd):
                self.place.unlink(self.name)
        self.close()

    def close(self) -> None:
        """Unlocks and closes it; again does nothing."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def disk_full(place: Place, error: OSError, missing_bytes: int | None = None) -> DiskFull:
    if error.errno == errno.EFBIG:
        return DiskFull(f"{place.path} would be larger than its file system or a limit allows")
    what = "no room" if error.errno == errno.ENOSPC else "the disk quota is used up"
    more = f", {missing_bytes:,} bytes are missing" if missing_bytes and missing_bytes > 0 else ""
    return DiskFull(
        f"{what} for {place.path}{more}: make room and run the same command again, "
        "what was verified is kept"
    )


def disk_error(place: Place, error: OSError) -> PeerError:
    """What a failed operation on the part file or its journal means to the user."""
    if error.errno in _FULL:
        return disk_full(place, error)
    if error.errno == errno.EIO:
        return TransferFailed(f"the disk under {place.path} fails: {os.strerror(errno.EIO)}")
    return unwritable(place.path, error)


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


def _open_ours(place: Place, name: str) -> int:
    """Raises OSError, LocalRefusal."""
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


def _available_bytes(fd: int) -> int:
    found = os.fstatvfs(fd)
    return found.f_bavail * found.f_frsize


def _fallocate(fd: int, size_bytes: int) -> bool:
    """Whether room was reserved. Not posix_fallocate: where the file system cannot reserve, that
    writes a byte into every block, for hours on a large file over a network. Raises OSError."""
    if not sys.platform.startswith("linux"):
        return False
    call = getattr(ctypes.CDLL(None, use_errno=True), "fallocate64", None)
    if call is None:
        return False
    while call(fd, 0, ctypes.c_int64(0), ctypes.c_int64(size_bytes)):
        code = ctypes.get_errno()
        if code in _CANNOT_ALLOCATE:
            return False
        if code != errno.EINTR:
            raise OSError(code, os.strerror(code))
    return True
