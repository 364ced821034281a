"""The calls that have a slot and those that wait for one: bookkeeping, told the time. Pure.

Promises:
    Never more streams than the width allows are started, nor more than half of it for one user.
    Whoever waits is started as soon as a slot is free that its user may have; the order is
    `order.py`'s.
    No more calls wait than there is room for, but for those whose turn is over. When all of it is
    taken, a user with fewer waiting calls takes the place of the youngest call of the user with
    most; else one who got little of late takes that of whoever got most. So nobody is kept out by
    others that go round, however many they are.
"""

import math
from collections import Counter, deque
from dataclasses import field, replace

from p2p_client.records import dataclass
from p2p_client.upload.refusals import TooManyStreams
from p2p_client.upload.slots.counts import SentCounts, Wish
from p2p_client.upload.slots.order import Standing, next_of

MOST_WAITING = 128
MOST_WAITING_OF_ONE = 16
TURN_SECONDS = 10.0
"""How long a stream runs while others wait for its slot."""
RATE_WINDOW_SECONDS = 60.0
HALF_LIFE_SECONDS = 30.0
"""What a user got weighs half as much after this time."""
LITTLE_BYTES = 256 << 10
"""Who got no more than this of late keeps its place in a full queue."""
_MOST_USERS_REMEMBERED = 1_024


@dataclass(slots=True, eq=False)
class Call:
    """One call, from when it asks for a slot until it ends."""

    user: str
    wish: Wish | None = None
    can_wait: bool = False
    arrival: int = 0
    asked_at: float = 0.0
    started_at: float | None = None  # None: it waits
    served_bytes: int = 0  # in this turn


@dataclass(frozen=True, slots=True)
class Place:
    """What a waiting call is told."""

    position: int  # calls served before it
    waiting_count: int
    expected_wait_seconds: float | None


@dataclass(slots=True)
class _Got:
    """Bytes a user got, as of an instant; older ones weigh less."""

    weight: float = 0.0
    at: float = 0.0

    def value(self, now: float) -> float:
        return self.weight * math.exp2(-max(0.0, now - self.at) / HALF_LIFE_SECONDS)

    def add(self, size_bytes: int, now: float) -> None:
        self.weight, self.at = self.value(now) + size_bytes, now


@dataclass(slots=True)
class SlotQueue:
    """`width` is how many streams may run; it may change at any time, and cuts none short."""

    width: int
    most_waiting: int = MOST_WAITING
    most_waiting_of_one: int = MOST_WAITING_OF_ONE
    counts: SentCounts = field(default_factory=SentCounts)
    _running: set[Call] = field(default_factory=set)
    _running_of: Counter[str] = field(default_factory=Counter)
    _waiting: list[Call] = field(default_factory=list)
    _got: dict[str, _Got] = field(default_factory=dict)
    _starts: deque[float] = field(default_factory=lambda: deque(maxlen=64))
    _arrivals: int = 0

    # -- what there is

    @property
    def running_count(self) -> int:
        return len(self._running)

    @property
    def waiting(self) -> tuple[Call, ...]:
        return tuple(self._waiting)

    @property
    def is_contended(self) -> bool:
        """Whether calls wait for what others have: not for their own user's streams alone."""
        return bool(self._waiting) and len(self._running) >= self.width

    @property
    def most_of_one(self) -> int:
        """Streams that one user may run: half, so that nobody can keep all others out."""
        return max(1, self.width // 2)

    # -- what happens

    def ask(self, call: Call, now: float) -> Call | None:
        """Takes a slot, or a place among the waiting where the call can wait.

        Returns the call that must make room, if one must: it waits no longer.
        Raises TooManyStreams when neither is to be had.
        """
        self._arrivals += 1
        call.arrival, call.asked_at = self._arrivals, now
        if self._may_run(call.user) and not any(self._may_run(w.user) for w in self._waiting):
            self._start(call, now)
            return None
        if not call.can_wait:
            few = self._running_of[call.user] >= self.most_of_one
            raise TooManyStreams(self.most_of_one if few else self.width)
        displaced = self._make_room(call.user, now)
        self._waiting.append(call)
        return displaced

    def admit(self, now: float) -> list[Call]:
        """Starts the waiting calls that may run now, and tells which they are."""
        started = []
        while len(self._running) < self.width:
            may = [call for call in self._waiting if self._may_run(call.user)]
            if not may:
                break
            call = may[next_of([self._standing(call, now) for call in may])]
            self._waiting.remove(call)
            self._start(call, now)
            self._starts.append(now)
            started.append(call)
        return started

    def sent(self, call: Call, size_bytes: int, now: float) -> None:
        call.served_bytes += size_bytes
        got = self._got.get(call.user)
        if got is None:
            if len(self._got) >= _MOST_USERS_REMEMBERED:
                del self._got[min(self._got, key=lambda user: self._got[user].value(now))]
            got = self._got[call.user] = _Got(0.0, now)
        got.add(size_bytes, now)

    def is_turn_over(self, call: Call, now: float) -> bool:
        """Whether a running call must let others have its slot now."""
        return (
            self.is_contended
            and call.started_at is not None
            and now - call.started_at >= TURN_SECONDS
        )

    def rejoin(self, call: Call, now: float) -> None:
        """A running call whose turn is over waits for its next one; there is always room for it."""
        self._stop(call)
        self._arrivals += 1
        call.arrival, call.asked_at = self._arrivals, now
        self._waiting.append(call)

    def leave(self, call: Call) -> None:
        """The call has ended, or waits no longer. Nothing happens when it was gone before."""
        if call in self._running:
            self._stop(call)
        elif call in self._waiting:
            self._waiting.remove(call)

    # -- what the waiting are told

    def places(self, now: float) -> dict[Call, Place]:
        """As if all were served one after another from now on. Cost: O(waiting^2)."""
        left = list(self._waiting)
        standings = [self._standing(call, now) for call in left]
        running = Counter(self._running_of)
        starts_per_second = self._starts_per_second(now)
        places: dict[Call, Place] = {}
        while left:
            index = next_of(standings)
            call = left.pop(index)
            del standings[index]
            running[call.user] += 1
            standings = [
                s if other.user != call.user else replace(s, running=running[call.user])
                for other, s in zip(left, standings, strict=True)
            ]
            position = len(places)
            wait = (position + 1) / starts_per_second if starts_per_second else None
            places[call] = Place(position, len(self._waiting), wait)
        return places

    def _starts_per_second(self, now: float) -> float | None:
        """How fast the queue moves; None: it cannot be told yet."""
        while self._starts and now - self._starts[0] > RATE_WINDOW_SECONDS:
            self._starts.popleft()
        if len(self._starts) < 2 or now <= self._starts[0]:
            return None
        return len(self._starts) / (now - self._starts[0])

    # -- within

    def _may_run(self, user: str) -> bool:
        return len(self._running) < self.width and self._running_of[user] < self.most_of_one

    def _start(self, call: Call, now: float) -> None:
        call.started_at, call.served_bytes = now, 0
        self._running.add(call)
        self._running_of[call.user] += 1
        if call.wish is not None:
            self.counts.add(call.wish)

    def _stop(self, call: Call) -> None:
        self._running.remove(call)
        self._running_of[call.user] -= 1
        if not self._running_of[call.user]:
            del self._running_of[call.user]
        call.started_at = None
        call.wish = self._unsent(call)
        if call.wish is not None:
            self.counts.take_back(call.wish)

    def _unsent(self, call: Call) -> Wish | None:
        """What of the wish was not sent in this turn."""
        wish = call.wish
        if wish is None:
            return None
        first = min(wish.stop, wish.first + call.served_bytes // wish.piece_bytes)
        return Wish(wish.digest, first, wish.stop, wish.piece_count, wish.piece_bytes)

    def _got_of(self, user: str, now: float) -> float:
        got = self._got.get(user)
        return got.value(now) if got else 0.0

    def _standing(self, call: Call, now: float) -> Standing:
        return Standing(
            self._running_of[call.user],
            self._got_of(call.user, now),
            self.counts.rarity(call.wish),
            now - call.asked_at,
            call.arrival,
        )

    def _make_room(self, user: str, now: float) -> Call | None:
        """Raises TooManyStreams when there is no room, nor anybody to make it."""
        waiting_of = Counter(call.user for call in self._waiting)
        if waiting_of[user] >= self.most_waiting_of_one:
            raise TooManyStreams(self.most_waiting_of_one)
        if len(self._waiting) < self.most_waiting:
            return None
        greedy, count = waiting_of.most_common(1)[0] if waiting_of else (user, 0)
        if count <= waiting_of[user] + 1:
            greedy = max(waiting_of, key=lambda other: self._got_of(other, now), default=user)
            if self._got_of(greedy, now) <= 2 * self._got_of(user, now) + LITTLE_BYTES:
                raise TooManyStreams(self.most_waiting)
        youngest = max((c for c in self._waiting if c.user == greedy), key=lambda c: c.arrival)
        self._waiting.remove(youngest)
        return youngest
