"""Showing a download or a share while it goes on: a bar, events in JSON, or nothing.

Watches events; decides nothing. What is drawn goes to stderr, what programs read to stdout.
"""

import sys
import time
from collections import deque
from typing import TYPE_CHECKING, Self

from p2p_client.cli.render import PROGRAM, Output, endpoint_or_none, printable, takes_escapes
from p2p_client.cli.sizes import show_rate, show_seconds, show_size
from p2p_client.download.events import Event, Finished, Progress, Queued, SourceFailed, Started
from p2p_client.library.events import HashProgress, LibraryEvent

if TYPE_CHECKING:
    from rich.progress import Progress as Bars

    from p2p_client.download.tree.events import TreeProgress

SECONDS_BETWEEN_EVENTS = 0.2
RATE_WINDOW_SECONDS = 5.0
MOST_SOURCES_NAMED = 3


def download_record(event: Event) -> dict[str, object]:
    """A download's event as `get --json` prints it."""
    match event:
        case Started():
            return {
                "event": "started",
                "path": str(event.path),
                "digest": f"b3:{event.digest}",
                "size_bytes": event.size_bytes,
                "resumed_bytes": event.resumed_bytes,
                "sources": list(event.sources),
            }
        case Progress():
            return {
                "event": "progress",
                "verified_bytes": event.verified_bytes,
                "fetched_bytes": event.fetched_bytes,
                "size_bytes": event.size_bytes,
            }
        case Queued() | SourceFailed():
            return source_record(event)
        case Finished():
            return {
                "event": "finished",
                "path": str(event.path),
                "digest": f"b3:{event.digest}",
                "size_bytes": event.size_bytes,
                "fetched_bytes": event.fetched_bytes,
                "resumed_bytes": event.resumed_bytes,
                "seconds": round(event.seconds, 3),
                "sources": list(event.sources),
            }


def source_record(event: Queued | SourceFailed) -> dict[str, object]:
    """What is told of one source, as `get --json` prints it."""
    match event:
        case Queued():
            wait = event.expected_wait_seconds
            return {
                "event": "queued",
                "user": event.user,
                "position": event.position,
                "waiting_count": event.waiting_count,
                "expected_wait_seconds": None if wait is None else round(wait, 1),
            }
        case SourceFailed():
            return {
                "event": "source_failed",
                "user": event.user,
                "peer_id": event.peer_id,
                "endpoint": endpoint_or_none(event.endpoint),
                "reason": event.reason,
                "message": event.message,
            }


def finished_line(done: Finished) -> str:
    """What `get` says at its end: where, how much, how fast, and what it is."""
    resumed = f", {show_size(done.resumed_bytes)} were here before" if done.resumed_bytes else ""
    sources = f" from {', '.join(done.sources)}" if done.sources else ""
    return (
        f"{done.path}  {show_size(done.size_bytes)} in {show_seconds(done.seconds)} "
        f"({show_rate(done.fetched_bytes, done.seconds)}{resumed}){sources}  b3:{done.digest}"
    )


def failed_line(failed: SourceFailed) -> str:
    at = f" ({failed.address})" if failed.address else ""
    return f"source {failed.user}{at} dropped out: {failed.message}"


def queued_line(queued: Queued) -> str:
    """`waiting in bob's queue: 3 of 7`, and how long where that is known."""
    about = ""
    if queued.expected_wait_seconds is not None:
        seconds = max(1, round(queued.expected_wait_seconds))
        about = f", about {f'{seconds} s' if seconds < 60 else show_seconds(seconds)}"
    place = f"{queued.position + 1} of {queued.waiting_count}"
    return f"waiting in {queued.user}'s queue: {place}{about}"


def _named(sources: tuple[str, ...]) -> str:
    return ", ".join(sources) if len(sources) <= MOST_SOURCES_NAMED else f"{len(sources)} users"


class RateMeter:
    """Bytes a second over the last few seconds. Counts that fall start it anew."""

    def __init__(self, window_seconds: float = RATE_WINDOW_SECONDS) -> None:
        self._window_seconds = window_seconds
        self._samples: deque[tuple[float, int]] = deque()

    def add(self, now: float, total_bytes: int) -> None:
        if self._samples and total_bytes < self._samples[-1][1]:
            self._samples.clear()
        self._samples.append((now, total_bytes))
        while len(self._samples) > 2 and self._samples[1][0] <= now - self._window_seconds:
            self._samples.popleft()

    @property
    def bytes_per_second(self) -> float:
        """0 as long as nothing can be said."""
        if len(self._samples) < 2:
            return 0.0
        (began, first), (ended, last) = self._samples[0], self._samples[-1]
        return (last - first) / (ended - began) if ended > began else 0.0

    def seconds_left(self, missing_bytes: int) -> float | None:
        rate = self.bytes_per_second
        return missing_bytes / rate if rate > 0 else None


class TransferView:
    """What the views of one content and of a tree have in common: a bar on a terminal, sentences on
    stderr, and who is waited for. Use as a context."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._bar = Bar() if takes_escapes(sys.stderr) and not output.json else None
        self._next_event_at = 0.0
        self._name = ""
        self._fetched_bytes = 0
        self._waits_for: set[str] = set()  # users that it was said of, since bytes came last

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def say(self, text: str) -> None:
        """One line on stderr, above the bar where there is one."""
        if self._bar is not None:
            self._bar.print_above(f"{PROGRAM}: {text}")
        else:
            self._output.notice(text)

    def _move(self, event: "Progress | TreeProgress") -> None:
        is_waiting = event.fetched_bytes == self._fetched_bytes
        self._fetched_bytes = event.fetched_bytes
        if not is_waiting:
            self._waits_for.clear()
        if self._bar is not None:
            self._bar.move(event.verified_bytes, event.size_bytes)
            if not is_waiting:
                self._bar.name(self._name)

    def _show_queued(self, event: Queued) -> None:
        """In place of the name on a terminal; elsewhere once for each wait."""
        if self._bar is not None:
            self._bar.name(queued_line(event))
        elif event.user not in self._waits_for:
            self.say(queued_line(event))
        self._waits_for.add(event.user)


class DownloadView(TransferView):
    """Shows one `get`; `show` is called with each event.

    `started` tells whether bytes were about to flow, so whether there is something to resume;
    `finished`, whether there is nothing left to resume.
    """

    def __init__(self, output: Output) -> None:
        super().__init__(output)
        self.started = False
        self.finished = False

    def show(self, event: Event) -> None:
        if self._output.json:
            self._record(event)
        match event:
            case Started():
                self.started = True
                self._name = f"{event.path.name} from {_named(event.sources)}"
                if self._bar is not None:
                    self._bar.start(self._name, event.resumed_bytes, event.size_bytes)
            case Progress():
                self._move(event)
            case Queued():
                self._show_queued(event)
            case SourceFailed():
                self.say(failed_line(event))
            case Finished():
                self.finished = True
                if self._bar is not None:
                    self._bar.stop()

    def _record(self, event: Event) -> None:
        if isinstance(event, Progress):
            now = time.monotonic()
            if now < self._next_event_at:
                return
            self._next_event_at = now + SECONDS_BETWEEN_EVENTS
        self._output.record(download_record(event))


class HashingView:
    """Shows the hashing of a share until it is ready; only a bar on a terminal."""

    def __init__(self, output: Output) -> None:
        self._bar = Bar() if takes_escapes(sys.stderr) and not output.json else None

    def __enter__(self) -> "HashingView":
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def show(self, event: LibraryEvent) -> None:
        if self._bar is None or not isinstance(event, HashProgress) or not event.total_bytes:
            return
        self._bar.start("hashing", 0, event.total_bytes)
        self._bar.move(event.done_bytes, event.total_bytes)


class Bar:
    """One bar of rich's, made when it is needed; it disappears when it stops."""

    def __init__(self) -> None:
        self._bars: Bars | None = None

    def start(self, name: str, done_bytes: int, total_bytes: int) -> None:
        if self._bars is not None:
            return
        from rich import progress
        from rich.console import Console

        self._bars = progress.Progress(
            progress.TextColumn("{task.description}", markup=False),
            progress.BarColumn(),
            progress.TaskProgressColumn(),
            progress.DownloadColumn(),
            progress.TransferSpeedColumn(),
            progress.TimeRemainingColumn(compact=True),
            console=Console(stderr=True, markup=False, highlight=False, emoji=False),
            refresh_per_second=5,  # each costs time that the transfer could use
            transient=True,
        )
        self._bars.start()
        self._bars.add_task(printable(name), total=total_bytes, completed=done_bytes)

    def move(self, done_bytes: int, total_bytes: int) -> None:
        if self._bars is not None and self._bars.tasks:
            self._bars.update(self._bars.task_ids[0], completed=done_bytes, total=total_bytes)

    def name(self, name: str) -> None:
        if self._bars is not None and self._bars.tasks:
            self._bars.update(self._bars.task_ids[0], description=printable(name))

    def print_above(self, text: str) -> None:
        if self._bars is None:
            print(printable(text), file=sys.stderr, flush=True)
        else:
            self._bars.console.print(printable(text), soft_wrap=True)

    def stop(self) -> None:
        if self._bars is not None:
            self._bars.stop()
            self._bars = None
