"""What the menu has going in the background: downloads and announcements, told of in single lines.

A failure of one is told and ends that one only.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from p2p_client.cli.failures import describe_internal
from p2p_client.cli.progress import RateMeter, failed_line, finished_line
from p2p_client.cli.sizes import show_seconds, show_size
from p2p_client.download.events import Event, Finished, Progress, SourceFailed, Started
from p2p_client.errors import PeerError

SECONDS_BETWEEN_NOTICES = 3.0
Tell = Callable[[str], None]


class Download:
    """One download as its watcher sees it."""

    def __init__(self, name: str, place: Path, size_bytes: int, tell: Tell) -> None:
        self.place = place
        self._name = name
        self._size_bytes = size_bytes
        self._tell = tell
        self._meter = RateMeter()
        self._verified_bytes = 0
        self._told_quarter = 0
        self._told_at = time.monotonic()

    def line(self) -> str:
        """`talk.mp4: 45% of 1.20 GB at 31.0 MB/s, 21 s left`."""
        missing = self._size_bytes - self._verified_bytes
        rate, left = self._meter.bytes_per_second, self._meter.seconds_left(missing)
        speed = f" at {show_size(int(rate))}/s" if rate else ""
        remaining = f", {show_seconds(left)} left" if left is not None else ""
        return (
            f"{self._name}: {self._percent()}% of {show_size(self._size_bytes)}{speed}{remaining}"
        )

    def on_event(self, event: Event) -> None:
        match event:
            case Started():
                self._verified_bytes = event.resumed_bytes
                if event.resumed_bytes:
                    self._tell(f"{self._name}: {show_size(event.resumed_bytes)} are here already")
            case Progress():
                self._verified_bytes = event.verified_bytes
                self._meter.add(time.monotonic(), event.verified_bytes)
                self._tell_quarters()
            case SourceFailed():
                self._tell(f"{self._name}: {failed_line(event)}")

    def _percent(self) -> int:
        return self._verified_bytes * 100 // self._size_bytes if self._size_bytes else 100

    def _tell_quarters(self) -> None:
        """Long downloads report a few times in all; short ones only their end."""
        quarter, now = self._percent() // 25, time.monotonic()
        if self._told_quarter < quarter < 4 and now - self._told_at >= SECONDS_BETWEEN_NOTICES:
            self._told_quarter, self._told_at = quarter, now
            self._tell(self.line())


class Background:
    """All that runs behind the prompt, in a TaskGroup that its maker owns."""

    def __init__(self, tasks: asyncio.TaskGroup, tell: Tell, *, verbose: bool) -> None:
        self._tasks = tasks
        self._tell = tell
        self._verbose = verbose
        self._running: dict[asyncio.Task[None], Callable[[], str]] = {}
        self._places: set[Path] = set()

    def is_saving_to(self, place: Path) -> bool:
        return place.absolute() in self._places

    def start_download(
        self, download: Download, work: Callable[[Callable[[Event], None]], Awaitable[Finished]]
    ) -> None:
        """Begins `work`, which is given what to call with each event."""
        place = download.place.absolute()
        self._places.add(place)

        async def fetch() -> None:
            try:
                finished = await work(download.on_event)
            finally:
                self._places.discard(place)
            self._tell(f"Done: {finished_line(finished)}")  # and then it does not run any more

        self._start(fetch(), download.line, f"Not downloaded: {download.place.name}")

    def start_announcement(self, name: str, work: Awaitable[str]) -> None:
        """Begins `work`, whose result is what to say at its end."""

        async def announce() -> None:
            self._tell(await work)

        self._start(announce(), lambda: f"{name}: being announced", f"Not announced: {name}")

    def _start(self, work: Awaitable[None], line: Callable[[], str], failure: str) -> None:
        async def watched() -> None:
            try:
                await work
            except PeerError as error:
                self._tell(f"{failure}: {error}")
            except Exception as error:
                self._tell(f"{failure}: {describe_internal(error, verbose=self._verbose)}")

        task = self._tasks.create_task(watched())
        self._running[task] = line
        task.add_done_callback(lambda done: self._running.pop(done, None))

    def lines(self) -> list[str]:
        """What runs now, one line each."""
        return [line() for line in self._running.values()]

    async def finished(self) -> None:
        """Returns when nothing runs any more."""
        while self._running:
            await asyncio.wait(list(self._running))

    def stop(self) -> None:
        """Cancels what runs, and says what that means."""
        for task, line in list(self._running.items()):
            self._tell(f"Stopped: {line()}. What was verified is kept; the same again resumes.")
            task.cancel()
