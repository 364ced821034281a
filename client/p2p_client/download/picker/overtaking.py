"""Which open streams are behind, as seen by a source that has nothing else to do. Pure.

One that is behind loses the tail of its range to it; one that is stuck in its last piece is
abandoned for it. Streams are looked at here and changed by the plan. `now` is monotonic seconds.
"""

from collections.abc import Mapping

from p2p_client.download.picker import spans
from p2p_client.download.picker.pieces import length_of_tail
from p2p_client.download.picker.standing import SLOWNESS, Standing, Stream, StreamId

STUCK_SECONDS = 2.0
"""A stream that gave nothing for this long may lose the piece it is in to an idle source. Doubled
each time that happens, so that sources that all are slow do not take pieces from each other."""
LONGEST_STUCK_SECONDS = 64.0
TAIL_WORTH_SECONDS = 0.5
"""A tail that its stream would finish within this time is left to it."""

Streams = Mapping[StreamId, Stream]


class Overtaking:
    """Of one download: how long a stream may give nothing depends on how often that was judged."""

    def __init__(self) -> None:
        self._patience = STUCK_SECONDS

    def tail_for(self, idle: Standing, streams: Streams, now: float) -> tuple[StreamId, int] | None:
        """The stream that would end last, and how many pieces at its end the idle source should
        fetch instead."""
        behind: list[tuple[float, StreamId, int]] = []
        for stream, entry in streams.items():
            left = entry.left_to_steal()
            rate = 0.0 if entry.is_queued else entry.rate(now)
            if entry.is_abandoned or left <= 0:
                continue
            if rate == 0 and not entry.is_queued and now - entry.opened_at < STUCK_SECONDS / 2:
                continue
            if rate > 0 and left / rate < TAIL_WORTH_SECONDS:
                continue
            tail = spans.tail_length(left, rate, idle.rate)
            if not idle.is_whole:
                tail = length_of_tail(idle.claims, entry.stop, tail)
            if tail:
                behind.append((-(left / rate) if rate else -1e9, stream, tail))
        return min(behind)[1:] if behind else None

    def stuck_for(self, idle: Standing, streams: Streams, now: float) -> StreamId | None:
        """A stream to abandon, for the idle source would sooner give the piece that it is in."""
        for stream, entry in streams.items():
            if (
                entry.is_abandoned
                or entry.next_verified >= entry.stop
                or not idle.can_give(entry.next_verified)
            ):
                continue
            if entry.is_queued:
                # One who may let us wait as well is no reason to give up a place.
                if not idle.may_let_wait(now):
                    return stream
            elif entry.is_stuck(now, self._patience, idle.rate):
                self._be_more_patient()
                return stream
        return None

    def room_for(
        self, idle: Standing, hoped_rate: float, streams: Streams, now: float
    ) -> tuple[list[StreamId], StreamId | None]:
        """Streams to cut to what they have begun, and one to abandon, so that the idle source, of
        which so many pieces a second are hoped for, may have the place of one."""
        slow: list[StreamId] = []
        for stream, entry in streams.items():
            if entry.is_abandoned or entry.is_queued or now - entry.opened_at < STUCK_SECONDS:
                continue
            if not idle.can_give(entry.next_verified):
                continue
            if entry.is_stuck(now, 2 * self._patience, hoped_rate):
                self._be_more_patient()
                return slow, stream
            if hoped_rate > SLOWNESS * entry.rate(now):
                slow.append(stream)
        return slow, None

    def _be_more_patient(self) -> None:
        self._patience = min(2 * self._patience, LONGEST_STUCK_SECONDS)
