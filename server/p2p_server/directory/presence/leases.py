"""Leases: which keys hold until when, and on which terms.

A heap with lazy deletion: renewing pushes a second entry and leaves the first to be skipped when it
comes up. A plain dict of ends is the specification, and the test says so. `LeaseClock` keeps the
directory's own pauses out of the reckoning.

Heartbeats must stay a small share of what a directory can do, however many peers there are: so
`LeaseTerms` lets the interval grow with them beyond a number that is reached seldom, and the lease
with it.
"""

import heapq
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)

MOST_HEARTBEATS_PER_SECOND: Final = 200.0  # about a tenth of what one core answers
LONGEST_LEASE_SECONDS: Final = 300.0
HEARTBEATS_PER_LEASE: Final = 3
_PHASES: Final = 1 << 16
_SPARE_ENTRIES = 64


class Leases(Generic[Key]):
    def __init__(self) -> None:
        self._ends_at: dict[Key, float] = {}
        self._heap: list[tuple[float, int, Key]] = []
        self._pushed = 0  # the heap's tie-break, so that keys are never compared

    def __len__(self) -> int:
        return len(self._ends_at)

    def __contains__(self, key: object) -> bool:
        return key in self._ends_at

    def ends_at(self, key: Key) -> float:
        """Raises KeyError for a key that holds none."""
        return self._ends_at[key]

    def grant(self, key: Key, ends_at: float) -> None:
        """Lets the key hold until then; renews it when it holds already, also to an earlier end."""
        self._ends_at[key] = ends_at
        self._pushed += 1
        heapq.heappush(self._heap, (ends_at, self._pushed, key))
        self._compact_when_mostly_spent()

    def revoke(self, key: Key) -> None:
        """Ends the lease now; a key that holds none is no matter."""
        self._ends_at.pop(key, None)
        self._compact_when_mostly_spent()

    def expire(self, now: float) -> list[Key]:
        """Ends and answers the leases whose end has come, earliest first."""
        expired: list[Key] = []
        while self._heap and self._heap[0][0] <= now:
            ends_at, _, key = heapq.heappop(self._heap)
            if self._ends_at.get(key) == ends_at:
                del self._ends_at[key]
                expired.append(key)
        return expired

    def _compact_when_mostly_spent(self) -> None:
        if len(self._heap) <= 2 * len(self._ends_at) + _SPARE_ENTRIES:
            return
        self._pushed = len(self._ends_at)
        self._heap = [(ends_at, at, key) for at, (key, ends_at) in enumerate(self._ends_at.items())]
        heapq.heapify(self._heap)


class LeaseClock:
    """Time as leases know it: the clock's, less the directory's own pauses.

    It goes on by at most `longest_step_seconds` between two looks. A longer gap means that the
    process was stopped or its event loop blocked, so that no heartbeat could have been heard.
    """

    def __init__(self, now: float, longest_step_seconds: float) -> None:
        self._looked_at = now
        self._longest_step_seconds = longest_step_seconds
        self._time = 0.0

    def look(self, now: float) -> float:
        """Lease time. To be called often and regularly, and before each use of a lease."""
        self._time += min(now - self._looked_at, self._longest_step_seconds)
        self._looked_at = now
        return self._time


@dataclass(frozen=True, slots=True)
class Terms:
    lease_seconds: float
    heartbeat_seconds: float


class LeaseTerms:
    """
    Args:
        lease_seconds: the shortest lease.
        is_exact: whether it is the only one.
    """

    def __init__(self, lease_seconds: float, *, is_exact: bool) -> None:
        self._shortest_seconds = lease_seconds
        self._longest_seconds = lease_seconds
        if not is_exact:
            self._longest_seconds = max(lease_seconds, LONGEST_LEASE_SECONDS)

    def of(self, session_count: int) -> Terms:
        """With so many sessions."""
        wanted = HEARTBEATS_PER_LEASE * session_count / MOST_HEARTBEATS_PER_SECOND
        lease = min(max(wanted, self._shortest_seconds), self._longest_seconds)
        return Terms(lease, lease / HEARTBEATS_PER_LEASE)


def spread(heartbeat_seconds: float, token_hash: bytes) -> float:
    """An interval of at least half of it, evenly different from session to session.

    For those who come all at once, as after a restart: from the next heartbeat on they do not.
    """
    phase = int.from_bytes(token_hash[:2], "big") / _PHASES
    return heartbeat_seconds * (1 + phase) / 2
