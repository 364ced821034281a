"""The life of a session: register, heartbeat, leave, expire.

Every decision is taken on what is in memory; the store is then told. So a store that is away for a
while ends no lease, and the ends that it missed are told again with the next sweep.
"""

import base64
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from typing import Final

from p2p_server.directory.checks.names import MAX_SOFTWARE_BYTES, checked_peer_id, checked_user
from p2p_server.directory.errors import (
    ChallengeInvalid,
    FieldInvalid,
    SessionMissing,
    SessionUnknown,
    TooLarge,
    UsernameTaken,
)
from p2p_server.directory.events import Expired, Judged, Left, Registered, Removed
from p2p_server.directory.models import Limits, PeerId, Revision, Session, User
from p2p_server.directory.presence.confirming import Confirming
from p2p_server.directory.presence.leases import LeaseClock, LeaseTerms, spread
from p2p_server.directory.presence.reach.endpoints import candidates, is_pending, is_visible
from p2p_server.directory.presence.reach.reachability import Reachability
from p2p_server.directory.presence.registration import (
    Application,
    Caller,
    Clock,
    Granted,
    PeerLoad,
    Renewed,
    Tell,
)
from p2p_server.directory.presence.roster import Live, Roster
from p2p_server.directory.presence.sharing import Sharing
from p2p_server.directory.trust.admission import Admission
from p2p_server.store.base import SharedStore, Store

PENDING_HEARTBEAT_SECONDS: Final = 0.25  # so soon does a peer learn how dialling it back went
LONGEST_STEP_SECONDS: Final = 0.5
HERD: Final = 100  # sessions restored: their heartbeats are spread
_TOKEN_BYTES: Final = 32


class Sessions:
    def __init__(
        self,
        store: Store,
        clock: Clock,
        limits: Limits,
        *,
        terms: LeaseTerms,
        admission: Admission,
        roster: Roster,
        reachability: Reachability,
        entropy: Callable[[int], bytes],
        tell: Tell,
        shared: SharedStore | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._limits = limits
        self._terms = terms
        self._started_at = clock.monotonic()
        self._is_herd = False  # whether many peers come back at once after a restart
        self._confirming = Confirming(store, clock)
        self._admission = admission
        self._roster = roster
        self._reachability = reachability
        self._entropy = entropy
        self._tell = tell
        self._lease_clock = LeaseClock(clock.monotonic(), LONGEST_STEP_SECONDS)
        self._ending: set[bytes] = set()  # ended, and the store does not know it yet
        self._sharing = (
            None if shared is None else Sharing(shared, roster, clock, tell, self._take_in)
        )

    def __len__(self) -> int:
        return len(self._roster)

    @property
    def lease_seconds(self) -> float:
        """As it is granted now."""
        return self._terms.of(len(self._roster)).lease_seconds

    async def restore(self) -> None:
        """Takes in the sessions of an earlier run; each gets a full lease."""
        sessions = await self._store.sessions()
        lease_seconds = self._terms.of(len(sessions)).lease_seconds
        self._is_herd = len(sessions) >= HERD
        for session in sessions:
            live = self._take_in(session, lease_seconds)
            if is_pending(live.statuses):
                self._look_after(live)

    def _take_in(self, session: Session, lease_seconds: float | None = None) -> Live:
        now = self._clock.monotonic()
        live = Live(
            session, session.endpoint_statuses, confirmed_at=now, judged_at=now, taken_in_at=now
        )
        self._roster.put(live, self._lease_end(lease_seconds))
        return live

    def _hear(self, live: Live) -> None:
        """Renews the lease for a sign of life."""
        self._roster.renew(live, self._lease_end())
        if self._sharing is not None:
            self._sharing.hear(live)
        if not live.is_ours and is_pending(live.statuses):  # whoever began to dial may be gone
            self._look_after(live)
        live.is_ours = True

    def _look_after(self, live: Live) -> None:
        live.is_ours = True
        self._reachability.ask(live)

    def _lease_end(self, lease_seconds: float | None = None) -> float:
        now = self._lease_clock.look(self._clock.monotonic())
        return now + (self.lease_seconds if lease_seconds is None else lease_seconds)

    # --- verbs ---------------------------------------------------------------------------------

    async def register(self, application: Application, host: str) -> Granted:
        """Opens a session. Raises what DirectoryService.Register documents."""
        peer_id = self._check_form(application)
        wall = self._clock.wall()
        fingerprint = self._admission.admit(application, wall).fingerprint
        if self._sharing and not await self._sharing.use_challenge(application.challenge):
            raise ChallengeInvalid("was used before")
        wanted = User(application.user, fingerprint, wall)
        holder = await self._store.bind_user(wanted)
        if holder.key_fingerprint != fingerprint:
            raise UsernameTaken(application.user)
        token = base64.urlsafe_b64encode(self._entropy(_TOKEN_BYTES)).rstrip(b"=").decode()
        with self._roster.opening(holder.name, peer_id, host):
            session = self._session(application, peer_id, holder.name, token, host)
            held = await self._open(session)
        live = self._take_in(session)
        live.held = held
        if is_visible(live.statuses):
            await self._reachability.save(live)
        self._look_after(live)
        self._hear(live)
        self._tell(
            Registered(
                holder.name,
                peer_id,
                host,
                session.listed,
                holder == wanted,
                application.client_software,
            )
        )
        if session.listed and not is_pending(live.statuses):
            self._tell(Judged(holder.name, peer_id, live.statuses))
        return Granted(token, host, self._renewed(live, held))

    async def _open(self, session: Session) -> Revision:
        """Tells the store. A session that may be open there but not with us is ended again."""
        is_open = False
        try:
            held = await self._store.open_session(session)
            is_open = True
        finally:
            if not is_open:
                self._ending.add(session.token_hash)
        return held

    def _check_form(self, application: Application) -> PeerId:
        checked_user(application.user)
        if len(application.endpoints) > self._limits.max_endpoints:
            raise TooLarge(self._limits.max_endpoints, "endpoints")
        if not 0 <= application.listen_port <= 65_535:
            raise FieldInvalid("listen_port", "a TCP port, or 0 for none")
        if len(application.client_software.encode()) > MAX_SOFTWARE_BYTES:
            raise FieldInvalid("client_software", f"at most {MAX_SOFTWARE_BYTES} bytes")
        return checked_peer_id(application.peer_id)

    def _session(
        self, application: Application, peer_id: PeerId, user: str, token: str, host: str
    ) -> Session:
        known = self._roster.of_peer(peer_id)
        offered, port = (
            (application.endpoints, application.listen_port) if application.listed else ((), 0)
        )
        session = Session(
            peer_id=peer_id,
            user=user,
            token_hash=_hash(token),
            certificate_der=application.certificate_der,
            listed=application.listed,
            observed_host=host,
            online_since=known.session.online_since if known else self._clock.wall(),
            endpoint_statuses=tuple(candidates(offered, host, port)),
        )
        return replace(session, endpoint_statuses=self._reachability.first_look(session))

    async def heartbeat(self, caller: Caller, load: PeerLoad) -> Renewed:
        """Renews the lease, also while the store is away. Raises SessionMissing, SessionUnknown."""
        live = self._roster.find(_hash(caller.token))
        if live is not None:
            self._hear(live)
        live = await self.authenticate(caller)
        if not live.is_ours:
            self._hear(live)
        live.load = load
        self._reachability.ask_again(live)
        if not live.is_saved:
            await self._reachability.save(live)
        if live.held is None:
            live.held = await self._store.held_revision(live.session.peer_id)
        return self._renewed(live, live.held)

    def _renewed(self, live: Live, held: Revision) -> Renewed:
        terms = self._terms.of(len(self._roster))
        interval = terms.heartbeat_seconds
        if is_pending(live.statuses):
            interval = min(interval, PENDING_HEARTBEAT_SECONDS)
        elif self._is_herd and self._clock.monotonic() - self._started_at < terms.lease_seconds:
            interval = spread(interval, live.session.token_hash)
        return Renewed(
            lease_seconds=terms.lease_seconds,
            heartbeat_seconds=interval,
            directory_time=self._clock.wall(),
            held=held,
            endpoint_statuses=live.statuses,
        )

    async def leave(self, caller: Caller) -> None:
        live = await self.authenticate(caller)
        if self._roster.drop(live):
            session = live.session
            self._tell(Left(session.user, session.peer_id, session.listed))
            self._ending.add(session.token_hash)
        await self._tell_ends()

    async def authenticate(self, caller: Caller) -> Live:
        """The caller's session. Raises SessionMissing, SessionUnknown.

        Asks the store whether it still holds the session, where others may have changed it within
        the last CONFIRM_SECONDS: its user may have been removed there, or the peer have registered
        with another instance.
        """
        if not caller.token:
            raise SessionMissing()
        token_hash = _hash(caller.token)
        now = self._clock.monotonic()
        live = self._roster.find(token_hash)
        if live is not None and self._confirming.holds(live.confirmed_at, now):
            return live
        if token_hash in self._ending:
            raise SessionUnknown()
        session = await self._store.find_session(token_hash)
        if session is None:
            if live is not None and self._roster.drop(live):
                self._tell(Removed(live.session.user, live.session.peer_id))
            raise SessionUnknown()
        if live is None:
            live = self._adopt(session, asked_at=now)
        if self._roster.find(token_hash) is not live:  # it ended or was replaced meanwhile
            raise SessionUnknown()
        live.confirmed_at = now
        return live

    async def look_for_others(self) -> None:
        """Finds out whether others changed the store, so that not every call must ask it.

        To be called several times a second. Raises StoreUnavailable.
        """
        await self._confirming.look()

    def _adopt(self, session: Session, asked_at: float) -> Live:
        """Takes in a session that another instance opened.

        Raises SessionUnknown when its peer has registered with us since the store was asked.
        """
        ours = self._roster.of_peer(session.peer_id)
        if ours is None or (
            ours.session.token_hash != session.token_hash and ours.taken_in_at <= asked_at
        ):
            return self._take_in(session)
        if ours.session.token_hash == session.token_hash:
            return ours
        raise SessionUnknown()

    # --- time ----------------------------------------------------------------------------------

    async def sweep(self) -> None:
        """Ends the sessions whose lease has ended. To be called several times a second."""
        lease_time = self._lease_clock.look(self._clock.monotonic())
        if self._sharing is not None:
            await self._sharing.step(lease_time, self.lease_seconds)
            await self._tell_ends()
            return
        for live in self._roster.expire(lease_time):
            session = live.session
            self._ending.add(session.token_hash)
            self._tell(Expired(session.user, session.peer_id, session.listed))
        await self._tell_ends()

    async def _tell_ends(self) -> None:
        ending = tuple(self._ending)
        if ending:
            await self._store.end_sessions(ending, self._clock.wall())
            self._ending.difference_update(ending)


def _hash(token: str) -> bytes:
    return sha256(token.encode()).digest()
