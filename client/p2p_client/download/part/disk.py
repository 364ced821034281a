"""What a disk grants and refuses, in the user's words."""

import ctypes
import errno
import os
import sys

from p2p_client.download.place.place import Place, unwritable
from p2p_client.errors import DiskFull, PeerError, TransferFailed

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_CANNOT_ALLOCATE = frozenset({errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.ENODEV})


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
    if error.errno in FULL:
        return disk_full(place, error)
    if error.errno == errno.EIO:
        return TransferFailed(f"the disk under {place.path} fails: {os.strerror(errno.EIO)}")
    return unwritable(place.path, error)


def available_bytes(fd: int) -> int:
    found = os.fstatvfs(fd)
    return found.f_bavail * found.f_frsize


def fallocate(fd: int, size_bytes: int) -> bool:
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
