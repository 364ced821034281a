"""Files on their way to their places: hidden names, made durable, then renamed.

A file in a new folder is written under its own name, and the folder is hidden until all that is in
it is durable: one renaming for many files. Elsewhere a file is written under a name of the tree's
own beside its place: there the file system finds room for it as for its neighbours (all in one
folder, ext4 searched for inodes most of the time). One locked file at the ground says that the tree
is being fetched; whoever finds it left by a run that was killed sweeps the folders. Nothing has a
final name before it is on disk for good. Methods block; call them in threads.
"""

import contextlib
import ctypes
import os
import re
import sys
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence

from blake3 import blake3

from p2p_client.download.part.claim import claim
from p2p_client.download.part.disk import FULL
from p2p_client.download.place.names import MOST_NAME_BYTES
from p2p_client.download.place.place import Place, unwritable
from p2p_client.download.tree.disk.ground import Ground
from p2p_client.errors import DiskFull, PeerError, TransferFailed

FEW = 16
"""So many files are synced one by one; for more, the whole of each disk at once is cheaper."""
_SUFFIX = ".p2p-part"
_COPY_BYTES = 1 << 20


class Staging:
    """Close it."""

    def __init__(self, ground: Ground, name: str, tag: str, fd: int) -> None:
        self.ground = ground
        self._name = name
        self._tag = tag
        self._fd = fd
        self._count = 0
        self._syncfs = _syncfs()

    @classmethod
    def open(cls, ground: Ground, target: str, places: Sequence[str]) -> "Staging":
        """
        Raises:
            LocalRefusal: this tree is being fetched into this folder already; or something that is
                not ours is in the way.
            TargetUnwritable, DiskFull: the folder takes nothing.
        """
        name, tag = staging_names(target)
        lock = Place(ground.root / target.partition(":")[2].strip("/"), ground.fd, overwrite=False)
        was_there = lock.stat(name) is not None
        try:
            staging = cls(ground, name, tag, claim(lock, name))
        except OSError as error:
            raise disk_error(ground, error) from None
        if was_there:
            staging._sweep(places)
        return staging

    def write(self, data: bytes, place: str) -> str:
        """Writes a file with these bytes; answers its name: that of its place in a folder that is
        new and hidden, else a hidden one beside its place. Raises OSError."""
        name, fd = self.ground.create_new(place, self._spare)
        try:
            written = os.write(fd, data) if data else 0
            while written < len(data):
                written += os.write(fd, data[written:])
        except OSError:
            self.discard(name, place)
            raise
        finally:
            os.close(fd)
        return name

    def copy(self, origin: str, place: str, digest: bytes, stop: threading.Event) -> str | None:
        """A copy of what stands at one place, beside another; None: it has another digest, or the
        copying was stopped.

        Raises OSError.
        """
        hasher = blake3()
        with contextlib.ExitStack() as stack:
            source = self.ground.open_file(origin)
            stack.callback(os.close, source)
            name, target = self.ground.create(place, self._spare)
            stack.callback(os.close, target)
            try:
                while not stop.is_set() and (data := os.read(source, _COPY_BYTES)):
                    hasher.update(data)
                    while data:
                        data = data[os.write(target, data) :]
            except OSError:
                self.discard(name, place)
                raise
        if hasher.digest() == digest and not stop.is_set():
            return name
        self.discard(name, place)
        return None

    def sync(self, written: Sequence[tuple[str, str]]) -> None:
        """Makes files durable, each known by its name and its place. Raises OSError."""
        if self._syncfs is not None and len(written) > FEW:
            folders = {place.rpartition("/")[0] for _, place in written}
            with self.ground.settling(folders):
                self._sync_disks(self.ground.disks_of(folders), self._syncfs)
            return
        for name, place in written:
            fd = self.ground.open_beside(name, place)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)

    def flush(self, places: Iterable[str]) -> None:
        """Brings the disks of these places up to date, where that can be done at once. Raises
        OSError."""
        if self._syncfs is not None:
            folders = {place.rpartition("/")[0] for place in places}
            self._sync_disks(self.ground.disks_of(folders), self._syncfs)

    def _sync_disks(self, disks: Sequence[int], syncfs: Callable[[int], int]) -> None:
        try:
            for fd in disks:
                if syncfs(fd):
                    code = ctypes.get_errno()
                    raise OSError(code, os.strerror(code))
        finally:
            for fd in disks:
                os.close(fd)

    def publish(
        self, written: Sequence[tuple[str, str]], folders: Sequence[str]
    ) -> list[OSError | None]:
        """Gives synced files their places: first the new folders their names, with the files that
        are in them, then those under hidden names. Answers why one could not have its place, which
        is then removed.

        Args:
            folders: what `Ground.close_new` said after these were written.
        """
        missed: dict[str, OSError] = {}
        for folder in folders:
            try:
                missed |= self.ground.reveal(folder)
            except OSError as error:
                missed[folder] = error
        return [self._publish(name, place, missed) for name, place in written]

    def _publish(self, name: str, place: str, missed: dict[str, OSError]) -> OSError | None:
        if name == place.rpartition("/")[2]:  # it came with its folder
            return _miss(place, missed) if missed else None
        try:
            self.ground.put(name, place)
        except OSError as error:
            self.discard(name, place)
            return error
        return None

    def drop(self, written: Sequence[tuple[str, str]], folders: Sequence[str]) -> None:
        """Removes what could not be made durable, and new folders that have nothing else."""
        for name, place in written:
            self.discard(name, place)
        for folder in folders:
            with contextlib.suppress(OSError):
                self.ground.give_up(folder)

    def discard(self, name: str, place: str) -> None:
        with contextlib.suppress(OSError):
            self.ground.remove_beside(name, place)

    def tells_case(self) -> bool:
        """Whether the disk tells names apart that differ in case only."""
        try:
            twin = os.stat(self._name.swapcase(), dir_fd=self.ground.fd, follow_symlinks=False)
        except OSError:
            return True
        held = os.fstat(self._fd)
        return (twin.st_dev, twin.st_ino) != (held.st_dev, held.st_ino)

    def close(self) -> None:
        """Unlocks the tree; again does nothing."""
        if self._fd >= 0:
            with contextlib.suppress(OSError):
                os.unlink(self._name, dir_fd=self.ground.fd)
            os.close(self._fd)
            self._fd = -1

    def _spare(self) -> str:
        self._count += 1
        return f".{self._count}{self._tag}"

    def _sweep(self, places: Iterable[str]) -> None:
        """Removes what a run that was killed had written and not named."""
        folders = {""}
        for place in places:
            folder = place.rpartition("/")[0]
            while folder not in folders:
                folders.add(folder)
                folder = folder.rpartition("/")[0]
        ours = re.compile(r"\.[0-9]+" + re.escape(self._tag)).fullmatch
        for folder in folders:
            with contextlib.suppress(OSError):
                self.ground.sweep(folder, ours)


def _miss(place: str, missed: Mapping[str, OSError]) -> OSError | None:
    """Why a place, or a folder that it is in, could not be had."""
    while place:
        if place in missed:
            return missed[place]
        place = place.rpartition("/")[0]
    return None


def staging_names(target: str) -> tuple[str, str]:
    """The name of the locked file for this tree, and what its temporary names end with; the same
    in every run."""
    tag = f".{blake3(target.encode(errors='replace')).hexdigest()[:8]}{_SUFFIX}"
    stem = target.partition(":")[2].strip("/").replace("/", "-")
    room = MOST_NAME_BYTES - len(tag) - 1
    return f".{stem.encode()[:room].decode(errors='ignore')}{tag}", tag


def disk_error(ground: Ground, error: OSError) -> PeerError:
    """What a failed operation below the ground means for the whole tree."""
    if error.errno in FULL:
        return DiskFull(
            f"no room in {ground.root} ({os.strerror(error.errno)}): make room and run the same "
            "command again, what is there stays"
        )
    if isinstance(error, PermissionError | FileNotFoundError | NotADirectoryError):
        return unwritable(ground.root, error)
    why = os.strerror(error.errno) if error.errno else str(error)
    return TransferFailed(f"the disk under {ground.root} fails: {why}")


def _syncfs() -> "ctypes._NamedFuncPointer | None":
    if not sys.platform.startswith("linux"):
        return None
    return getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
