"""The directory's verbs, as the wire and the tests call them.

Composes the parts: `sessions` has the verbs of being online, here are the catalog's: announce,
query, list peers, locate, watch. What they answer is in `answers.py`.
"""

from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from p2p_server.directory.answers import (
    Description,
    Paged,
    ShownEvents,
    ShownPeer,
    Source,
    Taken,
    Wish,
    paged,
)
from p2p_server.directory.checks.criteria import Asked, criteria_of, folded_owner
from p2p_server.directory.checks.items import checked_batch
from p2p_server.directory.checks.names import checked_digest
from p2p_server.directory.checks.rates import Rates
from p2p_server.directory.errors import (
    FieldInvalid,
    Overloaded,
    PeerUnlisted,
    SessionUnknown,
    ShuttingDown,
    TooLarge,
    TooManyAnnounces,
)
from p2p_server.directory.events import Announced, Event, Removed
from p2p_server.directory.models import (
    Batch,
    HoldingRow,
    Limits,
    Order,
    PeerRow,
    ResourceRow,
)
from p2p_server.directory.page_tokens import PageTokens
from p2p_server.directory.presence.leases import LeaseTerms
from p2p_server.directory.presence.reach.endpoints import shown_to
from p2p_server.directory.presence.reach.reachability import Reachability
from p2p_server.directory.presence.registration import Caller, Clock, Tell
from p2p_server.directory.presence.roster import Live, Roster, SnapshotTally
from p2p_server.directory.presence.sessions import Sessions
from p2p_server.directory.trust.admission import Admission
from p2p_server.directory.trust.challenges import Challenges
from p2p_server.directory.trust.grants import Grants
from p2p_server.directory.trust.keyring import Keyring
from p2p_server.directory.watching.feed import Feed
from p2p_server.directory.watching.watcher import Signal
from p2p_server.directory.watching.watches import Watches, WatchRequest
from p2p_server.store.base import SharedStore, Store

_LOG_IDENTITY_BYTES: Final = 8
MOST_ANNOUNCES_PER_USER: Final = 4  # at once: one user's library must not hold up the others'


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the rules are given, for they have no clock, no chance and no event loop themselves."""

    clock: Clock
    entropy: Callable[[int], bytes]
    tell: Tell
    wake_dialback: Callable[[], None]
    new_signal: Callable[[], Signal]
    pause: Callable[[float], Awaitable[None]]


class Directory:
    def __init__(
        self,
        store: Store,
        keyring: Keyring,
        around: Surroundings,
        *,
        terms: LeaseTerms,
        limits: Limits,
        shared: SharedStore | None = None,
    ) -> None:
        """
        Args:
            shared: the same store, where other instances use it too.
        """
        clock = around.clock
        self._store = store
        self._is_shared = shared is not None  # then others tell what they change
        self._clock = clock
        self._limits = limits
        self._tell = around.tell
        self._id = keyring.directory_id
        # Which challenges were used is remembered by us alone, or by the store.
        remembered_since = 0.0 if shared else clock.wall()
        challenges = Challenges(keyring.challenge_secret, around.entropy, remembered_since)
        self._admission = Admission(challenges, keyring.directory_id)
        self._grants = Grants(keyring.grant_key, keyring.directory_id)
        self._tokens = PageTokens(keyring.page_secret)
        self._announcing: Counter[str] = Counter()
        self._announces: Rates[str] = Rates(limits.max_announces_per_minute)
        self._roster = Roster(limits.max_peers_per_user, limits.max_sessions_per_address)
        self.feed = _new_feed(store, limits, around)
        self._watches = Watches(store, self.feed, self._tokens, clock)
        self._roster.on_drop(lambda token: self.feed.end_session(token, SessionUnknown()))
        self.reachability = Reachability(
            store, self._roster, clock, around.tell, around.wake_dialback
        )
        self.sessions = Sessions(
            store,
            clock,
            limits,
            terms=terms,
            admission=self._admission,
            roster=self._roster,
            reachability=self.reachability,
            entropy=around.entropy,
            tell=self._tell_session,
            shared=shared,
        )
        self.grant_key_der = self._grants.verification_key_der

    def close(self) -> None:
        """Ends the watches: the directory is stopping."""
        self.feed.end(ShuttingDown())

    def _tell_session(self, event: Event) -> None:
        if isinstance(event, Removed) and not self._is_shared:
            self.feed.lose()  # another process did it; it tells us nothing more
        self._tell(event)

    def describe(self) -> Description:
        now = self._clock.wall()
        return Description(self._id, self._limits, self._admission.challenge(now), now)

    # --- the catalog ---------------------------------------------------------------------------

    async def announce(self, caller: Caller, batch: Batch) -> Taken:
        """Raises what DirectoryService.Announce documents."""
        live = await self.sessions.authenticate(caller)
        if not live.session.listed:
            raise PeerUnlisted()
        user = live.session.user.casefold()
        if wait_seconds := self._announces.take(user, self._clock.monotonic()):
            raise TooManyAnnounces(self._limits.max_announces_per_minute, wait_seconds)
        kept, rejected = checked_batch(batch, self._limits)
        if self._announcing[user] >= MOST_ANNOUNCES_PER_USER:
            raise Overloaded("too many announces of this user at once; retry when one has ended")
        self._announcing[user] += 1
        try:
            held = await self._store.announce(
                live.session.peer_id, kept, self._limits.max_resources_per_user
            )
        finally:
            self._announcing[user] -= 1
            self._announcing += Counter()  # forgets those at zero
            live.held = None  # unless we hear what came of it
        live.held = held
        self._tell_announced(live, kept, len(rejected))
        return Taken(held, rejected)

    def _tell_announced(self, live: Live, batch: Batch, rejected: int) -> None:
        if not batch.snapshot_id or batch.batch_index == 0:
            live.snapshot_tally = SnapshotTally()
        tally = live.snapshot_tally
        tally.resources += len(batch.resources)
        tally.size_bytes += sum(resource.size_bytes for resource in batch.resources)
        tally.rejected += rejected
        if not batch.snapshot_id or batch.last:
            self._tell(
                Announced(
                    live.session.user,
                    live.session.peer_id,
                    tally.resources,
                    tally.size_bytes,
                    len(batch.withdrawn_paths),
                    tally.rejected,
                    bool(batch.snapshot_id),
                )
            )

    async def query(
        self, caller: Caller, asked: Asked, page_size: int, page_token: str
    ) -> Paged[ResourceRow, ShownPeer]:
        """Raises what DirectoryService.Query documents."""
        await self.sessions.authenticate(caller)
        criteria = criteria_of(asked, self._limits)
        size = self._page_size(page_size, self._limits.default_page_size)
        after = self._tokens.query_after(criteria, page_token)
        page = await self._store.query(criteria, after, size + 1)
        peers = {peer_id: self._shown(row, caller) for peer_id, row in page.peers.items()}
        return paged(
            page.rows, size, peers, lambda row: self._tokens.for_query(criteria, row.sort_key)
        )

    async def list_peers(
        self, caller: Caller, user: str, page_size: int, page_token: str
    ) -> Paged[PeerRow, ShownPeer]:
        """Raises what DirectoryService.ListPeers documents."""
        await self.sessions.authenticate(caller)
        owner = folded_owner("user", user)
        size = self._page_size(page_size, self._limits.default_page_size)
        after = self._tokens.peers_after(owner, page_token)
        rows = await self._store.peers(owner, after, size + 1)
        peers = {row.peer_id: self._shown(row, caller) for row in rows}
        return paged(
            rows,
            size,
            peers,
            lambda row: self._tokens.for_peers(owner, (row.user.casefold(), row.peer_id)),
        )

    async def locate(
        self, caller: Caller, digests: Sequence[str], page_size: int, page_token: str
    ) -> Paged[HoldingRow, Source]:
        """Raises what DirectoryService.Locate documents."""
        live = await self.sessions.authenticate(caller)
        wanted = [checked_digest("digests", digest) for digest in self._digests(digests)]
        size = self._page_size(page_size, self._limits.max_page_size)
        after = self._tokens.locate_after(wanted, page_token)
        rows, peers = await self._store.locate(wanted, after, size + 1)
        place = {digest: at for at, digest in enumerate(wanted)}
        now = self._clock.wall()
        sources = {
            row.peer_id: Source(
                row,
                endpoints,
                self._grants.issue(row.peer_id, live.session.user, wanted, now),
            )
            for row in peers.values()
            if row.peer_id != live.session.peer_id
            and (endpoints := self._shown(row, caller).endpoints)
        }
        page = paged(
            rows,
            size,
            sources,
            lambda row: self._tokens.for_locate(wanted, (place[row.digest], row.peer_id)),
        )
        reachable = [row for row in page.rows if row.peer_id in sources]
        return Paged(reachable, sources, page.next_token, page.token_after)

    async def watch(self, caller: Caller, wish: Wish) -> AsyncGenerator[ShownEvents, None]:
        """Goes on until it is closed. Raises what DirectoryService.Watch documents."""
        live = await self.sessions.authenticate(caller)
        criteria = replace(criteria_of(wish.asked, self._limits), order=Order.PATH)
        request = WatchRequest(criteria, wish.only_new, wish.with_peers, wish.resume_token)
        pages = self._watches.watch(live, request)
        try:
            async for page in pages:
                peers = {peer_id: self._shown(row, caller) for peer_id, row in page.peers.items()}
                yield ShownEvents(page.events, peers, page.resume_token)
        finally:
            await pages.aclose()

    # --- parts ---------------------------------------------------------------------------------

    def _shown(self, row: PeerRow, caller: Caller) -> ShownPeer:
        endpoints = shown_to(caller.host, row.endpoint_statuses, row.observed_host)
        return ShownPeer(row, endpoints, self._roster.load_of(row.peer_id))

    def _page_size(self, wanted: int, default: int) -> int:
        if wanted < 0:
            raise FieldInvalid("page_size", "must not be negative")
        return min(wanted or default, self._limits.max_page_size)

    def _digests(self, digests: Sequence[str]) -> Sequence[str]:
        if len(digests) > self._limits.max_locate_digests:
            raise TooLarge(self._limits.max_locate_digests, "digests")
        if not digests or len(set(digests)) != len(digests):
            raise FieldInvalid("digests", "at least one, each once")
        return digests


def _new_feed(store: Store, limits: Limits, around: Surroundings) -> Feed:
    return Feed(
        store,
        around.clock,
        limits,
        new_identity=lambda: around.entropy(_LOG_IDENTITY_BYTES).hex(),
        new_signal=around.new_signal,
        pause=around.pause,
    )
