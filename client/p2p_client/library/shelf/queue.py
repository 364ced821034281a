"""Which files to hash next: by size, in two lanes, restless ones after a pause. Pure.

Small files cost the interpreter's time, of which there is one thread's worth; large ones cost the
processor's. Each lane has its own takers, so that neither kind waits for the other.

A file that is pushed again and again is one that somebody writes to: each time it must have rested
a little longer, so that a log file in a share costs little.
"""

import heapq
from enum import Enum, auto

from p2p_client.records import dataclass

FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 60.0
CALM_SECONDS = 10.0
LARGE_BYTES = 1 << 20
_MOST_REMEMBERED = 10_000


class Lane(Enum):
    SMALL = auto()
    LARGE = auto()


def lane_of(size_bytes: int) -> Lane:
    return Lane.LARGE if size_bytes >= LARGE_BYTES else Lane.SMALL


@dataclass(slots=True)
class _Restless:
    times: int
    pushed_at: float
    pause_seconds: float


class HashQueue:
    """Every path is in it at most once: waiting, pausing or taken."""

    def __init__(self) -> None:
        self._sizes: dict[str, int] = {}  # all that is waiting or pausing
        self._waiting: dict[Lane, list[tuple[int, str]]] = {lane: [] for lane in Lane}
        self._pausing: list[tuple[float, str]] = []
        self._taken: dict[str, bool] = {}  # path -> pushed again meanwhile
        self._restless: dict[str, _Restless] = {}

    def __contains__(self, path: str) -> bool:
        return path in self._sizes or path in self._taken

    def __len__(self) -> int:
        return len(self._sizes) + len(self._taken)

    def push(self, path: str, size_bytes: int, now: float, *, again: bool = False) -> None:
        """Wants a file hashed.

        Args:
            again: it was hashed, or tried, before: pauses grow when that happens often.
        """
        if path in self._taken:
            self._taken[path] = True
            return
        if path in self._sizes:
            return
        pause_seconds = self._pause(path, now) if again else 0.0
        self._sizes[path] = size_bytes
        if pause_seconds:
            heapq.heappush(self._pausing, (now + pause_seconds, path))
        else:
            self._wait(path, size_bytes)

    def take(self, now: float, lane: Lane, most_files: int) -> list[str]:
        """The smallest waiting files of the lane; `finish` each of them."""
        while self._pausing and self._pausing[0][0] <= now:
            _, path = heapq.heappop(self._pausing)
            if path in self._sizes:
                self._wait(path, self._sizes[path])
        batch: list[str] = []
        waiting = self._waiting[lane]
        while waiting and len(batch) < most_files:
            _, path = heapq.heappop(waiting)
            if self._sizes.pop(path, None) is None:
                continue  # dropped, or queued twice by way of a drop
            self._taken[path] = False
            batch.append(path)
        return batch

    def finish(self, path: str) -> bool:
        """Gives back a taken path. True: it was pushed meanwhile, so push it again."""
        return self._taken.pop(path, False)

    def drop(self, path: str) -> None:
        """No longer wanted. A taken one stays taken until it is finished."""
        self._sizes.pop(path, None)
        if path in self._taken:
            self._taken[path] = False

    def seconds_to_next(self, now: float, lane: Lane) -> float | None:
        """How long until `take` may have something; None: not before the next push."""
        if self._waiting[lane]:
            return 0.0
        return max(0.0, self._pausing[0][0] - now) if self._pausing else None

    def _wait(self, path: str, size_bytes: int) -> None:
        heapq.heappush(self._waiting[lane_of(size_bytes)], (size_bytes, path))

    def _pause(self, path: str, now: float) -> float:
        before = self._restless.get(path)
        if before is None or now - before.pushed_at > CALM_SECONDS + 2 * before.pause_seconds:
            if len(self._restless) >= _MOST_REMEMBERED:
                self._restless.clear()
            self._restless[path] = _Restless(0, now, 0.0)
            return 0.0
        pause_seconds = min(FIRST_PAUSE_SECONDS * 2.0**before.times, LONGEST_PAUSE_SECONDS)
        times = min(before.times + 1, 30)
        self._restless[path] = _Restless(times, now, pause_seconds)
        return pause_seconds
