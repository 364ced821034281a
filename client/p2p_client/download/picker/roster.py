"""The sources of one download: whom to ask next, and for which pieces. Pure.

Which pieces are free is told by the plan; what is open, too. `now` is monotonic seconds.
"""

from p2p_client.download.picker.pieces import Pieces, span, stripes, without
from p2p_client.download.picker.rarity import Rarity
from p2p_client.download.picker.spans import block_length
from p2p_client.download.picker.standing import MOST_STRIKES, Failure, Standing
from p2p_client.models import PeerId

FIRST_BACKOFF_SECONDS = 0.25
LONGEST_BACKOFF_SECONDS = 4.0
LEAVE_SECONDS = 1.0
"""What partial sources will have given within this time is not asked of a whole one."""


class Roster:
    """Every source that was ever offered, and how rare pieces are among the partial ones.

    Args:
        piece_count: of the content.
        me: under which name others know us, if they fetch from us.
    """

    def __init__(self, piece_count: int, me: PeerId | None) -> None:
        self._known: dict[PeerId, Standing] = {}
        self._rarity = Rarity()
        self._piece_count = piece_count
        self._me = me
        self._share = span(0, piece_count)
        self._share_of: tuple[int, int] = 0, 1

    def __getitem__(self, source: PeerId) -> Standing:
        return self._known[source]

    # -- what is told of them

    def offer(self, source: PeerId, *, is_whole: bool) -> None:
        standing = self._known.setdefault(source, Standing())
        standing.is_whole = is_whole
        standing.is_stale = False
        standing.retry_at = 0.0
        standing.strikes = min(standing.strikes, MOST_STRIKES - 1)
        self._recount(standing)

    def learned(self, source: PeerId, pieces: Pieces) -> None:
        standing = self._known[source]
        standing.claims |= pieces
        self._recount(standing)

    def forget(self, source: PeerId) -> None:
        standing = self._known[source]
        standing.claims = 0
        self._recount(standing)

    def ban(self, source: PeerId) -> None:
        standing = self._known.setdefault(source, Standing())
        standing.is_banned = True
        self._recount(standing)

    def strike(self, source: PeerId, failure: Failure, left: Pieces, now: float) -> None:
        """A stream from the source failed with these pieces left to fetch."""
        standing = self._known[source]
        match failure:
            case Failure.MISBEHAVED:
                standing.is_banned = True
            case Failure.STALE:
                standing.is_stale = True
                standing.struck(1)
            case Failure.UNAVAILABLE | Failure.STALLED | Failure.LACKING:
                wait = min(FIRST_BACKOFF_SECONDS * 2**standing.strikes, LONGEST_BACKOFF_SECONDS)
                standing.struck(2 if failure is Failure.STALLED else 1)
                standing.retry_at = now + wait
        if failure is Failure.LACKING:
            standing.claims = without(standing.claims, left)
        self._recount(standing)

    # -- what is asked

    @property
    def is_swarm(self) -> bool:
        return any(not one.is_whole and one.is_usable() for one in self._known.values())

    def usable(self) -> list[Standing]:
        return [one for one in self._known.values() if one.is_usable()]

    def best_rate(self) -> float:
        return max((one.rate or 0.0 for one in self._known.values()), default=0.0)

    def ready(self, now: float, *, is_swarm: bool) -> list[tuple[PeerId, Standing]]:
        """Those without a stream that may be asked: first the ones that have chances left; that did
        not fail; that did not let us wait; in a swarm the whole ones; the ones never tried; the
        fastest."""
        return sorted(
            (
                (peer_id, one)
                for peer_id, one in self._known.items()
                if one.streams == 0 and one.retry_at <= now and one.is_usable()
            ),
            key=lambda item: (
                item[1].is_spent,
                item[1].strikes,
                item[1].may_let_wait(now),
                is_swarm and not item[1].is_whole,
                -1e9 if item[1].rate is None else -item[1].rate,
                item[0],
            ),
        )

    def rarest(self, pieces: Pieces) -> Pieces:
        return self._rarity.rarest(pieces)

    def pool_of(self, standing: Standing, free: Pieces, now: float) -> Pieces:
        """Which free pieces a source may be asked for in a swarm: a whole one for those that nobody
        else has, first of all for our share of them, as long as the others will soon have given
        the rest."""
        if not standing.is_whole:
            return free & standing.counted
        alone = without(free, self._rarity.held)
        if alone:
            return alone & self._our_share() or alone
        return 0 if self._partials_suffice(free, now) else free

    def _our_share(self) -> Pieces:
        """What we should get for all: everybody who downloads and shares gets another part, by the
        order of their names. Who sees another swarm may get the same, which costs little."""
        if self._me is None:
            return self._share
        everything = span(0, self._piece_count)
        names = [
            name
            for name, one in self._known.items()
            if not one.is_whole and one.is_usable() and one.claims != everything
        ]
        place = sum(name < self._me for name in names), len(names) + 1
        if place != self._share_of:
            block = block_length(self._piece_count, place[1])
            self._share, self._share_of = stripes(block, *place, self._piece_count), place
        return self._share

    def _partials_suffice(self, free: Pieces, now: float) -> bool:
        givers = [one for one in self.usable() if free & one.counted and one.is_reliable(now)]
        known = [one.rate for one in givers if one.rate]
        guessed = sum(known) / len(known) if known else 0.0
        rate = sum(guessed if one.rate is None else one.rate for one in givers)
        return free.bit_count() <= rate * LEAVE_SECONDS

    def _recount(self, standing: Standing) -> None:
        """What a source claims makes pieces less rare only as long as it may be asked."""
        counts = standing.is_usable() and not standing.is_whole
        counted = standing.claims if counts else 0
        if gone := without(standing.counted, counted):
            self._rarity.remove(gone)
        if new := without(counted, standing.counted):
            self._rarity.add(new)
        standing.counted = counted
