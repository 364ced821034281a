"""Whoever registers, heartbeats, leaves or falls silent at whichever instance: who is listed is who
a dict of lease ends says, and what is found is theirs.

The machine that says so; `test_models.py` runs it with one instance over SQLite and with two over
PostgreSQL. Time is moved by hand, the database's too.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.server.store.factories import a_resource
from tests.support.certificates import KeyPair, peer_key_pair
from tests.support.clock import FakeClock
from tests.support.directory.raw import new_peer_id, register_bytes, sign

from p2p_server.app import AsyncSignal
from p2p_server.directory.directory import Directory, Surroundings
from p2p_server.directory.errors import RevisionMismatch, SessionUnknown
from p2p_server.directory.events import Event
from p2p_server.directory.models import Batch, Criteria, Endpoint, Limits, Revision
from p2p_server.directory.presence.leases import LeaseTerms
from p2p_server.directory.presence.reach.endpoints import Answer
from p2p_server.directory.presence.registration import NO_LOAD, Application, Caller
from p2p_server.directory.trust.keyring import Keyring, make_secrets, open_keyring
from p2p_server.store.base import SharedStore, Store

LEASE_SECONDS = 6.0
LATE_SECONDS = 1.5  # so much later than its lease ends may a session be ended
TOLD_SECONDS = 1.5  # so long may an instance keep a heartbeat to itself
SWEEP_SECONDS = 0.25
SEEN_AT = "8.8.8.8"
USERS = ("ann", "bob", "carl")
ANY_USER = st.sampled_from(range(len(USERS)))
ANY_INSTANCE = st.integers(0, 7)


@dataclass
class Databases:
    """What a machine runs over; one store per instance, all on one empty database."""

    stores: Sequence[Store]
    shared: Sequence[SharedStore]
    set_clock: Callable[[float], Awaitable[None]]
    news: list[Callable[[], None]]  # tells the instances that something may have changed
    close: Callable[[], Coroutine[None, None, None]]


@dataclass
class Peer:
    """One user's one peer, as it must be: the specification."""

    user: str
    pair: KeyPair
    peer_id: str = field(default_factory=new_peer_id)
    token: str = ""
    beats: list[float] = field(default_factory=list)  # of the session that is on; empty: none is
    latest_end: float = 0.0  # of its lease, if some instance forgot when it heard the peer
    counter: int = 0
    held: int = 0
    paths: set[str] = field(default_factory=set)


class PresenceAgreesWithADict(RuleBasedStateMachine):
    def __init__(self, new_databases: Callable[[], Awaitable[Databases]]) -> None:
        super().__init__()
        self.new_databases = new_databases

    @initialize()
    def open(self) -> None:
        self.runner = asyncio.Runner()
        self.clock = FakeClock()
        self.events: list[Event] = []
        self.peers = [Peer(user, peer_key_pair()) for user in USERS]
        self.runner.run(self._open())

    async def _open(self) -> None:
        self.databases = await self.new_databases()
        secrets = dict(make_secrets(os.urandom))
        self.keyring = open_keyring(await self.databases.stores[0].secrets(lambda: secrets))
        await self.databases.set_clock(self.clock.unix)
        shared: Sequence[SharedStore | None] = self.databases.shared or [None]
        self.instances = [
            self._instance(self.keyring, store, as_shared)
            for store, as_shared in zip(self.databases.stores, shared, strict=True)
        ]

    def _instance(self, keyring: Keyring, store: Store, shared: SharedStore | None) -> Directory:
        return Directory(
            store,
            keyring,
            Surroundings(
                clock=self.clock,
                entropy=os.urandom,
                tell=self.events.append,
                wake_dialback=lambda: None,
                new_signal=AsyncSignal,
                pause=asyncio.sleep,
            ),
            terms=LeaseTerms(LEASE_SECONDS, is_exact=True),
            limits=Limits(),
            shared=shared,
        )

    def teardown(self) -> None:
        if hasattr(self, "databases"):
            self.runner.run(self.databases.close())
        if hasattr(self, "runner"):
            self.runner.close()

    def at(self, instance: int) -> Directory:
        return self.instances[instance % len(self.instances)]

    @property
    def now(self) -> float:
        return self.clock.monotonic()

    # --- what peers do -------------------------------------------------------------------------

    @rule(at=ANY_USER, instance=ANY_INSTANCE)
    def register(self, at: int, instance: int) -> None:
        peer, directory = self.peers[at], self.at(instance)
        challenge = self.at(instance // 2).describe().challenge  # of whichever instance
        signed = register_bytes(
            self.keyring.directory_id,
            challenge,
            peer.user,
            peer.peer_id,
            peer.pair.certificate_der,
        )
        application = Application(
            peer.user,
            peer.pair.certificate_der,
            peer.peer_id,
            challenge,
            sign(peer.pair, signed),
            listed=True,
            endpoints=(Endpoint("9.9.9.9", 4000 + at),),
        )

        granted = self.runner.run(directory.sessions.register(application, SEEN_AT))

        assert granted.lease.held == self.revision(peer)
        peer.token, peer.beats = granted.token, [self.now]
        peer.latest_end = self.now + LEASE_SECONDS
        self.runner.run(self._dial(directory))

    async def _dial(self, directory: Directory) -> None:
        while (order := directory.reachability.take()) is not None:
            await directory.reachability.conclude(order, Answer.THIS_PEER, dialled=True)

    @rule(at=ANY_USER, instance=ANY_INSTANCE)
    def heartbeat(self, at: int, instance: int) -> None:
        peer, sessions = self.peers[at], self.at(instance).sessions
        if not peer.token:
            return
        try:
            renewed = self.runner.run(sessions.heartbeat(Caller(peer.token, SEEN_AT), NO_LOAD))
        except SessionUnknown:
            assert not self.must_live(peer)
            peer.beats.clear()
            return
        assert self.may_live(peer)
        assert renewed.held == self.revision(peer)
        peer.beats.append(self.now)
        peer.latest_end = max(peer.latest_end, self.now + LEASE_SECONDS)

    @rule(at=ANY_USER, instance=ANY_INSTANCE)
    def leave(self, at: int, instance: int) -> None:
        peer = self.peers[at]
        if not peer.token:
            return
        try:
            self.runner.run(self.at(instance).sessions.leave(Caller(peer.token, SEEN_AT)))
        except SessionUnknown:
            assert not self.must_live(peer)
        peer.beats.clear()
        self.runner.run(self._pass_time(SWEEP_SECONDS))  # until then others may not know of it

    @rule(at=ANY_USER, instance=ANY_INSTANCE, paths=st.sets(st.sampled_from("xyz"), max_size=3))
    def announce(self, at: int, instance: int, paths: set[str]) -> None:
        """All that the peer shares from now on; a delta where it can be one."""
        peer = self.peers[at]
        if not peer.token:
            return
        peer.counter += 1
        held, now = Revision("e", peer.held) if peer.held else Revision(), f"{peer.user}/{{}}"
        batch = Batch(
            Revision("e", peer.counter),
            held,
            tuple(a_resource(now.format(path)) for path in sorted(paths)),
            tuple(now.format(path) for path in sorted(peer.paths - paths)),
        )
        if not peer.held:
            batch = Batch(
                batch.revision,
                resources=batch.resources,
                snapshot_id=f"{peer.user}-{peer.counter}",
                last=True,
            )
        try:
            taken = self.runner.run(self.at(instance).announce(Caller(peer.token, SEEN_AT), batch))
        except SessionUnknown:
            assert not self.must_live(peer)
            return
        except RevisionMismatch as refusal:
            raise AssertionError(f"{refusal.held} is held") from None
        assert self.may_live(peer)
        assert not taken.rejected
        peer.held, peer.paths = peer.counter, paths

    @rule(seconds=st.integers(1, 8))
    def pass_time(self, seconds: int) -> None:
        self.runner.run(self._pass_time(seconds))

    async def _pass_time(self, seconds: float) -> None:
        for _ in range(round(seconds / SWEEP_SECONDS)):
            self.clock.advance(SWEEP_SECONDS)
            await self.databases.set_clock(self.clock.unix)
            await self.hear_the_news()
            for instance in self.instances:
                await instance.sessions.sweep()

    @precondition(lambda self: len(self.instances) > 1)
    @rule(instance=ANY_INSTANCE)
    def restart(self, instance: int) -> None:
        """An instance is killed, and comes back with an empty memory."""
        place = instance % len(self.instances)
        shared = self.databases.shared[place]
        again = self._instance(self.keyring, self.databases.stores[place], shared)
        self.instances[place] = again
        self.runner.run(again.sessions.restore())
        for peer in self.peers:
            # Heartbeats of the last moment may be known to nobody else; and to the new one every
            # session has a full lease.
            told = [beat for beat in peer.beats if beat <= self.now - TOLD_SECONDS]
            peer.beats = told or [-LEASE_SECONDS] * bool(peer.beats)
            peer.latest_end = max(peer.latest_end, self.now + LEASE_SECONDS)

    async def hear_the_news(self) -> None:
        for tell in self.databases.news:
            tell()

    # --- what must be so -----------------------------------------------------------------------

    def must_live(self, peer: Peer) -> bool:
        return bool(peer.beats) and self.now < peer.beats[-1] + LEASE_SECONDS

    def may_live(self, peer: Peer) -> bool:
        return bool(peer.beats) and self.now < peer.latest_end + LATE_SECONDS

    def revision(self, peer: Peer) -> Revision:
        return Revision("e", peer.held) if peer.held else Revision()

    @invariant()
    def who_is_listed_has_a_lease_and_the_other_way_round(self) -> None:
        if not hasattr(self, "instances"):
            return
        store = self.databases.stores[0]
        listed = {row.user for row in self.runner.run(store.peers("", None, 10))}
        page = self.runner.run(store.query(Criteria(), None, 100))

        for peer in self.peers:
            if self.must_live(peer):
                assert peer.user in listed
            if not self.may_live(peer):
                assert peer.user not in listed
        sharing = [peer for peer in self.peers if peer.user in listed]
        expected = {f"{peer.user}/{path}" for peer in sharing for path in peer.paths}
        assert {row.resource.path for row in page.rows} == expected
