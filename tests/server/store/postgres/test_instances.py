"""Instances of one directory on one database: what they tell each other, and do at once."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import replace

import asyncpg
import pytest
from tests.server.store.factories import (
    NO_LIMIT,
    a_partial,
    a_resource,
    a_session,
    a_user,
    online,
    paths,
    purged,
    revision,
    sharing,
)

from p2p_server.directory.errors import RevisionMismatch
from p2p_server.directory.models import Batch, PeerId
from p2p_server.directory.presence.registration import PeerLoad
from p2p_server.store.base import (
    CatalogChanged,
    Change,
    ChangesMissed,
    LoadsChanged,
    Renewal,
    SessionsChanged,
)
from p2p_server.store.postgres import PostgresStore


class Ear:
    """What an instance hears."""

    def __init__(self, store: PostgresStore) -> None:
        self.heard: list[Change] = []
        self._more = asyncio.Event()
        self._store = store
        store.listen(self._hear)

    def _hear(self, change: Change) -> None:
        self.heard.append(change)
        self._more.set()

    async def until(self, enough: Callable[[list[Change]], bool]) -> list[Change]:
        """What was heard, as soon as that is enough; then nothing."""
        async with asyncio.timeout(10):
            while not enough(self.heard):
                self._more.clear()
                await self._more.wait()
        heard, self.heard = self.heard, []
        return heard


@pytest.fixture
async def ears(store: PostgresStore, other: PostgresStore) -> AsyncIterator[tuple[Ear, Ear]]:
    both = Ear(store), Ear(other)
    async with asyncio.TaskGroup() as tasks:
        listening = [tasks.create_task(instance.run()) for instance in (store, other)]
        for ear in both:
            assert await ear.until(lambda heard: bool(heard)) == [ChangesMissed()]
        yield both
        for task in listening:
            task.cancel()


async def test_an_instance_hears_what_others_did_and_not_what_it_did_itself(
    store: PostgresStore, other: PostgresStore, ears: tuple[Ear, Ear]
) -> None:
    session = await online(store)
    await store.renew_leases([Renewal(session.token_hash, 30, session.peer_id, PeerLoad(2, 8))])
    await store.end_sessions([session.token_hash], 1.0)

    changed = SessionsChanged((session.peer_id,))
    assert await ears[1].until(lambda heard: len(heard) == 4) == [
        changed,  # opened
        changed,  # judged
        LoadsChanged({session.peer_id: PeerLoad(2, 8)}),
        changed,  # ended
    ]
    await other.remove_user("ann")
    assert await ears[0].until(lambda heard: bool(heard)) == [changed]


async def test_a_delta_is_heard_whole_and_a_snapshot_when_it_is_swapped_in(
    store: PostgresStore, ears: tuple[Ear, Ear]
) -> None:
    session = await online(store)
    await ears[1].until(lambda heard: len(heard) == 2)
    staged = Batch(revision(1), resources=(a_resource("a"), a_resource("b")), snapshot_id="s")
    await store.announce(session.peer_id, staged, NO_LIMIT)
    await store.announce(
        session.peer_id, replace(staged, resources=(), batch_index=1, last=True), NO_LIMIT
    )
    delta = Batch(
        revision(2),
        revision(1),
        (a_resource("Straße/ü", media_type="text/plain"),),
        ("a",),
        (a_partial("x"),),
        (a_partial("y").digest,),
    )
    await store.announce(session.peer_id, delta, NO_LIMIT)
    await store.announce(session.peer_id, delta, NO_LIMIT)  # a resend changes nothing
    with suppress(RevisionMismatch):
        await store.announce(
            session.peer_id, replace(delta, revision=revision(9), base=revision(8)), NO_LIMIT
        )
    many = Batch(revision(3), revision(2), tuple(a_resource(f"f{i}") for i in range(2_000)))
    await store.announce(session.peer_id, many, NO_LIMIT)

    assert await ears[1].until(lambda heard: len(heard) == 3) == [
        CatalogChanged(session.peer_id, revision(1), None),
        CatalogChanged(session.peer_id, revision(2), delta),
        CatalogChanged(session.peer_id, revision(3), many),
    ]


async def test_thousands_of_ends_at_once_are_all_heard(
    store: PostgresStore, ears: tuple[Ear, Ear]
) -> None:
    await store.bind_user(a_user())
    sessions = [a_session(peer=f"peer-{i:060}") for i in range(600)]
    for session in sessions:
        await store.open_session(session)
    await ears[1].until(lambda heard: len(heard) == 600)

    await store.end_sessions([session.token_hash for session in sessions], 1.0)

    def peers_of(heard: list[Change]) -> list[PeerId]:
        changes = [change for change in heard if isinstance(change, SessionsChanged)]
        return [peer_id for change in changes for peer_id in change.peer_ids]

    heard = await ears[1].until(lambda heard: len(peers_of(heard)) >= 600)
    assert sorted(peers_of(heard)) == sorted(session.peer_id for session in sessions)
    assert len(heard) < 20


async def test_a_connection_that_is_lost_comes_back_and_says_that_something_was_missed(
    store: PostgresStore, other: PostgresStore, ears: tuple[Ear, Ear]
) -> None:
    connection = await asyncpg.connect(store.url)
    await connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE pid <> pg_backend_pid() AND datname = current_database()"
    )
    await connection.close()

    for ear in ears:
        assert ChangesMissed() in await ear.until(lambda heard: bool(heard))
    session = await online(store)
    heard = await ears[1].until(lambda heard: len(heard) == 2)
    assert heard[-1] == SessionsChanged((session.peer_id,))
    assert [s.peer_id for s in await other.sessions_of([session.peer_id])] == [session.peer_id]


async def test_instances_that_start_at_once_make_one_schema_and_one_set_of_keys(
    database: str,
) -> None:
    stores = [PostgresStore(database) for _ in range(6)]
    await asyncio.gather(*(store.open() for store in stores))

    made = await asyncio.gather(
        *(store.secrets(lambda i=i: {"key": bytes([i])}) for i, store in enumerate(stores))  # type: ignore[misc]  # mypy#10740
    )

    assert all(secrets == made[0] for secrets in made)
    await asyncio.gather(*(store.close() for store in stores))


async def test_a_name_that_two_keys_want_at_once_goes_to_one(
    store: PostgresStore, other: PostgresStore
) -> None:
    for name in ("ann", "bob", "carl"):
        wanted = [(store, a_user(name, "first")), (other, a_user(name.upper(), "second"))]
        holders = await asyncio.gather(*(s.bind_user(user) for s, user in wanted))
        assert holders[0] == holders[1]


async def test_announces_of_one_library_at_two_instances_leave_one_state(
    store: PostgresStore, other: PostgresStore
) -> None:
    peer = (await sharing(store, a_resource("a"))).peer_id
    deltas = [
        Batch(revision(2), revision(1), tuple(a_resource(f"{name}{i}") for i in range(200)))
        for name in "xy"
    ]

    answers = await asyncio.gather(
        *(
            instance.announce(peer, delta, 1_000)
            for instance, delta in zip((store, other), deltas, strict=True)
        )
    )

    assert answers == [revision(2)] * 2, "one is applied, the other taken for its resend"
    assert len(await paths(store)) == 201


async def test_instances_that_purge_at_once_do_not_wait_for_each_other(
    store: PostgresStore, other: PostgresStore
) -> None:
    for i in range(8):
        session = await sharing(
            store, *(a_resource(f"f{j}") for j in range(50)), session=a_session(f"user{i}")
        )
        await store.end_sessions([session.token_hash], 1.0)

    await asyncio.gather(*(purged(instance, 100, 60) for instance in (store, other) * 2))

    connection = await asyncpg.connect(store.url)
    for table in ("peers", "catalogs", "resources", "leases"):
        assert await connection.fetchval(f"SELECT count(*) FROM p2p_directory.{table}") == 0
    await connection.close()
