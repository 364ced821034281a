"""The life of sessions with time moved by hand, over a real database."""

import asyncio
import os
from collections.abc import AsyncIterator, Collection, Sequence
from pathlib import Path

import pytest
from tests.support.certificates import KeyPair, peer_key_pair
from tests.support.clock import FakeClock
from tests.support.directory.raw import new_peer_id, register_bytes, sign

from p2p_server.app import AsyncSignal
from p2p_server.directory.directory import Directory, Surroundings
from p2p_server.directory.errors import SessionUnknown, StoreUnavailable
from p2p_server.directory.events import Event, Expired, Judged, Left, Registered, Removed
from p2p_server.directory.models import (
    Endpoint,
    EndpointStatus,
    Limits,
    PeerId,
    Revision,
    Session,
    Verdict,
)
from p2p_server.directory.presence.confirming import CONFIRM_SECONDS
from p2p_server.directory.presence.leases import LeaseTerms
from p2p_server.directory.presence.reach.endpoints import Answer
from p2p_server.directory.presence.reach.reachability import ASK_AGAIN_SECONDS
from p2p_server.directory.presence.registration import NO_LOAD, Application, Caller, Granted
from p2p_server.directory.trust.keyring import make_secrets, open_keyring
from p2p_server.store.sqlite import SqliteStore

LEASE = 30.0
SEEN_AT = "8.8.8.8"
ADDRESS = Endpoint("9.9.9.9", 4000)


class Flaky(SqliteStore):
    """A real database that can be away for changes, or lose its last word."""

    is_away = False
    is_cut_off = False  # it opens sessions and nobody hears of it

    async def open_session(self, session: Session) -> Revision:
        held = await super().open_session(session)
        if self.is_cut_off:
            raise StoreUnavailable
        return held

    async def end_sessions(self, token_hashes: Collection[bytes], ended_at: float) -> None:
        self._check()
        await super().end_sessions(token_hashes, ended_at)

    async def set_endpoints(
        self, peer_id: PeerId, token_hash: bytes, statuses: Sequence[EndpointStatus], visible: bool
    ) -> None:
        self._check()
        await super().set_endpoints(peer_id, token_hash, statuses, visible)

    def _check(self) -> None:
        if self.is_away:
            raise StoreUnavailable


class World:
    """One directory over one database, and a hand on its clock."""

    def __init__(self, store: Flaky, clock: FakeClock, directory_secrets: dict[str, bytes]) -> None:
        self.store = store
        self.clock = clock
        self.told: list[Event] = []
        self.woken = 0
        self.keyring = open_keyring(directory_secrets)
        self.directory = Directory(
            store,
            self.keyring,
            Surroundings(
                clock=clock,
                entropy=os.urandom,
                tell=self.told.append,
                wake_dialback=self._wake,
                new_signal=AsyncSignal,
                pause=asyncio.sleep,
            ),
            terms=LeaseTerms(LEASE, is_exact=True),
            limits=Limits(),
        )
        self.sessions = self.directory.sessions

    def _wake(self) -> None:
        self.woken += 1

    async def register(
        self,
        user: str = "alice",
        pair: KeyPair | None = None,
        *,
        peer_id: str = "",
        endpoints: tuple[Endpoint, ...] = (ADDRESS,),
    ) -> Granted:
        pair, peer_id = pair or peer_key_pair(), peer_id or new_peer_id()
        challenge = self.directory.describe().challenge
        signed = register_bytes(
            self.keyring.directory_id, challenge, user, peer_id, pair.certificate_der
        )
        application = Application(
            user, pair.certificate_der, peer_id, challenge, sign(pair, signed), True, endpoints
        )
        return await self.sessions.register(application, SEEN_AT)

    async def heartbeat(self, granted: Granted) -> tuple[EndpointStatus, ...]:
        renewed = await self.sessions.heartbeat(Caller(granted.token, SEEN_AT), NO_LOAD)
        return renewed.endpoint_statuses

    async def pass_time(self, seconds: float) -> None:
        """As it passes while the directory runs: with a sweep every quarter of a second."""
        for _ in range(round(seconds / 0.25)):
            self.clock.advance(0.25)
            await self.sessions.sweep()

    async def dial_all(self, answer: Answer) -> int:
        dialled = 0
        while (order := self.directory.reachability.take()) is not None:
            dialled += 1
            await self.directory.reachability.conclude(order, answer, dialled=True)
        return dialled

    async def visible(self) -> list[str]:
        return [row.user for row in await self.store.peers("", None, 100)]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    store = Flaky(tmp_path / "directory.db")
    await store.open()
    yield World(store, FakeClock(), dict(make_secrets(os.urandom)))
    await store.close()


async def test_a_lease_holds_to_its_end_and_no_longer(world: World) -> None:
    alice = await world.register()
    await world.dial_all(Answer.THIS_PEER)

    await world.pass_time(LEASE - 0.25)
    assert await world.visible() == ["alice"]
    await world.pass_time(0.25)

    assert await world.visible() == []
    assert isinstance(world.told[-1], Expired)
    with pytest.raises(SessionUnknown):
        await world.heartbeat(alice)


async def test_a_heartbeat_renews_for_a_whole_lease(world: World) -> None:
    alice = await world.register()
    await world.pass_time(LEASE - 1)

    await world.heartbeat(alice)
    await world.pass_time(LEASE - 1)

    await world.heartbeat(alice)


async def test_other_calls_do_not_renew(world: World) -> None:
    alice = await world.register()
    for _ in range(int(LEASE)):
        await world.sessions.authenticate(Caller(alice.token, SEEN_AT))
        await world.pass_time(1)

    with pytest.raises(SessionUnknown):
        await world.heartbeat(alice)


async def test_a_long_pause_of_the_directory_ends_no_lease(world: World) -> None:
    alice = await world.register()

    world.clock.advance(10 * LEASE)
    await world.sessions.sweep()

    await world.heartbeat(alice)
    await world.pass_time(LEASE - 1)
    await world.heartbeat(alice)


async def test_the_wall_clock_has_no_part_in_leases(world: World) -> None:
    alice = await world.register()

    world.clock.unix += 86_400
    await world.sessions.sweep()
    world.clock.unix -= 2 * 86_400
    await world.sessions.sweep()

    await world.heartbeat(alice)


async def test_a_restart_gives_every_session_a_full_lease(world: World, tmp_path: Path) -> None:
    secrets = dict(make_secrets(os.urandom))
    first = World(world.store, world.clock, secrets)
    alice = await first.register()
    await first.dial_all(Answer.THIS_PEER)
    await first.pass_time(LEASE - 1)

    second = World(world.store, FakeClock(monotonic=5.0), secrets)
    await second.sessions.restore()
    await second.pass_time(LEASE - 1)

    assert await second.visible() == ["alice"]
    await second.heartbeat(alice)
    assert await second.dial_all(Answer.NOBODY) == 0, "what was judged stays judged"


async def test_endpoints_that_were_pending_at_a_restart_are_dialled(world: World) -> None:
    secrets = dict(make_secrets(os.urandom))
    alice = await World(world.store, world.clock, secrets).register()

    second = World(world.store, FakeClock(), secrets)
    await second.sessions.restore()

    assert await second.dial_all(Answer.THIS_PEER) == 1
    assert (await second.heartbeat(alice))[0].verdict is Verdict.REACHABLE


async def test_another_instance_on_the_same_store_knows_the_session(world: World) -> None:
    secrets = dict(make_secrets(os.urandom))
    one, two = (World(world.store, world.clock, secrets) for _ in range(2))
    alice = await one.register()

    await two.heartbeat(alice)

    await two.sessions.leave(Caller(alice.token, SEEN_AT))
    world.clock.advance(CONFIRM_SECONDS)
    with pytest.raises(SessionUnknown):
        await one.heartbeat(alice)
    assert isinstance(one.told[-1], Removed)


async def test_a_store_that_is_away_ends_no_lease_and_hears_of_ends_later(world: World) -> None:
    alice, bob = await world.register("alice"), await world.register("bob")
    await world.dial_all(Answer.THIS_PEER)
    await world.pass_time(LEASE / 2)
    await world.heartbeat(alice)

    world.store.is_away = True
    for _ in range(2 * int(LEASE)):
        world.clock.advance(0.25)
        try:
            await world.sessions.sweep()
        except StoreUnavailable:
            await world.heartbeat(alice)
    world.store.is_away = False
    await world.pass_time(0.25)

    assert [type(e) for e in world.told if isinstance(e, Expired)] == [Expired]
    assert await world.visible() == ["alice"]
    with pytest.raises(SessionUnknown):
        await world.heartbeat(bob)


async def test_a_session_that_ended_while_the_store_was_away_stays_ended(world: World) -> None:
    alice = await world.register()
    world.store.is_away = True

    with pytest.raises(StoreUnavailable):
        await world.sessions.leave(Caller(alice.token, SEEN_AT))

    with pytest.raises(SessionUnknown):
        await world.heartbeat(alice)
    assert isinstance(world.told[-1], Left)


async def test_a_session_of_which_nobody_heard_is_ended_again(world: World) -> None:
    pair, peer_id = peer_key_pair(), new_peer_id()
    await world.register(pair=pair, peer_id=peer_id)
    await world.dial_all(Answer.THIS_PEER)
    world.store.is_cut_off = True

    with pytest.raises(StoreUnavailable):
        await world.register(pair=pair, peer_id=peer_id)
    await world.pass_time(0.25)

    assert await world.store.sessions() == []
    assert await world.visible() == [], "it would be listed for ever"


async def test_an_end_decided_before_a_new_session_does_not_end_that(world: World) -> None:
    pair, peer_id = peer_key_pair(), new_peer_id()
    await world.register(pair=pair, peer_id=peer_id)
    await world.dial_all(Answer.THIS_PEER)
    world.store.is_away = True
    with pytest.raises(StoreUnavailable):
        await world.pass_time(LEASE)
    world.store.is_away = False

    again = await world.register(pair=pair, peer_id=peer_id)
    await world.pass_time(1)

    await world.heartbeat(again)
    assert await world.visible() == ["alice"]


async def test_verdicts_that_the_store_missed_are_told_with_the_next_heartbeat(
    world: World,
) -> None:
    alice = await world.register()
    world.store.is_away = True
    await world.dial_all(Answer.THIS_PEER)
    world.store.is_away = False
    assert await world.visible() == []

    await world.heartbeat(alice)

    assert await world.visible() == ["alice"]


async def test_what_failed_is_dialled_again_after_a_while(world: World) -> None:
    alice = await world.register()
    await world.dial_all(Answer.NOBODY)
    assert (await world.heartbeat(alice))[0].verdict is Verdict.UNREACHABLE

    for _ in range(int(ASK_AGAIN_SECONDS / 10)):
        await world.pass_time(10)
        await world.heartbeat(alice)

    assert await world.dial_all(Answer.THIS_PEER) == 1
    assert (await world.heartbeat(alice))[0].verdict is Verdict.REACHABLE
    assert await world.visible() == ["alice"]


async def test_what_is_reached_is_left_in_peace(world: World) -> None:
    alice = await world.register()
    await world.dial_all(Answer.THIS_PEER)

    for _ in range(100):
        await world.pass_time(10)
        await world.heartbeat(alice)

    assert await world.dial_all(Answer.NOBODY) == 0


async def test_a_late_verdict_of_a_replaced_session_is_no_matter(world: World) -> None:
    pair, peer_id = peer_key_pair(), new_peer_id()
    await world.register(pair=pair, peer_id=peer_id)
    order = world.directory.reachability.take()
    assert order is not None
    again = await world.register(pair=pair, peer_id=peer_id, endpoints=(Endpoint("9.9.9.9", 4001),))

    await world.directory.reachability.conclude(order, Answer.THIS_PEER, dialled=True)

    assert [s.verdict for s in await world.heartbeat(again)] == [Verdict.PENDING]
    assert await world.visible() == []


async def test_a_peer_online_without_a_break_keeps_its_since(world: World) -> None:
    pair, peer_id = peer_key_pair(), new_peer_id()
    began_at = world.clock.unix
    await world.register(pair=pair, peer_id=peer_id)
    await world.dial_all(Answer.THIS_PEER)
    await world.pass_time(10)

    await world.register(pair=pair, peer_id=peer_id)

    (row,) = await world.store.peers("", None, 10)
    assert row.online_since == began_at


async def test_what_happens_is_told(world: World) -> None:
    alice = await world.register()
    await world.dial_all(Answer.THIS_PEER)
    await world.sessions.leave(Caller(alice.token, SEEN_AT))

    assert [type(event) for event in world.told] == [Registered, Judged, Left]
    first = world.told[0]
    assert isinstance(first, Registered)
    assert first.is_new_user
    assert first.host == SEEN_AT


async def test_dialling_is_asked_for_as_soon_as_there_is_something_to_dial(world: World) -> None:
    await world.register()

    order = world.directory.reachability.take()

    assert world.woken
    assert order is not None
    assert order.endpoint == ADDRESS
