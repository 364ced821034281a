"""Which contents are asked of which source. Pure.

Promises:
    A content is in at most one call at a time. One that a source refused, or served wrong, is not
    asked of that source again. What a call did not bring is free again when it has closed.

A source that has nothing left to do takes over half of what another one is still to bring, or all
of it where that one has gone silent. `now` is monotonic seconds.
"""

from collections import deque
from collections.abc import Iterable, Sequence

from p2p_client.models import PeerId
from p2p_client.records import dataclass

MOST_CONTENTS = 4_096
LEAST_CONTENTS = 64
STUCK_SECONDS = 2.0
WORTH_SECONDS = 0.5
"""What its call would bring within this time is left to it."""

_FREE, _TAKEN, _DONE = range(3)


@dataclass(slots=True, eq=False)
class Call:
    """Contents asked of one source, in this order; those from `stop` on are not its any more."""

    source: PeerId
    contents: list[int]
    stop: int
    opened_at: float
    heard_at: float
    came: int = 0
    is_abandoned: bool = False  # to be ended at once

    @property
    def is_done(self) -> bool:
        return self.came >= self.stop

    def seconds_left(self, now: float) -> float:
        rate = self.came / max(now - self.opened_at, 1e-3)
        return (self.stop - self.came) / rate if rate else float("inf")


class Handout:
    """
    Args:
        sizes: of each content, in bytes.
        most_bytes: of one call; one content is asked for however large it is.
    """

    def __init__(self, sizes: Sequence[int], most_bytes: int) -> None:
        self._sizes = sizes
        self._most_bytes = most_bytes
        self._states = bytearray(len(sizes))
        self._offered: dict[PeerId, bytearray] = {}
        self._queues: dict[PeerId, deque[int]] = {}
        self._refused: dict[int, set[PeerId]] = {}
        self._calls: list[Call] = []
        self._free_count = self._undone_count = len(sizes)

    # -- what the caller tells

    def offer(self, source: PeerId, contents: Iterable[int]) -> None:
        """The source may be asked for these, and for no others, from now on."""
        offered, queue = bytearray(len(self._sizes)), deque[int]()
        for content in contents:
            offered[content] = 1
            if self._states[content] == _FREE and source not in self._refused.get(content, ()):
                queue.append(content)
        self._offered[source], self._queues[source] = offered, queue

    def withdraw(self, source: PeerId) -> None:
        """The source is not to be asked for anything."""
        self._offered.pop(source, None)
        self._queues.pop(source, None)

    def came(self, call: Call, now: float) -> int:
        """The next content of the call came, or a reason for its absence; answers which."""
        content = call.contents[call.came]
        call.came += 1
        call.heard_at = now
        return content

    def done(self, content: int) -> None:
        """It is verified and written, or nothing more can be done about it."""
        if self._states[content] == _FREE:
            self._free_count -= 1
        if self._states[content] != _DONE:
            self._undone_count -= 1
        self._states[content] = _DONE

    def refused(self, content: int, source: PeerId) -> None:
        """The source has it not, or served something else under its digest."""
        self._refused.setdefault(content, set()).add(source)
        self._free(content)

    def closed(self, call: Call) -> None:
        """Nothing more comes of this call."""
        self._calls.remove(call)
        for content in reversed(call.contents[call.came : call.stop]):
            self._free(content)

    def _free(self, content: int) -> None:
        if self._states[content] != _TAKEN:
            return
        self._states[content] = _FREE
        self._free_count += 1
        for source, queue in self._queues.items():
            if self._may_give(source, content):
                queue.appendleft(content)

    # -- what the caller asks

    @property
    def is_complete(self) -> bool:
        return not self._undone_count

    @property
    def is_at_rest(self) -> bool:
        """Nothing is under way: neither asked for, nor being verified."""
        return self._free_count == self._undone_count

    def free(self) -> list[int]:
        return [content for content, state in enumerate(self._states) if state == _FREE]

    def abandoned(self) -> list[Call]:
        return [call for call in self._calls if call.is_abandoned]

    def take(self, source: PeerId, now: float) -> Call | None:
        """What to ask the source for now; None: nothing. Close the call.

        Cost: O(what it asks for), and once more over what others have taken meanwhile.
        """
        contents = self._next_free(source) or self._steal(source, now)
        if not contents:
            return None
        call = Call(source, contents, len(contents), now, now)
        self._calls.append(call)
        return call

    # -- how it decides

    def _next_free(self, source: PeerId) -> list[int]:
        queue = self._queues.get(source)
        most = MOST_CONTENTS
        if len(self._queues) > 1:
            share = self._free_count // (2 * len(self._queues))
            most = max(LEAST_CONTENTS, min(most, share))
        contents: list[int] = []
        size_bytes = 0
        while queue and len(contents) < most and size_bytes < self._most_bytes:
            content = queue.popleft()
            if self._states[content] == _FREE and self._may_give(source, content):
                if contents and size_bytes + self._sizes[content] > self._most_bytes:
                    queue.appendleft(content)
                    break
                self._states[content] = _TAKEN
                self._free_count -= 1
                size_bytes += self._sizes[content]
                contents.append(content)
        return contents

    def _steal(self, thief: PeerId, now: float) -> list[int]:
        others = [
            call
            for call in self._calls
            if call.source != thief and not call.is_done and not call.is_abandoned
        ]
        for call in others:
            if now - call.heard_at >= STUCK_SECONDS and self._may_give_all(thief, call, call.came):
                stolen = call.contents[call.came : call.stop]
                call.stop, call.is_abandoned = call.came, True
                return stolen
        slowest = max(others, key=lambda call: call.seconds_left(now), default=None)
        if slowest is None or slowest.seconds_left(now) < WORTH_SECONDS:
            return []
        if not slowest.came and now - slowest.opened_at < WORTH_SECONDS:
            return []  # nothing is known of it yet
        middle = slowest.came + (slowest.stop - slowest.came + 1) // 2
        if middle >= slowest.stop or not self._may_give_all(thief, slowest, middle):
            return []
        stolen = slowest.contents[middle : slowest.stop]
        slowest.stop = middle
        return stolen

    def _may_give_all(self, source: PeerId, call: Call, first: int) -> bool:
        return all(self._may_give(source, content) for content in call.contents[first : call.stop])

    def _may_give(self, source: PeerId, content: int) -> bool:
        offered = self._offered.get(source)
        return bool(offered and offered[content]) and source not in self._refused.get(content, ())
