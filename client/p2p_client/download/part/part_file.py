"""An unfinished download on disk: the part file, locked, and its journal beside it.

`.<name>.<8 hex of the digest>.p2p-part` and `.p2p-journal` next to the target, private. Methods
block; call them in threads. It does not know about sources or hashes.
"""

import contextlib
import errno
import os
import threading
from collections.abc import Sequence

from p2p_client.content.piece_map import PieceMap
from p2p_client.download.part.claim import claim, part_names
from p2p_client.download.part.direct import DirectWrites
from p2p_client.download.part.disk import FULL, available_bytes, disk_error, disk_full, fallocate
from p2p_client.download.part.journal import Journal, JournalFile
from p2p_client.download.place.place import Place, file_mode
from p2p_client.errors import LocalRefusal, PeerError
from p2p_client.models import Digest, ManifestDigest


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
        self._direct = DirectWrites(fd)
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
            fd = claim(place, name)
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
            missing = size_bytes - held.st_blocks * 512 - available_bytes(self._fd)
            if missing > 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if size_bytes > held.st_size and not fallocate(self._fd, size_bytes):
                os.ftruncate(self._fd, size_bytes)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, held.st_size)
            if error.errno not in FULL:
                raise disk_error(self.place, error) from None
            missing = size_bytes - held.st_blocks * 512 - available_bytes(self._fd)
            raise disk_full(self.place, error, missing) from None

    def write(
        self, offset: int, buffers: Sequence[memoryview], *, bypass_cache: bool = False
    ) -> None:
        """Writes all buffers one after another at the offset. Raises DiskFull, TransferFailed.

        Args:
            bypass_cache: nobody is about to read it; so write it past the page cache if that can
                be done. It saves a copy, and memory that the system would have to find.
        """
        views = [view for view in buffers if len(view)]
        try:
            if bypass_cache and self._direct.write(offset, views):
                return
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

    def open_reader(self) -> int:
        """Another descriptor of this very file, for reading, without its lock; the caller closes
        it. Raises LocalRefusal, TransferFailed."""
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            fd = os.open(self.name, flags, dir_fd=self.place.folder_fd)
        except OSError as error:
            raise disk_error(self.place, error) from None
        held, found = os.fstat(self._fd), os.fstat(fd)
        if (held.st_dev, held.st_ino) != (found.st_dev, found.st_ino):
            os.close(fd)
            raise LocalRefusal(f"{self.name} was replaced beside {self.place.path} by somebody")
        return fd

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
                if error.errno not in FULL:
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
            self._direct.close()
            os.close(self._fd)
            self._fd = -1
