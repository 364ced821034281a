"""Presence where several instances serve one network: what others know of sessions, and we.

Every instance remembers all sessions, wherever they were opened. It tells the store in batches
which heartbeats it heard; it looks at those sessions of which another instance said that they
changed; and what its own memory takes for ended it ends only if the store agrees, for another
instance may have heard the peer. A store that was away for a while is a new beginning: all leases
start anew.

Owns what waits to be told or looked at. When to do which is decided by who calls `step`.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from p2p_server.directory.events import Expired, Removed
from p2p_server.directory.models import PeerId, Session
from p2p_server.directory.presence.registration import Clock, Tell
from p2p_server.directory.presence.roster import Live, Roster
from p2p_server.store.base import (
    CatalogChanged,
    Change,
    ChangesMissed,
    LoadsChanged,
    Renewal,
    SessionsChanged,
    SharedStore,
)

TELL_SECONDS: Final = 1.0
ASK_AGAIN_SECONDS: Final = 1.0


class Sharing:
    """
    Args:
        take_in: puts a session into the roster, with a full lease.
    """

    def __init__(
        self,
        store: SharedStore,
        roster: Roster,
        clock: Clock,
        tell: Tell,
        take_in: Callable[[Session], Live],
    ) -> None:
        self._store = store
        self._roster = roster
        self._clock = clock
        self._tell = tell
        self._take_in = take_in
        self._heard: dict[bytes, Live] = {}  # whose lease the store does not know yet
        self._changed: set[PeerId] = set()
        self._missed_some = False
        self._was_away = False
        self._told_at = clock.monotonic()
        store.listen(self._take)

    def hear(self, live: Live) -> None:
        """A sign of life that the other instances must learn of."""
        self._heard[live.session.token_hash] = live

    async def use_challenge(self, challenge: bytes) -> bool:
        """False: it was used before, with any instance."""
        return await self._store.use_challenge(challenge)

    def _take(self, change: Change) -> None:
        match change:
            case SessionsChanged():
                self._changed.update(change.peer_ids)
            case LoadsChanged():
                for peer_id, load in change.loads.items():
                    if (live := self._roster.of_peer(peer_id)) is not None:
                        live.load = live.told_load = load
            case CatalogChanged():
                if (live := self._roster.of_peer(change.peer_id)) is not None:
                    live.held = change.held
            case ChangesMissed():
                self._missed_some = True
                for live in self._roster.sessions():
                    live.held = None

    async def step(self, lease_time: float, lease_seconds: float) -> None:
        """Does what is due. To be called several times a second.

        Raises StoreUnavailable; nothing is lost then.
        """
        was_away, self._was_away = self._was_away, True  # until it has answered: we may be stopped
        await self._look_at_changes()
        if was_away or self._clock.monotonic() - self._told_at >= TELL_SECONDS:
            await self._tell_heard(lease_time)
        self._was_away = False
        if was_away:
            for live in self._roster.sessions():
                self._roster.renew(live, lease_time + lease_seconds)
        await self._end_expired(lease_time, lease_seconds)

    # --- what we heard -------------------------------------------------------------------------

    async def _tell_heard(self, lease_time: float) -> None:
        """Also with nothing to tell: that the store is away must be noticed by itself."""
        heard, self._heard = self._heard, {}
        loads = {token_hash: live.load for token_hash, live in heard.items()}
        renewals = [
            Renewal(
                token_hash,
                self._roster.lease_end(live) - lease_time,
                live.session.peer_id,
                live.load if live.load != live.told_load else None,
            )
            for token_hash, live in heard.items()
            if self._roster.find(token_hash) is live
        ]
        is_told = False
        try:
            await self._store.renew_leases(renewals)
            is_told = True
        finally:
            if not is_told:
                self._heard = heard | self._heard
        for token_hash, live in heard.items():
            live.told_load = loads[token_hash]
        self._told_at = self._clock.monotonic()

    # --- what others did -----------------------------------------------------------------------

    async def _look_at_changes(self) -> None:
        changed, self._changed = self._changed, set()
        missed_some, self._missed_some = self._missed_some, False
        if not changed and not missed_some:
            return
        asked_at = self._clock.monotonic()
        is_done = False
        try:
            if missed_some:
                found: Sequence[Session] = await self._store.sessions()
                changed = {live.session.peer_id for live in self._roster.sessions()}
                changed |= {session.peer_id for session in found}
            else:
                found = await self._store.sessions_of(changed)
            is_done = True
        finally:
            if not is_done:
                self._changed |= changed
                self._missed_some |= missed_some
        self._reconcile(changed, found, asked_at)

    def _reconcile(
        self, peer_ids: Iterable[PeerId], found: Iterable[Session], asked_at: float
    ) -> None:
        held = {session.peer_id: session for session in found}
        for peer_id in peer_ids:
            session, live = held.get(peer_id), self._roster.of_peer(peer_id)
            if live is not None and live.taken_in_at > asked_at:
                continue  # it registered with us since the store was asked
            if session is None:
                if live is not None:
                    self._forget(live)
            elif live is None or live.session.token_hash != session.token_hash:
                self._take_in(session)
            elif live.is_saved:
                live.statuses = session.endpoint_statuses

    def _forget(self, live: Live) -> None:
        if self._roster.drop(live) and live.is_ours:
            self._tell(Removed(live.session.user, live.session.peer_id))

    # --- what ended ----------------------------------------------------------------------------

    async def _end_expired(self, lease_time: float, lease_seconds: float) -> None:
        due = self._roster.due(lease_time)
        if not due:
            return
        for live in due:  # whatever becomes of the question
            self._roster.renew(live, lease_time + ASK_AGAIN_SECONDS)
        lasting = await self._store.end_expired([live.session.token_hash for live in due])
        for live in due:
            session = live.session
            seconds_left = lasting.get(session.token_hash)
            if seconds_left is not None:
                self._roster.prolong(live, lease_time + min(seconds_left, lease_seconds))
            elif self._roster.drop(live):
                self._tell(Expired(session.user, session.peer_id, session.listed))
