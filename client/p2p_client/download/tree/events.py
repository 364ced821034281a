"""What the download of a tree tells while it runs, beside `SourceFailed` and `Queued`."""

from pathlib import Path

from p2p_client.download.events import Queued, SourceFailed
from p2p_client.models import Digest
from p2p_client.records import dataclass


@dataclass(frozen=True, slots=True)
class TreeStarted:
    """The places are free, and bytes are about to flow.

    `path` is the folder that all of it comes to lie in; `resumed_…` is what stands there already,
    seen to be right; `sources` are the user names of those that are asked.
    """

    path: Path
    files: int
    size_bytes: int
    resumed_files: int
    resumed_bytes: int
    sources: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TreeProgress:
    """How far it is; a few times a second. `files_done` stand under their names.

    Bytes are meant as in `Progress`; where several files have one content, each counts.
    """

    verified_bytes: int
    fetched_bytes: int
    size_bytes: int
    files_done: int
    files: int


@dataclass(frozen=True, slots=True)
class FileFailed:
    """One file could not be had, or not be stored; the others go on."""

    path: Path
    digest: Digest
    size_bytes: int
    reason: str  # UPPER_SNAKE
    message: str


@dataclass(frozen=True, slots=True)
class TreeFinished:
    """All that could be had stands under its names, complete, verified and on disk.

    `files` and `size_bytes` are of the whole tree, `failed_files` of these could not be had.
    `sources` are the user names of those that gave, the most generous first.
    """

    path: Path
    files: int
    failed_files: int
    size_bytes: int
    fetched_bytes: int
    resumed_bytes: int
    seconds: float
    sources: tuple[str, ...]


TreeEvent = TreeStarted | TreeProgress | Queued | SourceFailed | FileFailed | TreeFinished
