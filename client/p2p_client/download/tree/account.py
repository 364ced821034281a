"""What the download of a tree has to tell: how much stands, what failed, who gave."""

import errno
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from p2p_client.download.events import Event, Queued, SourceFailed
from p2p_client.download.tally import Tally
from p2p_client.download.tree.events import FileFailed, TreeEvent, TreeProgress
from p2p_client.download.tree.plan import TreeFile

PROGRESS_SECONDS = 0.2


class Account:
    """Counts, and tells `on_event` at a bearable pace. Files are known by their index."""

    def __init__(
        self,
        files: Sequence[TreeFile],
        places: Sequence[str],
        root: Path,
        on_event: Callable[[TreeEvent], None],
    ) -> None:
        self.tally = Tally(self._tell_of_source)
        self.verified_bytes = 0
        self.files_done = 0
        self.size_bytes = sum(file.size_bytes for file in files)
        self._files = files
        self._places = places
        self._root = root
        self._on_event = on_event
        self._failed: set[int] = set()
        self._told_at: float | None = None

    @property
    def failed_count(self) -> int:
        return len(self._failed)

    def named(self, _: int) -> None:
        """The file stands under its name."""
        self.files_done += 1

    def failed(self, file: int, reason: str, message: str) -> None:
        if file in self._failed:
            return
        self._failed.add(file)
        row = self._files[file]
        path = self._root / self._places[file]
        self._on_event(FileFailed(path, row.digest_hex, row.size_bytes, reason, message))

    def unstorable(self, file: int, error: OSError) -> None:
        """The disk would not have a file under its name."""
        self.verified_bytes -= self._files[file].size_bytes
        if isinstance(error, FileExistsError):
            self.failed(file, "TARGET_EXISTS", "something appeared there meanwhile, left alone")
        elif isinstance(error, IsADirectoryError):
            self.failed(file, "TARGET_IS_FOLDER", "a folder is there")
        elif error.errno in (errno.EINVAL, errno.EILSEQ, errno.ENAMETOOLONG):
            self.failed(file, "NAME_UNSTORABLE", "this disk cannot store such a name")
        else:
            why = os.strerror(error.errno) if error.errno else str(error)
            self.failed(file, "TARGET_UNWRITABLE", f"cannot be written: {why}")

    def waits(self, event: Queued) -> None:
        """One of the downloads waits for a source."""
        self._on_event(event)

    def _tell_of_source(self, event: Event) -> None:
        if isinstance(event, SourceFailed | Queued):
            self._on_event(event)

    def progress(self, now: float, *, last: bool = False) -> None:
        if last or self._told_at is None or now - self._told_at >= PROGRESS_SECONDS:
            self._told_at = now
            self._on_event(
                TreeProgress(
                    self.verified_bytes,
                    self.tally.fetched_bytes,
                    self.size_bytes,
                    self.files_done,
                    len(self._files),
                )
            )
