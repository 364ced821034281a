"""Renaming that never replaces anything, with whatever the system has for it."""

import contextlib
import ctypes
import errno
import functools
import os
import sys
from ctypes import c_char_p, c_int, c_uint

_RENAME_NOREPLACE = 1


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
        try:
            os.rename(old, new, src_dir_fd=folder_fd, dst_dir_fd=to_fd)
        except OSError as error:
            if error.errno == errno.ENOTEMPTY:  # a folder appeared meanwhile
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from None
            raise
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
