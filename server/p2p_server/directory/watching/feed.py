"""From changes that the store tells to the log that watchers read.

Owns who watches what, and the pace: changes are held against all watched criteria together, once,
in slices, so that others get their turn between them. Nothing is done while nobody watches, or has
lately.
"""

from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from p2p_server.directory.errors import DirectoryError, StoreUnavailable, TooManyWatchers
from p2p_server.directory.models import Criteria, Limits, PeerRow, Resource
from p2p_server.directory.presence.registration import Clock
from p2p_server.directory.query import fold
from p2p_server.directory.watching.changes import (
    CatalogChanged,
    CatalogFilled,
    Change,
    Lost,
    PeerCame,
    PeerLeft,
)
from p2p_server.directory.watching.log import (
    SLICE,
    ChangeLog,
    Happening,
    Kind,
    Watched,
)
from p2p_server.directory.watching.matching import Topics
from p2p_server.directory.watching.watcher import Signal, Watcher
from p2p_server.store.base import Store

RESUME_SECONDS: Final = 300.0  # so long are events kept for a watcher that was cut
MOST_LINGERING: Final = 1_000  # criteria that nobody watches any more, kept for a resume
MOST_UNTOLD: Final = 50_000  # changes waiting: beyond, all watchers start anew
PATIENCE_SECONDS: Final = 2.0  # so long is a slice held back for watchers that are reading
PACE_SECONDS: Final = 0.02
IDLE_SECONDS: Final = 60.0


@dataclass(slots=True)
class _Topic:
    since: int  # number in the log from which on it has all that matches
    watchers: set[Watcher]
    left_at: float = 0.0  # when its last watcher did


@dataclass(slots=True)
class Counts:
    """For those who operate the directory."""

    told: int = 0  # events appended to the log
    lost: int = 0  # times that all watchers had to start anew


class Feed:
    def __init__(
        self,
        store: Store,
        clock: Clock,
        limits: Limits,
        *,
        new_identity: Callable[[], str],
        new_signal: Callable[[], Signal],
        pause: Callable[[float], Awaitable[None]],
    ) -> None:
        self.counts = Counts()
        self._store = store
        self._clock = clock
        self._limits = limits
        self._new_identity = new_identity
        self._new_signal = new_signal
        self._pause = pause
        self.log = ChangeLog(new_identity())
        self._matching = Topics()
        self._topics: dict[Criteria, _Topic] = {}
        self._watchers: set[Watcher] = set()
        self._watchers_of: Counter[str] = Counter()
        self._is_followed = False
        self._untold: deque[Change] = deque()
        self._untold_size = 0
        self._work = new_signal()
        self._end: DirectoryError | None = None

    def __len__(self) -> int:
        return len(self._watchers)

    # --- watchers ------------------------------------------------------------------------------

    @contextmanager
    def watching(self, watched: Watched, user: str, token_hash: bytes) -> Iterator[Watcher]:
        """A watcher, from now on. Raises TooManyWatchers, and what `end` was given."""
        if self._end is not None:
            raise self._end
        if len(self._watchers) >= self._limits.max_watchers:
            raise TooManyWatchers(self._limits.max_watchers, "the directory")
        if self._watchers_of[user] >= self._limits.max_watchers_per_user:
            raise TooManyWatchers(self._limits.max_watchers_per_user, "the user")
        now = self._clock.monotonic()
        number = self.log.next_number
        watcher = Watcher(watched, user, token_hash, self._new_signal(), self.log, number, now)
        self._watchers.add(watcher)
        self._watchers_of[user] += 1
        self._topic(watched.criteria).watchers.add(watcher)
        try:
            yield watcher
        finally:
            self._watchers.discard(watcher)
            self._watchers_of[user] -= 1
            if not self._watchers_of[user]:
                del self._watchers_of[user]
            self._leave_topic(watcher)

    def _topic(self, criteria: Criteria) -> _Topic:
        topic = self._topics.get(criteria)
        if topic is None:
            topic = self._topics[criteria] = _Topic(self.log.skip(), set())
            self._matching.add(criteria)
        return topic

    def _leave_topic(self, watcher: Watcher) -> None:
        criteria = watcher.watched.criteria
        topic = self._topics[criteria]
        topic.watchers.discard(watcher)
        if not topic.watchers:
            topic.left_at = self._clock.monotonic()
            self._topics[criteria] = self._topics.pop(criteria)  # the last to be forgotten

    async def follow(self) -> None:
        """Returns when the store tells its changes: then is the time to ask it what there is."""
        if not self._is_followed:
            await self._store.follow(self.take)
            self._is_followed = True

    def put_back(self, watcher: Watcher, identity: str, number: int) -> bool:
        """Puts a watcher where it was before a cut; False: from there it would miss something."""
        topic = self._topics[watcher.watched.criteria]
        is_held = max(self.log.oldest, topic.since) <= number <= self.log.next_number
        if self.log.identity != identity or not is_held:
            return False
        watcher.put(self.log, number)
        return True

    def end(self, error: DirectoryError) -> None:
        """Ends all watches, and every later one at once."""
        self._end = error
        for watcher in self._watchers:
            watcher.ended = error
            watcher.signal.set()

    def end_session(self, token_hash: bytes, error: DirectoryError) -> None:
        for watcher in self._watchers:
            if watcher.token_hash == token_hash:
                watcher.ended = error
                watcher.signal.set()

    async def sweep(self) -> None:
        """Forgets what nobody has watched for a while. To be called now and then."""
        now = self._clock.monotonic()
        left = [c for c, topic in self._topics.items() if not topic.watchers]
        for place, criteria in enumerate(left):
            is_old = now - self._topics[criteria].left_at > RESUME_SECONDS
            if is_old or len(left) - place > MOST_LINGERING:
                del self._topics[criteria]
                self._matching.discard(criteria)
        if not self._topics and self._is_followed:
            self._is_followed = False
            self._restart()
            await self._store.follow(None)

    # --- changes -------------------------------------------------------------------------------

    def take(self, change: Change) -> None:
        """What the store tells, in the order of its commits."""
        if not self._topics:
            return
        if isinstance(change, Lost):
            self.lose()
            return
        self._untold.append(change)
        self._untold_size += change.size if isinstance(change, CatalogChanged) else 1
        if self._untold_size > MOST_UNTOLD:
            self.lose()
        self._work.set()

    def lose(self) -> None:
        """Something changed that cannot be told: all watchers start anew."""
        self.counts.lost += 1
        self._restart()

    def _restart(self) -> None:
        self._untold.clear()
        self._untold_size = 0
        self.log = ChangeLog(self._new_identity())
        for topic in self._topics.values():
            topic.since = self.log.next_number
        for watcher in self._watchers:
            watcher.signal.set()

    async def run(self) -> None:
        """Tells what was taken, for ever."""
        while True:
            await self._work.wait(IDLE_SECONDS)
            while self._untold:
                change = self._untold.popleft()
                self._untold_size -= change.size if isinstance(change, CatalogChanged) else 1
                try:
                    await self._tell(change)
                except StoreUnavailable:
                    self.lose()

    async def _tell(self, change: Change) -> None:
        match change:
            case CatalogChanged(peer):
                await self._tell_changed(change, fold(peer.user))
            case CatalogFilled(peer):
                await self._tell_all(peer, Kind.APPEARED)
            case PeerCame(peer):
                self._append_peer(Happening(Kind.PEER_CAME, peer))
                await self._tell_all(peer, Kind.APPEARED)
            case PeerLeft(peer):
                await self._tell_all(peer, Kind.GONE)
                self._append_peer(Happening(Kind.PEER_LEFT, peer))

    async def _tell_all(self, peer: PeerRow, kind: Kind) -> None:
        """The whole catalog, as far as somebody watches for such."""
        if not self._matching.concern(fold(peer.user)):
            return
        log, after = self.log, ""
        while True:
            page = await self._store.catalog_of(peer.peer_id, after, SLICE)
            if self.log is not log:
                return  # all start anew
            self._append(peer, [(kind, None, resource) for resource in page])
            if len(page) < SLICE:
                return
            after = page[-1].path
            await self._keep_pace()

    async def _tell_changed(self, change: CatalogChanged, folded_owner: str) -> None:
        if not self._matching.concern(folded_owner):
            return
        steps: list[_Step] = [
            *((Kind.GONE, None, resource) for resource in change.gone),
            *((Kind.CHANGED, before, after) for before, after in change.changed),
            *((Kind.APPEARED, None, resource) for resource in change.appeared),
        ]
        log = self.log
        for at in range(0, len(steps), SLICE):
            if at:
                await self._keep_pace()
            if self.log is not log:
                return
            self._append(change.peer, steps[at : at + SLICE])

    def _append(self, peer: PeerRow, steps: "Sequence[_Step]") -> None:
        owner = fold(peer.user)
        hits: dict[Criteria, list[Happening]] = {}
        count = 0
        for kind, before, after in steps:
            now = self._matching.fulfilled(after, fold(after.path), owner)
            earlier = now
            if before is not None:
                earlier = self._matching.fulfilled(before, fold(before.path), owner)
            for criteria, happening in _happenings(peer, kind, before, after, earlier, now):
                hits.setdefault(criteria, []).append(happening)
                count += 1
        if hits:
            number = self.log.append(hits, min(count, 2 * len(steps)))
            self.counts.told += count
            for criteria in hits:
                for watcher in self._topics[criteria].watchers:
                    watcher.note(number)

    def _append_peer(self, happening: Happening) -> None:
        assert happening.peer is not None
        number = self.log.append_peer(happening)
        self.counts.told += 1
        owner = fold(happening.peer.user)
        for watcher in self._watchers:
            if watcher.watched.with_peers and watcher.watched.has_owner(owner):
                watcher.note(number)

    async def _keep_pace(self) -> None:
        """Lets others work, and waits for watchers that read but lag, as long as patience lasts.

        One that takes nothing is not waited for: it will find out that it was too slow.
        """
        await self._pause(0)
        waited = 0.0
        while waited < PATIENCE_SECONDS and self._somebody_lags():
            await self._pause(PACE_SECONDS)
            waited += PACE_SECONDS

    def _somebody_lags(self) -> bool:
        since = self._clock.monotonic() - PATIENCE_SECONDS
        return any(w.lags and w.took_at > since for w in self._watchers if w.log is self.log)


_Step = tuple[Kind, Resource | None, Resource]


def _happenings(
    peer: PeerRow,
    kind: Kind,
    before: Resource | None,
    after: Resource,
    earlier: set[Criteria],
    now: set[Criteria],
) -> Iterator[tuple[Criteria, Happening]]:
    """What one step is to those who watch: a change may bring a resource in, or out of sight."""
    if now & earlier:
        same = Happening(kind, peer, after)
        yield from ((criteria, same) for criteria in now & earlier)
    if before is not None:
        came, went = Happening(Kind.APPEARED, peer, after), Happening(Kind.GONE, peer, before)
        yield from ((criteria, came) for criteria in now - earlier)
        yield from ((criteria, went) for criteria in earlier - now)
