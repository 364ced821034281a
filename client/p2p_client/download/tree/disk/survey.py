"""What stands at the places of a tree already: nothing, the right file, something else."""

import os
import stat
import threading
from collections.abc import Iterable, Sequence
from dataclasses import field

from blake3 import blake3

from p2p_client.download.tree.disk.ground import Ground
from p2p_client.download.tree.plan import TreeFile
from p2p_client.records import dataclass

_READ_BYTES = 1 << 20


@dataclass(slots=True)
class Survey:
    """Indices among the tree's files; those in none of them have nothing at their place.

    `blocked` are places that no file can have: another thing than a file is there, or something
    else than a folder is on the way.
    """

    right: list[int] = field(default_factory=list)
    other: list[int] = field(default_factory=list)
    blocked: dict[int, str] = field(default_factory=dict)


def survey(
    ground: Ground,
    files: Sequence[TreeFile],
    places: Sequence[str],
    wanted: Iterable[int],
    stop: threading.Event,
) -> Survey:
    """Blocks; for a thread. Files of the right size are hashed. Ends early when told to stop."""
    found, folders = Survey(), _Folders(ground)
    for at in wanted:
        if stop.is_set():
            break
        place = places[at]
        state = folders.state(place.rpartition("/")[0])
        if state is None:
            continue
        if state:
            found.blocked[at] = state
            continue
        try:
            status = ground.stat(place)
            if status is None:
                continue
            if stat.S_ISREG(status.st_mode):
                is_right = status.st_size == files[at].size_bytes and _has_digest(
                    ground, place, files[at].digest, stop
                )
                (found.right if is_right else found.other).append(at)
            elif stat.S_ISLNK(status.st_mode):
                found.other.append(at)
            else:
                what = "a folder" if stat.S_ISDIR(status.st_mode) else "neither a file nor a folder"
                found.blocked[at] = f"{what} is there"
        except OSError as error:
            found.blocked[at] = os.strerror(error.errno or 0)
    return found


class _Folders:
    """Which folders are there: each is looked at once, and none below one that is not."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._states: dict[str, str | None] = {"": ""}

    def state(self, folder: str) -> str | None:
        """Empty: it is there; None: it is not; else why no file can be in it."""
        if folder not in self._states:
            above = self.state(folder.rpartition("/")[0])
            self._states[folder] = self._look(folder) if above == "" else above
        return self._states[folder]

    def _look(self, folder: str) -> str | None:
        try:
            return "" if self._ground.has_folder(folder) else None
        except NotADirectoryError:
            return f"{folder} is there and no folder"
        except OSError as error:
            return f"{folder}: {os.strerror(error.errno or 0)}"


def _has_digest(ground: Ground, place: str, digest: bytes, stop: threading.Event) -> bool:
    hasher = blake3()
    fd = ground.open_file(place)
    try:
        while (data := os.read(fd, _READ_BYTES)) and not stop.is_set():
            hasher.update(data)
    finally:
        os.close(fd)
    return hasher.digest() == digest
