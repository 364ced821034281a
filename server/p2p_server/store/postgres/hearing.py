"""What was heard and not looked at yet: bounded, for the others may speak faster than we look.

Pure; used in the event loop's thread alone.
"""

import asyncio
from collections import deque
from enum import Enum
from typing import Final

MOST_HEARD: Final = 4_096  # notifications, of at most 8 kB each


class Missed(Enum):
    """In the place of notifications that were let go: look at everything."""

    SOME = "some"


class Heard:
    """Notifications in their order, and among them the events of those who wait for theirs."""

    def __init__(self, most: int = MOST_HEARD) -> None:
        self._most = most
        self._waiting: deque[str | asyncio.Event | Missed] = deque()
        self._come = asyncio.Event()

    def __len__(self) -> int:
        return len(self._waiting)

    def hear(self, payload: str) -> None:
        """Where too much waits, none of it needs to be looked at any more: the reader looks at
        everything instead, and then at what comes after this."""
        if len(self._waiting) >= self._most:
            kept = [each for each in self._waiting if isinstance(each, asyncio.Event)]
            self._waiting = deque([Missed.SOME, *kept])
        else:
            self._waiting.append(payload)
        self._come.set()

    def wait_behind(self, event: asyncio.Event) -> None:
        """Has the event come after all that was heard before."""
        self._waiting.append(event)
        self._come.set()

    async def next(self) -> str | asyncio.Event | Missed:
        while not self._waiting:
            self._come.clear()
            await self._come.wait()
        return self._waiting.popleft()
