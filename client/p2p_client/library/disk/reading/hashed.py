"""The bytes of a file that was hashed, for as long as it is what it was then.

Nothing is mapped: a mapped file that is truncated kills the process.
"""

import contextlib
import errno
import os
import threading
from collections.abc import Iterator

from p2p_client.library.disk.files import Location, NotAFile, Signature, open_file, signature_of
from p2p_client.library.disk.reading.fresh import new_bytes
from p2p_client.library.errors import ContentChanged, ContentUnreadable

_WITHOUT_WAITING: int = getattr(os, "RWF_NOWAIT", 0)  # Linux


class HashedFile:
    """An open file that had one signature when it was hashed; gives bytes only while it has it.

    All but `close` and `read_cached` wait for the disk: call them from a thread. All but `close`
    raise ContentChanged, ContentUnreadable.
    """

    def __init__(self, location: Location, signature: Signature) -> None:
        self._location = location
        self._signature = signature
        with told_apart():
            self._keep(open_file(location))
        try:
            self._check(self._descriptor)
        except BaseException:
            os.close(self._descriptor)
            raise

    def _keep(self, descriptor: int) -> None:
        self._guard = threading.Lock()
        self._readers = 0
        self._is_closed = False
        self._descriptor = descriptor

    @property
    def size_bytes(self) -> int:
        return self._signature.size_bytes

    def read(self, offset: int, length: int, head: bytes = b"") -> bytes:
        """Exactly these bytes, which lie within the size, behind `head`. Checked after they were
        read: what is returned was read from a file that had not changed until then."""
        self._allow(offset, offset + length)
        found, room = new_bytes(head, length)
        with self._borrowed() as descriptor:
            while room:
                with told_apart():
                    count = os.preadv(descriptor, [room], offset)
                if not count:
                    raise ContentChanged("the file got shorter")
                offset += count
                room = room[count:]
            self._check(descriptor)
        return found

    def read_cached(self, offset: int, length: int, head: bytes = b"") -> bytes | None:
        """As `read`, where the system has all of it in memory; else None, at once."""
        self._allow(offset, offset + length)
        if not _WITHOUT_WAITING:
            return None
        found, room = new_bytes(head, length)
        with self._borrowed() as descriptor:
            try:
                count = os.preadv(descriptor, [room], offset, _WITHOUT_WAITING)
            except OSError:  # not there, or not to be had in this way: the usual one tells
                return None
            if count < length:
                return None
            self._check(descriptor)
        return found

    def check(self) -> None:
        """That the file is unchanged and still the one to be found under its path."""
        with self._borrowed() as descriptor:
            self._check(descriptor)
        with told_apart():
            found = signature_of(self._location)
        if found != self._signature:
            raise ContentChanged("another file took its place")

    def close(self) -> None:
        """Safe to call twice, and while a thread reads: the descriptor goes with that reader."""
        with self._guard:
            was_closed, self._is_closed = self._is_closed, True
            if not was_closed and self._readers == 0:
                os.close(self._descriptor)

    @contextlib.contextmanager
    def _borrowed(self) -> Iterator[int]:
        with self._guard:
            if self._is_closed:
                raise ContentUnreadable("the file was closed")
            self._readers += 1
        try:
            yield self._descriptor
        finally:
            self._give_back()

    def _give_back(self) -> None:
        with self._guard:
            self._readers -= 1
            if self._is_closed and self._readers == 0:
                os.close(self._descriptor)

    def _allow(self, offset: int, end: int) -> None:
        """Raises a ContentError when the bytes [offset, end) are not to be read."""

    def _check(self, descriptor: int) -> None:
        with told_apart():
            found = Signature.of(os.fstat(descriptor))
        if found != self._signature:
            raise ContentChanged("the file was changed since it was hashed")


@contextlib.contextmanager
def told_apart() -> Iterator[None]:
    """Turns what the disk says into: gone for good (ContentChanged), or trouble that may pass."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError, NotAFile) as error:
        raise ContentChanged("the file is gone") from error
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ESTALE):
            raise ContentChanged("the file is gone") from error
        raise ContentUnreadable(f"the disk does not give the file: {error.strerror}") from error
