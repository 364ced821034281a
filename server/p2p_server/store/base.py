"""What the directory needs of a database, and nothing of how one does it.

Implementations pass one and the same suite, tests/server/store/suite.py. They know no gRPC and
decide no rule: what a revision may follow is in `directory/revisions.py`, what a page holds is
asked for by the caller. They raise `StoreUnavailable` when the database does not answer or its disk
is full, and otherwise only what the methods name.

Durable when the call returns (fsync): secrets and which key owns which name. Everything else may be
lost with the last moments before a power failure, never with a crash of the process: peers bring it
back.

A peer is *visible* while it has a lease, is listed and has an endpoint that somebody may be told:
queries answer visible peers only. Unknown peers are ignored by the methods that change peers, for
they may have been purged meanwhile.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from p2p_server.directory.models import (
    Batch,
    Criteria,
    Digest,
    EndpointStatus,
    HoldingRow,
    Page,
    PeerId,
    PeerRow,
    Resource,
    Revision,
    Session,
    SortKey,
    Totals,
    User,
)
from p2p_server.directory.presence.registration import PeerLoad
from p2p_server.directory.watching.changes import TellChange


class Store(Protocol):
    # --- the directory's own -------------------------------------------------------------------

    async def open(self) -> None:
        """Opens or makes the database and brings its schema up to date.

        Raises StoreUnusable (nothing touched) for a corrupt database or one of a newer version.
        """
        ...

    async def close(self) -> None: ...

    async def secrets(self, make: Callable[[], Mapping[str, bytes]]) -> Mapping[str, bytes]:
        """The directory's keys and secrets by name; `make` makes them the first time. Durable."""
        ...

    async def ping(self) -> None:
        """Raises StoreUnavailable where the store would not answer or not take a change now."""
        ...

    async def others_version(self) -> int | None:
        """A number that is another one after another process changed the store; None: unknown, so
        whoever needs to know asks for the very thing."""
        ...

    async def totals(self) -> Totals:
        """Of visible peers."""
        ...

    # --- users ---------------------------------------------------------------------------------

    async def bind_user(self, user: User) -> User:
        """Binds a name to a key if it is free, without regard to case; answers who holds it now.

        Durable when it returns. The caller compares the key.
        """
        ...

    async def users(self) -> Sequence[User]:
        """All users by name."""
        ...

    async def remove_user(self, name: str) -> bool:
        """Frees a name with all its sessions and resources; False: there was none."""
        ...

    # --- sessions ------------------------------------------------------------------------------

    async def open_session(self, session: Session) -> Revision:
        """Puts the session in the place of any earlier one of its peer; answers the revision held.

        The peer stays invisible until `set_endpoints`, unless it was visible and its candidate
        endpoints are the same ones: then their verdicts are kept as given in `session`.

        Raises PeerIdTaken when the peer belongs to another user, StoreUnavailable when the user is
        not bound (removed a moment ago: registering again binds the name anew).
        """
        ...

    async def sessions(self) -> Sequence[Session]:
        """All sessions that have not ended, for the start: each gets a full lease anew."""
        ...

    async def find_session(self, token_hash: bytes) -> Session | None: ...

    async def set_endpoints(
        self, peer_id: PeerId, token_hash: bytes, statuses: Sequence[EndpointStatus], visible: bool
    ) -> None:
        """What dialling back showed. Ignored when the session was replaced meanwhile."""
        ...

    async def end_sessions(self, token_hashes: Collection[bytes], ended_at: float) -> None:
        """Hides the peers of these sessions at once; their catalogs are kept for `purge`.

        Named by token, so that an end decided before its peer registered again ends nothing new.
        """
        ...

    async def purge(self, ended_before: float, most_rows: int) -> int:
        """Deletes rows nobody is answered any more: of peers that ended before then (client-only
        ones: all that ended), of replaced snapshots, of staged snapshots of ended peers. Answers
        how many; 0: nothing is left. Bounded work per call, so others get their turn."""
        ...

    # --- catalog -------------------------------------------------------------------------------

    async def held_revision(self, peer_id: PeerId) -> Revision: ...

    async def announce(
        self, peer_id: PeerId, batch: Batch, max_resources_per_user: int
    ) -> Revision:
        """Applies a batch as `directory/revisions.py` rules, in one transaction; answers the
        revision held then.

        Raises RevisionMismatch, TooManyResources (nothing applied).
        """
        ...

    # --- answers: visible peers only --------------------------------------------------------------

    async def query(self, criteria: Criteria, after: SortKey | None, limit: int) -> Page:
        """The next `limit` resources in order, after the key, with their peers. Keyset, never
        offset. Fewer than `limit`: these are the last.

        Raises Overloaded for a query that would take seconds.
        """
        ...

    async def peers(
        self, user: str, after: tuple[str, PeerId] | None, limit: int
    ) -> Sequence[PeerRow]:
        """Visible peers by (casefolded user, peer_id), of one user (casefolded) or, empty, all."""
        ...

    async def locate(
        self, digests: Sequence[Digest], after: tuple[int, PeerId] | None, limit: int
    ) -> tuple[Sequence[HoldingRow], Mapping[PeerId, PeerRow]]:
        """Sources by (place of the digest in `digests`, peer_id); a peer is named once per digest
        and manifest, whole before partial."""
        ...

    async def catalog_of(self, peer_id: PeerId, after_path: str, limit: int) -> Sequence[Resource]:
        """The next resources of one peer by path, whether it is visible or not (any more)."""
        ...

    # --- changes -------------------------------------------------------------------------------

    async def follow(self, tell: TellChange | None) -> None:
        """From its return on, `tell` is called with each change of what is answered, in the event
        loop's thread, in the order of the commits and soon after them; also with those that other
        instances make. None: no longer. A change that was under way before the return is told, or
        was committed by then. What could not be heard is told as Lost.

        Nothing of changes is looked up while nobody follows: that costs announces.
        Raises StoreUnavailable.
        """
        ...


# --- several instances on one store ---------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SessionsChanged:
    """Sessions of these peers were opened, judged or ended: look at the store for what is true."""

    peer_ids: tuple[PeerId, ...]


@dataclass(frozen=True, slots=True)
class LoadsChanged:
    loads: Mapping[PeerId, PeerLoad]


@dataclass(frozen=True, slots=True)
class CatalogChanged:
    """A batch was applied; told of each delta, and of a snapshot when it was swapped in."""

    peer_id: PeerId
    held: Revision
    delta: Batch | None  # None: the catalog was replaced as a whole


@dataclass(frozen=True, slots=True)
class ChangesMissed:
    """The connection was lost for a while: whatever is remembered of the store may be old."""


Change = SessionsChanged | LoadsChanged | CatalogChanged | ChangesMissed


@dataclass(frozen=True, slots=True)
class Renewal:
    """A heartbeat that was heard."""

    token_hash: bytes
    seconds_left: float  # of its lease, when this is told
    peer_id: PeerId
    load: PeerLoad | None  # None: as before


class SharedStore(Store, Protocol):
    """A store that several instances of one directory use at once.

    Any of them answers any call. Leases are kept by the store's clock; each instance remembers all
    sessions, tells the store the heartbeats that it hears, and asks before it ends anything.
    """

    def listen(self, callback: Callable[[Change], None]) -> None:
        """Has what *other* instances change told, while `run` runs: in the order in which they
        changed it, within a second, nothing left out but for a ChangesMissed. Several may listen.
        """
        ...

    async def run(self) -> None:
        """Keeps listening until cancelled, through any outage. Begins with a ChangesMissed."""
        ...

    async def sessions_of(self, peer_ids: Collection[PeerId]) -> Sequence[Session]:
        """The sessions of these peers that have not ended."""
        ...

    async def renew_leases(self, renewals: Collection[Renewal]) -> None:
        """Moves the ends of leases, by the store's clock; never to an earlier moment. Sessions that
        have ended are ignored. With none to renew it still shows whether the store answers."""
        ...

    async def end_expired(self, token_hashes: Collection[bytes]) -> Mapping[bytes, float]:
        """Ends those of the sessions whose lease has ended by the store's clock, as `end_sessions`
        does; answers of the others how many seconds of it are left. Of several instances that ask
        at once, one ends them and the others find nothing left to do."""
        ...

    async def use_challenge(self, challenge: bytes) -> bool:
        """Uses up a challenge; False: it was used before, with any instance."""
        ...
