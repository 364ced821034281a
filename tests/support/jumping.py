"""An event loop whose clock jumps to whatever is next, so that waiting takes no time.

For code that does nothing but wait, by the loop's own clock: what comes from elsewhere, such as
threads and sockets, does not move it.
"""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _Jumping(selectors.DefaultSelector):
    """Instead of waiting, it moves the clock."""

    now = 1_000.0

    def select(self, timeout: float | None = None) -> list[Any]:
        found = super().select(0)
        if not found and timeout:
            self.now += timeout
        return found


class JumpingLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now


def run_jumping(work: Coroutine[object, object, T]) -> T:
    """Runs it to its end, as `asyncio.run` does."""
    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        return runner.run(work)
