"""Watch: what is there, then what changes, as pages with the place to resume at.

A watch asks the store what there is only after it has its place in the log, and is told what stands
in the log after that: so nothing falls between the two, and some things are told twice.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from p2p_server.directory.errors import ResumeTokenInvalid, WatchTooSlow
from p2p_server.directory.models import Criteria, PeerId, PeerRow, SortKey
from p2p_server.directory.page_tokens import PageTokens, Place, words_of
from p2p_server.directory.presence.registration import Clock
from p2p_server.directory.presence.roster import Live
from p2p_server.directory.watching.feed import Feed
from p2p_server.directory.watching.log import (
    CAUGHT_UP,
    SLICE,
    STARTED_ANEW,
    Happening,
    Kind,
    Watched,
)
from p2p_server.directory.watching.watcher import Watcher
from p2p_server.store.base import Store

SILENT_SECONDS: Final = 25.0  # the contract promises a response every 30

_PEERS, _RESOURCES, _LIVE = "peers", "resources", ""


@dataclass(frozen=True, slots=True)
class WatchRequest:
    """What is asked of Watch; the criteria are checked, the token is not."""

    criteria: Criteria
    only_new: bool
    with_peers: bool
    resume_token: str


@dataclass(frozen=True, slots=True)
class WatchPage:
    events: Sequence[Happening]
    resume_token: str

    @property
    def peers(self) -> Mapping[PeerId, PeerRow]:
        """Those in the events, as the last of them knew each."""
        return {event.peer.peer_id: event.peer for event in self.events if event.peer is not None}


class Watches:
    def __init__(self, store: Store, feed: Feed, tokens: PageTokens, clock: Clock) -> None:
        self._store = store
        self._feed = feed
        self._tokens = tokens
        self._clock = clock

    async def watch(self, live: Live, request: WatchRequest) -> AsyncGenerator[WatchPage, None]:
        """Goes on until it is closed. Raises what DirectoryService.Watch documents."""
        watched = Watched(request.criteria, request.with_peers)
        scope = [words_of(request.criteria), request.only_new, request.with_peers]
        place = self._tokens.watch_after(scope, request.resume_token)
        session = live.session
        user = session.user.casefold()
        with self._feed.watching(watched, user, session.token_hash) as watcher:
            await self._feed.follow()
            watch = _Watch(self._store, self._feed, self._tokens, self._clock, watcher, scope)
            async for page in watch.pages(place, only_new=request.only_new):
                yield page


@dataclass(slots=True)
class _Watch:
    """One watch on its way."""

    store: Store
    feed: Feed
    tokens: PageTokens
    clock: Clock
    watcher: Watcher
    scope: object

    async def pages(self, place: Place | None, *, only_new: bool) -> AsyncIterator[WatchPage]:
        first = _LIVE if only_new else self._first_stage
        if place is not None and not self.feed.put_back(self.watcher, place.log, place.number):
            place = None
            yield self._page([STARTED_ANEW], first)
        while True:
            if place is None:
                self.watcher.put(self.feed.log)
                place = Place("", 0, first)
                if only_new:
                    yield self._page([CAUGHT_UP])
            async for page in self._from(place):
                yield page
            place = None
            yield self._page([STARTED_ANEW], first)

    @property
    def _first_stage(self) -> str:
        return _PEERS if self.watcher.watched.with_peers else _RESOURCES

    async def _from(self, place: Place) -> AsyncIterator[WatchPage]:
        """All from a place on; ends when events were lost."""
        stage, key = place.stage, place.key
        if stage == _PEERS:
            async for page in self._peers(key):
                yield page
            stage, key = _RESOURCES, ()
        if stage == _RESOURCES:
            async for page in self._resources(key):
                yield page
            yield self._page([CAUGHT_UP])
        elif key != ():
            raise ResumeTokenInvalid
        async for page in self._changes(is_told=stage == _RESOURCES):
            yield page

    async def _peers(self, key: tuple[str | int, ...]) -> AsyncIterator[WatchPage]:
        after = _peer_key(key)
        owner = self.watcher.watched.criteria.owner
        while rows := await self.store.peers(owner, after, SLICE):
            after = (rows[-1].user.casefold(), rows[-1].peer_id)
            events = [Happening(Kind.PEER_CAME, row) for row in rows]
            yield self._page(events, _PEERS, after)
            if len(rows) < SLICE:
                return

    async def _resources(self, key: tuple[str | int, ...]) -> AsyncIterator[WatchPage]:
        after = _sort_key(key)
        criteria = self.watcher.watched.criteria
        while (found := await self.store.query(criteria, after, SLICE)).rows:
            after = found.rows[-1].sort_key
            events = [
                Happening(Kind.APPEARED, found.peers[row.peer_id], row.resource)
                for row in found.rows
            ]
            yield self._page(events, _RESOURCES, (after.value, after.folded_path, after.row))
            if len(found.rows) < SLICE:
                return

    async def _changes(self, *, is_told: bool) -> AsyncIterator[WatchPage]:
        """What stands in the log, as it comes; ends when the log was begun anew.

        One who resumes hears at once that all is well (`is_told`: was told something just now).
        """
        while True:
            if self.watcher.ended is not None:
                raise self.watcher.ended
            if self.watcher.log is not self.feed.log:
                return
            if self.watcher.is_behind:
                raise WatchTooSlow
            events = self.watcher.read(self.clock.monotonic())
            if events or not is_told:
                yield self._page(events)
            is_told = True
            if not self.watcher.has_news:
                is_told = await self.watcher.signal.wait(SILENT_SECONDS)

    def _page(
        self, events: Sequence[Happening], stage: str = _LIVE, key: tuple[str | int, ...] = ()
    ) -> WatchPage:
        """Checks first that the watch may go on: listing may take long."""
        if self.watcher.ended is not None:
            raise self.watcher.ended
        place = Place(self.watcher.log.identity, self.watcher.place, stage, key)
        return WatchPage(events, self.tokens.for_watch(self.scope, place))


def _peer_key(key: tuple[str | int, ...]) -> tuple[str, PeerId] | None:
    match key:
        case ():
            return None
        case (str() as user, str() as peer_id):
            return user, PeerId(peer_id)
    raise ResumeTokenInvalid


def _sort_key(key: tuple[str | int, ...]) -> SortKey | None:
    match key:
        case ():
            return None
        case (str() | int() as value, str() as folded_path, int() as row):
            return SortKey(value, folded_path, row)
    raise ResumeTokenInvalid
