"""Showing the download of a tree: one line of progress for the whole, events in JSON."""

import time
from collections.abc import Sequence
from pathlib import Path

from p2p_client.cli.progress import (
    SECONDS_BETWEEN_EVENTS,
    TransferView,
    failed_line,
    source_record,
)
from p2p_client.cli.render import Output, endpoint_or_none, rfc3339
from p2p_client.cli.sizes import show_rate, show_seconds, show_size
from p2p_client.download.events import Queued, SourceFailed
from p2p_client.download.tree.events import (
    FileFailed,
    TreeEvent,
    TreeFinished,
    TreeProgress,
    TreeStarted,
)
from p2p_client.download.tree.plan import Tree, TreeFile
from p2p_client.errors import TransferFailed

MOST_NAMED = 10


def tree_record(event: TreeEvent) -> dict[str, object]:
    """A tree's event as `get --json` prints it."""
    match event:
        case TreeStarted():
            return {
                "event": "started",
                "path": str(event.path),
                "files": event.files,
                "size_bytes": event.size_bytes,
                "resumed_files": event.resumed_files,
                "resumed_bytes": event.resumed_bytes,
                "sources": list(event.sources),
            }
        case TreeProgress():
            return {
                "event": "progress",
                "verified_bytes": event.verified_bytes,
                "fetched_bytes": event.fetched_bytes,
                "size_bytes": event.size_bytes,
                "files_done": event.files_done,
                "files": event.files,
            }
        case SourceFailed() | Queued():
            return source_record(event)
        case FileFailed():
            return _failed_record(event)
        case TreeFinished():
            return {
                "event": "finished",
                "path": str(event.path),
                "files": event.files,
                "failed_files": event.failed_files,
                "size_bytes": event.size_bytes,
                "fetched_bytes": event.fetched_bytes,
                "resumed_bytes": event.resumed_bytes,
                "seconds": round(event.seconds, 3),
                "sources": list(event.sources),
            }


def _failed_record(event: FileFailed) -> dict[str, object]:
    return {
        "event": "file_failed",
        "path": str(event.path),
        "digest": f"b3:{event.digest}",
        "size_bytes": event.size_bytes,
        "reason": event.reason,
        "message": event.message,
    }


def file_record(tree: Tree, file: TreeFile, folder: Path) -> dict[str, object]:
    """A file as `get --dry-run --json` prints it: as `search` does, and where it would stand."""
    return {
        "name": file.path.rpartition("/")[2],
        "path": file.path,
        "size_bytes": file.size_bytes,
        "digest": f"b3:{file.digest_hex}",
        "owner": file.peers[0].user,
        "endpoint": endpoint_or_none(file.peers[0].endpoint),
        "mtime": rfc3339(file.modified_at),
        "media_type": file.media_type,
        "target": str(folder / tree.place(file)),
    }


def tree_line(done: TreeFinished) -> str:
    """What `get` says at its end: where, how much, how fast."""
    count = done.files - done.failed_files
    resumed = f", {show_size(done.resumed_bytes)} were here before" if done.resumed_bytes else ""
    sources = f" from {', '.join(done.sources)}" if done.sources else ""
    return (
        f"{done.path}  {files_of(count)}, {show_size(done.size_bytes)} in "
        f"{show_seconds(done.seconds)} ({show_rate(done.fetched_bytes, done.seconds)}{resumed})"
        f"{sources}"
    )


def failure_of(done: TreeFinished, failed: Sequence[FileFailed]) -> TransferFailed:
    """The error at the end of a tree that lacks files; `failed` are the first of them."""
    named = "; ".join(f"{event.path}: {event.message}" for event in failed)
    more = done.failed_files - len(failed)
    return TransferFailed(
        f"{done.failed_files:,} of {files_of(done.files)} could not be had: {named}"
        f"{f'; and {more:,} more' if more > 0 else ''}; the others are there, run the same "
        "command again for the rest",
        reason="FILES_FAILED",
    )


def files_of(count: int) -> str:
    return f"{count:,} file{'' if count == 1 else 's'}"


class TreeView(TransferView):
    """Shows one `get` of a tree; `show` is called with each event.

    `failed` are the first files that failed.
    """

    def __init__(self, output: Output) -> None:
        super().__init__(output)
        self.started = False
        self.failed: list[FileFailed] = []

    def show(self, event: TreeEvent) -> None:
        if self._output.json:
            self._record(event)
        match event:
            case TreeStarted():
                self.started = True
                if self._bar is not None:
                    name = f"{event.path.name or event.path} ({files_of(event.files)})"
                    self._name = name
                    self._bar.start(name, event.resumed_bytes, event.size_bytes)
            case TreeProgress():
                self._move(event)
            case Queued():
                self._show_queued(event)
            case SourceFailed():
                self.say(failed_line(event))
            case FileFailed():
                if len(self.failed) < MOST_NAMED:
                    self.failed.append(event)
            case TreeFinished() if self._bar is not None:
                self._bar.stop()

    def _record(self, event: TreeEvent) -> None:
        if isinstance(event, TreeProgress):
            now = time.monotonic()
            if now < self._next_event_at and event.files_done < event.files:
                return
            self._next_event_at = now + SECONDS_BETWEEN_EVENTS
        self._output.record(tree_record(event))
