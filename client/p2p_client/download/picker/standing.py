"""What is known of one source and of one stream from it: data, and what follows from it alone."""

from enum import Enum
from typing import NewType

from p2p_client.download.picker.pieces import Pieces
from p2p_client.models import PeerId
from p2p_client.records import dataclass

StreamId = NewType("StreamId", int)

MOST_STRIKES = 4
QUEUE_SECONDS = 10.0
"""Who let us wait within this time may do so again."""
SLOWNESS = 4.0
"""A stream this many times slower than an idle source makes room for it."""


class Failure(Enum):
    """Why a stream ended early, by remedy."""

    MISBEHAVED = "misbehaved"  # never again
    UNAVAILABLE = "unavailable"  # others first, later again, a few times
    STALLED = "stalled"  # the same, but fewer times: each one costs the whole idle timeout
    STALE = "stale"  # not before it was located again
    LACKING = "lacking"  # it does not have what it said; as UNAVAILABLE, and not for these pieces


@dataclass(slots=True)
class Standing:
    """One source."""

    is_whole: bool = True
    claims: Pieces = 0  # which pieces it says that it has; of no meaning for a whole source
    counted: Pieces = 0  # which of them count in the rarity of pieces
    strikes: int = 0
    retry_at: float = 0.0
    is_banned: bool = False
    is_stale: bool = False
    is_spent: bool = False  # had all its chances since it last gave a piece
    waited_in_vain: bool = False  # it let us wait, and never served
    rate: float | None = None  # pieces a second, of its last streams
    streams: int = 0
    queued_at: float = float("-inf")  # when it last let us wait for a slot

    def is_usable(self) -> bool:
        return not (self.is_banned or self.is_stale) and self.strikes < MOST_STRIKES

    def struck(self, strikes: int) -> None:
        self.strikes += strikes
        self.is_spent = self.is_spent or self.strikes >= MOST_STRIKES

    def has_verified(self) -> None:
        """A piece from it was right."""
        self.strikes = 0
        self.is_spent = self.waited_in_vain = False

    def may_let_wait(self, now: float) -> bool:
        return now - self.queued_at < QUEUE_SECONDS

    def is_reliable(self, now: float) -> bool:
        """Whether it gives what it says that it has, as far as is known: others are not asked for
        that meanwhile, so one that only says so would keep it from us for ever."""
        return self.strikes == 0 and not self.may_let_wait(now)

    def can_give(self, piece: int) -> bool:
        return self.is_whole or bool(self.claims >> piece & 1)

    def has_given(self, rate: float, *, verified: bool) -> None:
        """A stream from it ended; one that verified nothing tells only that it is slow."""
        if not self.rate:
            self.rate = rate
        elif verified:
            self.rate = (self.rate + rate) / 2


@dataclass(slots=True)
class Stream:
    """One stream that is open."""

    source: PeerId
    stop: int  # first piece that is not its any more; may shrink
    next_verified: int  # all before it, from its start on, are verified
    begun: int  # first piece of which nothing has come yet
    opened_at: float
    heard_at: float
    verified_at: float
    verified_count: int = 0
    is_long: bool = False  # opened when nobody else was there to give or to want pieces
    is_cut: bool = False  # asked for more than is wanted by now
    is_abandoned: bool = False
    is_queued: bool = False  # waits for an upload slot of the source

    @property
    def has_given_bytes(self) -> bool:
        return bool(self.verified_count) or self.begun > self.next_verified

    @property
    def first_untouched(self) -> int:
        return max(self.begun, self.next_verified)

    @property
    def is_past_its_cut(self) -> bool:
        return self.is_cut and self.next_verified >= self.stop and not self.is_abandoned

    def begin_again(self, now: float) -> None:
        """It was queued and is served now: what it is worth shows from here on."""
        self.is_queued = False
        self.opened_at = self.verified_at = now
        self.verified_count = 0

    def left_to_steal(self) -> int:
        """How many pieces at its end are neither begun nor the one it is in."""
        return self.stop - max(self.begun, self.next_verified + 1)

    def cut(self, stop: int) -> None:
        """Ends there; not before what was begun, and never later than it does anyway."""
        if stop < self.stop:
            self.stop, self.is_cut = stop, True

    def rate(self, now: float) -> float:
        """Pieces a second over its whole life; falls while nothing comes."""
        return self.verified_count / max(now - self.opened_at, 1e-3)

    def is_stuck(self, now: float, patience: float, hoped_rate: float | None) -> bool:
        """Silent for too long, or in one piece for much longer than another source would be."""
        if now - self.heard_at >= patience:
            return True
        in_piece = now - self.verified_at
        return bool(hoped_rate) and in_piece >= max(patience, SLOWNESS / (hoped_rate or 1))
