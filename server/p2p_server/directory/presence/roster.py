"""The sessions that are alive, in memory, each with its lease.

The store keeps them too; what is here is what every call needs at once, and what may be lost.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from p2p_server.directory.errors import TooManyPeers, TooManySessions
from p2p_server.directory.models import EndpointStatus, PeerId, Revision, Session
from p2p_server.directory.presence.leases import Leases
from p2p_server.directory.presence.registration import NO_LOAD, PeerLoad


@dataclass(slots=True)
class SnapshotTally:
    """What the batches of a snapshot brought so far, for the log."""

    resources: int = 0
    size_bytes: int = 0
    rejected: int = 0


@dataclass(slots=True)
class Live:
    """A session alive. Times are monotonic seconds."""

    session: Session
    statuses: tuple[EndpointStatus, ...]
    confirmed_at: float  # when the store was last seen to hold it
    judged_at: float  # when its endpoints were last judged, or began to be
    is_saved: bool = True  # whether the store knows the statuses
    taken_in_at: float = 0.0
    is_ours: bool = False  # whether the peer speaks to this instance, which dials it back then
    load: PeerLoad = NO_LOAD
    held: Revision | None = None  # the revision held; None: the store knows
    told_load: PeerLoad = NO_LOAD  # what other instances know of it
    snapshot_tally: SnapshotTally = field(default_factory=SnapshotTally)


class Roster:
    def __init__(self, most_peers_per_user: int, most_sessions_per_address: int = 0) -> None:
        self._most_peers_per_user = most_peers_per_user
        self._most_sessions_per_address = most_sessions_per_address  # 0: any number
        self._sessions_at: Counter[str] = Counter()  # observed host -> sessions
        self._by_token: dict[bytes, Live] = {}
        self._by_peer: dict[PeerId, Live] = {}
        self._peers_of: Counter[str] = Counter()  # folded user -> sessions, those opening included
        self._leases: Leases[bytes] = Leases()
        self._on_drop: Callable[[bytes], None] = lambda _: None

    def on_drop(self, tell: Callable[[bytes], None]) -> None:
        """Has it told of every session that ends or is replaced, by its token's hash."""
        self._on_drop = tell

    def __len__(self) -> int:
        return len(self._by_token)

    def find(self, token_hash: bytes) -> Live | None:
        return self._by_token.get(token_hash)

    def of_peer(self, peer_id: PeerId) -> Live | None:
        return self._by_peer.get(peer_id)

    def load_of(self, peer_id: PeerId) -> PeerLoad:
        live = self._by_peer.get(peer_id)
        return live.load if live else NO_LOAD

    def put(self, live: Live, lease_ends_at: float) -> None:
        """Takes in a session, in the place of any other of its peer."""
        replaced = self._by_peer.get(live.session.peer_id)
        if replaced is not None:
            self.drop(replaced)
        self._by_token[live.session.token_hash] = live
        self._by_peer[live.session.peer_id] = live
        self._peers_of[live.session.user.casefold()] += 1
        self._sessions_at[live.session.observed_host] += 1
        self._leases.grant(live.session.token_hash, lease_ends_at)

    def renew(self, live: Live, lease_ends_at: float) -> None:
        if live.session.token_hash in self._by_token:
            self._leases.grant(live.session.token_hash, lease_ends_at)

    def lease_end(self, live: Live) -> float:
        """By lease time. Raises KeyError when the session is not alive any more."""
        return self._leases.ends_at(live.session.token_hash)

    def prolong(self, live: Live, lease_ends_at: float) -> None:
        """Renews the lease, unless it lasts longer already."""
        token_hash = live.session.token_hash
        if token_hash in self._by_token and self._leases.ends_at(token_hash) < lease_ends_at:
            self._leases.grant(token_hash, lease_ends_at)

    def due(self, lease_time: float) -> list[Live]:
        """The sessions whose lease has ended as far as we know. They stay, and hold no lease until
        they are renewed or dropped."""
        return [self._by_token[token_hash] for token_hash in self._leases.expire(lease_time)]

    def drop(self, live: Live) -> bool:
        """Forgets a session; False: it was forgotten before."""
        session = live.session
        if self._by_token.pop(session.token_hash, None) is None:
            return False
        if self._by_peer.get(session.peer_id) is live:
            del self._by_peer[session.peer_id]
        self._leases.revoke(session.token_hash)
        self._release(session.user)
        self._sessions_at[session.observed_host] -= 1
        if self._sessions_at[session.observed_host] <= 0:
            del self._sessions_at[session.observed_host]
        self._on_drop(session.token_hash)
        return True

    def expire(self, lease_time: float) -> list[Live]:
        """Forgets and answers the sessions whose lease has ended."""
        expired = self.due(lease_time)
        for live in expired:
            self.drop(live)
        return expired

    @contextmanager
    def opening(self, user: str, peer_id: PeerId, host: str) -> Iterator[None]:
        """Holds a place for a session of the user that is about to be put.

        A peer that registers again needs no further place. Raises TooManyPeers, TooManySessions.
        """
        known = self._by_peer.get(peer_id)
        most = self._most_sessions_per_address
        if known is None and most and self._sessions_at[host] >= most:
            raise TooManySessions(most)
        held = self._peers_of[user.casefold()] - (known is not None)
        if held >= self._most_peers_per_user:
            raise TooManyPeers(self._most_peers_per_user)
        self._peers_of[user.casefold()] += 1
        try:
            yield
        finally:
            self._release(user)

    def _release(self, user: str) -> None:
        folded = user.casefold()
        self._peers_of[folded] -= 1
        if self._peers_of[folded] <= 0:
            del self._peers_of[folded]

    def sessions(self) -> Iterable[Live]:
        return tuple(self._by_token.values())
