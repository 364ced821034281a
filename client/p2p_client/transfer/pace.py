"""Keeping to a rate of bytes per second: a token bucket, whose turn it is, and the waiting at it.

Users share a rate evenly, and so do the streams of one user, whatever the size of what they send at
a time and however many streams another has.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from p2p_client.records import dataclass

LATE_SECONDS = 0.1
"""How late somebody may come to take and still get what was not taken meanwhile."""
COLD_SECONDS = 1.0
RETURN_SECONDS = 0.002
CHUNKS_PER_SECOND = 8
SMALLEST_CHUNK_BYTES = 16 << 10
LARGEST_CHUNK_BYTES = 1 << 20
SLICES_PER_SECOND = 32
SMALLEST_SLICE_BYTES = 4 << 10
BYTES_PER_SECOND_EACH = 256 << 10
FEWEST_STREAMS = 2


class Bucket:
    """Virtual scheduling form of a token bucket (ATM Forum's GCRA): one number for all its state.

    Whoever takes pays first: waits as long as it costs. So the rate holds over any time longer than
    the lateness that is made up for, whatever sizes are taken; and a first taker gets no gift.

    Args:
        bytes_per_second: > 0.
    """

    def __init__(self, bytes_per_second: float) -> None:
        self._bytes_per_second = bytes_per_second
        self._paid_until = float("-inf")

    def take(self, count: int, now: float) -> float:
        """Takes `count` bytes; how many seconds to wait before they are used."""
        begin = max(self._paid_until, now - LATE_SECONDS)
        if now - self._paid_until > COLD_SECONDS:
            begin = now
        self._paid_until = begin + count / self._bytes_per_second
        return max(0.0, self._paid_until - now)

    def give_back(self, count: int) -> None:
        """What was taken last is not used after all."""
        self._paid_until -= count / self._bytes_per_second

    def is_behind(self, now: float) -> bool:
        """Whether less was taken than might have been."""
        return self._paid_until < now - RETURN_SECONDS


@dataclass(slots=True, eq=False)
class Flow:
    """One stream of one user; `taken` is comparable among the flows of that user alone."""

    user: str
    taken: float = 0.0


class Fairness:
    """Start-time fair queueing (Goyal, Vin, Cheng, SIGCOMM 1996), between users and within each:
    next is who has taken least, where time spent without wanting anything is no credit."""

    def __init__(self) -> None:
        self._open: Counter[str] = Counter()
        self._taken: dict[str, float] = {}
        self._passed: dict[str, float] = {}  # within each user
        self._passed_by_users = 0.0

    def open(self, user: str) -> Flow:
        self._open[user] += 1
        return Flow(user, self._passed.setdefault(user, 0.0))

    def close(self, flow: Flow) -> None:
        self._open[flow.user] -= 1
        if not self._open[flow.user]:
            del self._open[flow.user], self._passed[flow.user]
            # Who took more than others have by now is remembered, so that leaving is no gain.
            self._taken = {
                user: taken
                for user, taken in self._taken.items()
                if user in self._open or (self._open and taken > self._passed_by_users)
            }

    @property
    def flow_count(self) -> int:
        return self._open.total()

    def want(self, flow: Flow) -> None:
        """The flow wants something from now on."""
        self._taken[flow.user] = max(self._taken.get(flow.user, 0.0), self._passed_by_users)
        flow.taken = max(flow.taken, self._passed[flow.user])

    def next_of(self, flows: Iterable[Flow]) -> Flow:
        """Of flows that want something, in the order in which they came; at least one."""
        return min(flows, key=lambda flow: (self._taken[flow.user], flow.taken))

    def took(self, flow: Flow, count: int) -> None:
        self._passed_by_users = self._taken[flow.user]
        self._passed[flow.user] = flow.taken
        self._taken[flow.user] += count
        flow.taken += count


class Pace:
    """One limit that any number of streams keep to together; None: no limit."""

    def __init__(self, bytes_per_second: float | None) -> None:
        self.bytes_per_second = bytes_per_second
        self.chunk_bytes = LARGEST_CHUNK_BYTES
        self.slice_bytes = LARGEST_CHUNK_BYTES
        """What is taken at a time, so that no stream is silent for long for want of its turn."""
        self._till: _Till | None = None
        if bytes_per_second is not None:
            each = int(bytes_per_second / CHUNKS_PER_SECOND)
            self.chunk_bytes = max(SMALLEST_CHUNK_BYTES, min(each, LARGEST_CHUNK_BYTES))
            slice_bytes = int(bytes_per_second / SLICES_PER_SECOND)
            self.slice_bytes = max(SMALLEST_SLICE_BYTES, min(slice_bytes, LARGEST_CHUNK_BYTES))
            self._till = _Till(bytes_per_second)

    def streams(self, most: int) -> int:
        """How many streams are worth while, >= 1: at a low rate few, so that each of them ends a
        piece now and then, and none is so slow that the other side takes it for dead."""
        if self.bytes_per_second is None:
            return most
        return min(most, max(FEWEST_STREAMS, int(self.bytes_per_second / BYTES_PER_SECOND_EACH)))

    @contextmanager
    def share(self, user: str = "") -> Iterator["Share"]:
        """A stream's part in the limit, for as long as the context lasts."""
        if self._till is None:
            yield Share(None, None)
            return
        flow = self._till.fairness.open(user)
        try:
            yield Share(self._till, flow)
        finally:
            self._till.leave(flow)

    async def keep(self, count: int) -> None:
        """As a `share` of one message, for who knows of no streams."""
        if self._till is not None:
            with self.share() as share:
                await share.keep(count)


class Share:
    """One stream at a limit; made by `Pace.share`."""

    def __init__(self, till: "_Till | None", flow: Flow | None) -> None:
        self._till = till
        self._flow = flow

    async def keep(self, count: int) -> None:
        """Waits until these bytes may be used. Cancelled, they are left to others."""
        if self._till is not None and self._flow is not None:
            await self._till.pay(self._flow, count)


@dataclass(slots=True, eq=False)
class _Payment:
    flow: Flow
    count: int
    paid: asyncio.Future[None]


class _Till:
    """Where streams queue up to pay, one at a time."""

    def __init__(self, bytes_per_second: float) -> None:
        self.fairness = Fairness()
        self._bucket = Bucket(bytes_per_second)
        self._queue: list[_Payment] = []
        self._paying: _Payment | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._returning: Flow | None = None

    async def pay(self, flow: Flow, count: int) -> None:
        payment = _Payment(flow, count, asyncio.get_running_loop().create_future())
        self.fairness.want(flow)
        self._queue.append(payment)
        if self._returning is flow:
            self._stop_waiting()
        self._serve()
        try:
            await payment.paid
        except asyncio.CancelledError:
            self._withdraw(payment)
            raise

    def leave(self, flow: Flow) -> None:
        self.fairness.close(flow)
        if self._returning is flow:
            self._stop_waiting()
            self._serve()

    def _serve(self) -> None:
        while self._queue and self._paying is None and self._returning is None:
            flow = self.fairness.next_of(payment.flow for payment in self._queue)
            payment = next(payment for payment in self._queue if payment.flow is flow)
            self._queue.remove(payment)
            self.fairness.took(flow, payment.count)
            self._paying = payment
            seconds = self._bucket.take(payment.count, asyncio.get_running_loop().time())
            if seconds > 0:
                self._timer = asyncio.get_running_loop().call_later(seconds, self._finish)
            else:
                self._conclude()

    def _finish(self) -> None:
        self._conclude()
        self._serve()

    def _conclude(self) -> None:
        """The one who has paid will be back soon for more: others are not preferred for having been
        quicker to ask, as long as there is time."""
        payment, self._paying, self._timer = self._paying, None, None
        assert payment is not None, "somebody pays"
        if not payment.paid.done():
            payment.paid.set_result(None)
        now = asyncio.get_running_loop().time()
        if self.fairness.flow_count > 1 and not self._bucket.is_behind(now):
            self._returning = payment.flow
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(RETURN_SECONDS, self._stop_waiting_and_serve)

    def _stop_waiting(self) -> None:
        self._returning = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _stop_waiting_and_serve(self) -> None:
        self._stop_waiting()
        self._serve()

    def _withdraw(self, payment: _Payment) -> None:
        if payment is self._paying:
            if self._timer is not None:
                self._timer.cancel()
            self._paying = self._timer = None
            self._bucket.give_back(payment.count)
            self._serve()
        elif payment in self._queue:
            self._queue.remove(payment)
