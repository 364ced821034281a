"""Slots for the event loop: calls wait for one, are told their place, and lose it by idling.

Who is next is decided in `queue.py`, how many run in `width.py`; the rate is `transfer/pace.py`'s.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from p2p_client.transfer.pace import LARGEST_CHUNK_BYTES, Pace, Share
from p2p_client.upload.refusals import ShuttingDown, SourceRefusal, StreamIdle, TooManyStreams
from p2p_client.upload.slots.counts import Wish
from p2p_client.upload.slots.queue import Call, Place, SlotQueue
from p2p_client.upload.slots.width import Width

Tell = Callable[[Place], Awaitable[None]]

TICK_SECONDS = 0.25
"""Changes of place within this time are told together."""
TELL_SECONDS = 4.0
"""The longest silence towards one who waits; the contract allows 5 s."""
PLACES_SECONDS = 1.0
"""How old the word of a wait may be: working all of them out costs some milliseconds."""
MOST_READING_AHEAD = 8
HURRIED_SECONDS = 5.0
"""The idle timeout where others wait for the slot."""

CHUNK_BYTES_OF_MANY = 512 << 10
"""A stream holds its chunk two to three times, here and in gRPC, while the network takes it."""


class Turn:
    """A slot as its stream has it: everything is sent through `sending`."""

    def __init__(self, slots: "Slots", call: Call, tell: Tell | None, share: Share) -> None:
        self.call = call
        self.changed = asyncio.Event()  # there is news for one who waits
        self.told: Place | None = None
        self.refusal: SourceRefusal | None = None  # why it waits no longer
        self._slots = slots
        self._tell = tell
        self._share = share
        self._idle: asyncio.Timeout | None = None
        self._idle_since = 0.0

    @property
    def may_read_ahead(self) -> bool:
        """With many streams the disk works for one while the network takes from another, and a
        chunk more of each would be a lot of memory."""
        return self._slots.taken_count <= MOST_READING_AHEAD

    @property
    def chunk_bytes(self) -> int:
        """The largest message that keeps the rate even, and memory small where many run."""
        most = LARGEST_CHUNK_BYTES if self.may_read_ahead else CHUNK_BYTES_OF_MANY
        return min(self._slots.chunk_bytes, most)

    @asynccontextmanager
    async def sending(self, size_bytes: int) -> AsyncIterator[None]:
        """Around the sending of one message: waits until the rate allows it, and for another turn
        where this one is over; then bounds the time that the reader may take.

        Raises:
            StreamIdle: the message was not taken within the idle timeout.
            TooManyStreams: the turn is over, others wait, and this call cannot.
        """
        if self._slots.is_over(self.call):
            await self._slots.pass_on(self)
        await self._share.keep(size_bytes)
        async with self.not_idle():
            yield
        self._slots.sent(self.call, size_bytes)

    @asynccontextmanager
    async def not_idle(self) -> AsyncIterator[None]:
        """Bounds what depends on the reader. Raises StreamIdle."""
        loop = asyncio.get_running_loop()
        self._idle_since = loop.time()
        try:
            async with asyncio.timeout(self._slots.idle_seconds) as self._idle:
                yield
        except TimeoutError:
            raise StreamIdle(round(loop.time() - self._idle_since, 1)) from None
        finally:
            self._idle = None

    def hurry(self) -> None:
        """Others wait for the slot now: the reader's time is shorter."""
        if self._idle is not None and not self._idle.expired():
            now = asyncio.get_running_loop().time()
            self._idle.reschedule(max(now, self._idle_since + self._slots.idle_seconds))

    async def wait(self) -> None:
        """Until there is a slot; the reader is told its place meanwhile."""
        assert self._tell is not None, "only calls that can wait do"
        told_at = 0.0
        self.told = None
        while self.call.started_at is None:
            if self.refusal is not None:
                raise self.refusal
            place, now = self._slots.place(self.call), time.monotonic()
            if self.told is None or place.position != self.told.position or now >= told_at:
                self.told, told_at = place, now + TELL_SECONDS
                async with self.not_idle():
                    await self._tell(place)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TELL_SECONDS):
                    await self.changed.wait()
            self.changed.clear()


class Slots:
    """
    Args:
        most: streams at once. With a limit on the rate fewer of them run, see `width.py`.
        pace: the rate that all of them keep to.
        idle_timeout_seconds: a reader that takes nothing for so long loses its slot.
        on_idle: told when no stream runs any longer.
    """

    def __init__(
        self,
        most: int,
        *,
        pace: Pace,
        idle_timeout_seconds: float,
        on_idle: Callable[[], None],
    ) -> None:
        self._pace = pace
        self._idle_timeout_seconds = idle_timeout_seconds
        self._on_idle = on_idle
        self._width = Width(most, pace.bytes_per_second)
        self._queue = SlotQueue(self._width.streams)
        self._turns: dict[Call, Turn] = {}
        self.chunk_bytes = pace.chunk_bytes
        self._places: dict[Call, Place] = {}  # of all that wait; empty: to be worked out
        self._placed_at = 0.0
        self._tick: asyncio.TimerHandle | None = None

    @property
    def taken_count(self) -> int:
        return self._queue.running_count

    @property
    def waiting_count(self) -> int:
        return len(self._queue.waiting)

    @property
    def idle_seconds(self) -> float:
        if self._queue.is_contended:
            return min(HURRIED_SECONDS, self._idle_timeout_seconds)
        return self._idle_timeout_seconds

    @asynccontextmanager
    async def taken(
        self, user: str, wish: Wish | None = None, tell: Tell | None = None
    ) -> AsyncIterator[Turn]:
        """Holds a slot for as long as the context lasts.

        Args:
            tell: sends one who waits its place; None: it does not wait.
        Raises:
            TooManyStreams: there is no slot, nor room to wait for one.
            StreamIdle: it does not even take the word of its place.
            ShuttingDown: the source stops while it waits.
        """
        call = Call(user, wish, can_wait=tell is not None)
        with self._pace.share(user) as share:
            turn = Turn(self, call, tell, share)
            displaced = self._queue.ask(call, time.monotonic())
            self._turns[call] = turn
            try:
                if displaced is not None:
                    self._refuse(displaced, TooManyStreams(self._queue.most_waiting))
                self._changed()
                if call.started_at is None:
                    await turn.wait()
                yield turn
            finally:
                del self._turns[call]
                self._queue.leave(call)
                self._changed()
                if not self._queue.running_count:
                    self._on_idle()

    def close(self) -> None:
        """Nobody waits any longer; who has a slot keeps it."""
        for call in self._queue.waiting:
            self._queue.leave(call)
            self._refuse(call, ShuttingDown())

    # -- for turns

    def sent(self, call: Call, size_bytes: int) -> None:
        self._queue.sent(call, size_bytes, time.monotonic())
        self._width.sent(size_bytes)

    def is_over(self, call: Call) -> bool:
        """Whether others wait for the slot and this call has had it for long enough."""
        return self._queue.is_turn_over(call, time.monotonic())

    async def pass_on(self, turn: Turn) -> None:
        """Lets others go on, and returns when it is this one's turn again."""
        if not turn.call.can_wait:
            raise TooManyStreams(self._queue.width)
        self._queue.rejoin(turn.call, time.monotonic())
        self._changed()
        if turn.call.started_at is None:
            await turn.wait()

    def place(self, call: Call) -> Place:
        now = time.monotonic()
        if not self._places or now - self._placed_at >= PLACES_SECONDS:
            self._places, self._placed_at = self._queue.places(now), now
        return self._places[call]

    # -- within

    def _refuse(self, call: Call, refusal: SourceRefusal) -> None:
        turn = self._turns[call]
        turn.refusal = refusal
        turn.changed.set()

    def _changed(self) -> None:
        """Gives free slots away, and hurries who idles on one that others wait for."""
        self._places = {}
        self._admit()
        if self._queue.is_contended:
            for turn in self._turns.values():
                turn.hurry()
        if self._queue.waiting and self._tick is None:
            self._tick = asyncio.get_running_loop().call_later(TICK_SECONDS, self._look)

    def _admit(self) -> None:
        now = time.monotonic()
        self._width.look(self._queue.is_contended, now)
        self._queue.width = self._width.streams
        for call in self._queue.admit(now):
            self._places = {}
            self._turns[call].changed.set()

    def _look(self) -> None:
        """As long as calls wait: whether more may run, and who has another place than it knows."""
        self._tick = None
        self._admit()
        for call in self._queue.waiting:
            turn = self._turns[call]
            if turn.told is None or self.place(call).position != turn.told.position:
                turn.changed.set()
        if self._queue.waiting:
            self._tick = asyncio.get_running_loop().call_later(TICK_SECONDS, self._look)
