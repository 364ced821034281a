"""Writing past the page cache (O_DIRECT), where the file system is known to do that well.

A download is made durable before it gets its name, so the cache would only delay what the disk must
do anyway, and cost a copy and as much memory as the file is long. What is not aligned, and whatever
the system refuses, goes the usual way: `write` says False, and nothing is lost by asking.
"""

import contextlib
import ctypes
import os
import sys
from collections.abc import Sequence

from p2p_client.net.stream.blocks import ALIGNMENT, is_aligned

_EXT4, _XFS = 0xEF53, 0x58465342  # linux/magic.h; ext2 and ext3 have ext4's
_STATFS_BYTES = 256  # more than any struct statfs


class DirectWrites:
    """A second way into an open file. Close it before that one."""

    def __init__(self, fd: int) -> None:
        self._fd = -1
        if sys.platform.startswith("linux") and _file_system_of(fd) in (_EXT4, _XFS):
            # By descriptor, not by name: the file may have got another one meanwhile.
            with contextlib.suppress(OSError):
                self._fd = os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_DIRECT | os.O_CLOEXEC)

    def write(self, offset: int, views: Sequence[memoryview]) -> bool:
        """Whether it was written so; where not, the usual way tells why or does it."""
        if self._fd < 0 or len(views) != 1 or offset % ALIGNMENT or not is_aligned(views[0]):
            return False
        try:
            return os.pwrite(self._fd, views[0], offset) == len(views[0])
        except OSError:
            return False

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _file_system_of(fd: int) -> int:
    """The kind of file system, as in linux/magic.h; 0: not known."""
    found = ctypes.create_string_buffer(_STATFS_BYTES)
    call = getattr(ctypes.CDLL(None), "fstatfs", None)
    if call is None or call(fd, found):
        return 0
    kind: int = ctypes.cast(found, ctypes.POINTER(ctypes.c_long))[0]
    return kind
