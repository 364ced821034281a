"""The PostgreSQL store keeps the rules of all stores, and those of a store that is shared."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import replace

import asyncpg
import pytest
from tests.server.store.factories import (
    NO_LIMIT,
    REACHABLE,
    a_partial,
    a_resource,
    a_session,
    a_snapshot,
    a_user,
    online,
    paths,
    purged,
    revision,
    sharing,
)
from tests.server.store.suite import StoreSuite

from p2p_server.directory.errors import RevisionMismatch, StoreUnavailable
from p2p_server.directory.models import Batch, Criteria, PeerId, Revision, Session
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
from p2p_server.store.postgres.answers.criteria import conditions, narrowings, numbered


@pytest.fixture
async def store(database: str) -> AsyncIterator[PostgresStore]:
    opened = PostgresStore(database)
    await opened.open()
    yield opened
    await opened.close()


@pytest.fixture
async def other(store: PostgresStore, database: str) -> AsyncIterator[PostgresStore]:
    """What another instance has of the same database."""
    opened = PostgresStore(database)
    await opened.open()
    yield opened
    await opened.close()


class TestPostgresStore(StoreSuite):
    """All rules of all stores."""


def renewal(session: Session, seconds_left: float, load: PeerLoad | None = None) -> Renewal:
    return Renewal(session.token_hash, seconds_left, session.peer_id, load)


# --- leases -------------------------------------------------------------------------------------


async def test_a_lease_that_lasts_is_not_ended_and_one_that_ended_is(store: PostgresStore) -> None:
    lasting, over = await online(store, a_session("ann")), await online(store, a_session("bob"))
    await store.renew_leases([renewal(lasting, 60), renewal(over, 60)])
    await store.renew_leases([renewal(over, 5)])
    seconds_left = await store.end_expired([over.token_hash])
    assert 50 < seconds_left[over.token_hash] <= 60, "a lease is never shortened"
    await expire(store, over)

    left = await store.end_expired([lasting.token_hash, over.token_hash, b"?" * 32])

    assert list(left) == [lasting.token_hash]
    assert 50 < left[lasting.token_hash] <= 60
    assert [session.peer_id for session in await store.sessions()] == [lasting.peer_id]
    assert [row.user for row in await store.peers("", None, 9)] == ["ann"]


async def expire(store: PostgresStore, *sessions: Session) -> None:
    connection = await asyncpg.connect(store.url)
    await connection.execute(
        "UPDATE p2p_directory.leases SET ends_at = now() - interval '1 s' "
        "WHERE token_hash = ANY($1::bytea[])",
        [session.token_hash for session in sessions],
    )
    await connection.close()


async def test_a_new_session_of_a_peer_has_a_lease_of_its_own(store: PostgresStore) -> None:
    old = await online(store)
    await store.renew_leases([renewal(old, 60)])
    new = replace(a_session(token="new"), endpoint_statuses=REACHABLE)
    await store.open_session(new)

    await store.renew_leases([renewal(old, 60)])
    assert await store.end_expired([old.token_hash]) == {}

    assert [session.token_hash for session in await store.sessions()] == [new.token_hash]


async def test_instances_that_end_the_same_sessions_at_once_end_them_once(
    store: PostgresStore, other: PostgresStore
) -> None:
    sessions = [await online(store, a_session(peer=f"p{i}")) for i in range(40)]
    lasting = sessions[::2]
    await store.renew_leases([renewal(session, 60) for session in lasting])
    tokens = [session.token_hash for session in sessions]

    async with asyncio.TaskGroup() as tasks:
        for _ in range(4):
            for instance in (store, other):
                tasks.create_task(instance.end_expired(tokens[:: 1 if instance is store else -1]))
                tasks.create_task(
                    instance.renew_leases([renewal(session, 70) for session in lasting[::-1]])
                )

    assert {s.token_hash for s in await store.sessions()} == {s.token_hash for s in lasting}


async def test_a_challenge_is_used_once_with_any_instance(
    store: PostgresStore, other: PostgresStore
) -> None:
    assert await store.use_challenge(b"once")
    assert not await other.use_challenge(b"once")
    assert await other.use_challenge(b"another")
    await purged(store)
    assert not await store.use_challenge(b"once"), "it would still be good"

    connection = await asyncpg.connect(store.url)
    await connection.execute("UPDATE p2p_directory.challenges SET used_at = now() - interval '1 h'")
    await connection.close()
    assert await purged(store) == 2


# --- what instances tell each other ---------------------------------------------------------------


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
    await store.renew_leases([renewal(session, 30, PeerLoad(2, 8))])
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


# --- several at once ------------------------------------------------------------------------------


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


# --- answers --------------------------------------------------------------------------------------


async def test_search_uses_the_trigram_index(store: PostgresStore) -> None:
    await sharing(store, *(a_resource(f"folder {i % 7}/file {i:05}") for i in range(20_000)))
    connection = await asyncpg.connect(store.url, server_settings={"search_path": "p2p_directory"})
    await connection.execute("VACUUM ANALYZE resources")

    (narrowing,) = narrowings(Criteria(words=("04711",)))
    plan = await connection.fetch(
        numbered(f"EXPLAIN SELECT r.number FROM resources AS r WHERE {narrowing.sql} LIMIT ?"),
        *narrowing.values,
        2_001,
    )
    await connection.close()

    assert "resources_by_trigram" in "\n".join(row[0] for row in plan)
    assert await paths(store, Criteria(words=("04711",))) == ["folder 0/file 04711"]
    # Nor do the conditions, which only verify, tempt PostgreSQL to another index.
    assert "LIKE" not in conditions(Criteria(words=("04711",)))[0].sql


async def test_a_path_that_grows_in_folding_can_be_listed(store: PostgresStore) -> None:
    grows = "".join(chr(0x1D15E + i % 7) for i in range(256))  # four bytes each, folded to twelve
    resource = a_resource(grows[:63] + "/" + grows[:60])
    await sharing(store, resource)

    assert await paths(store) == [resource.path]


async def test_a_query_that_takes_too_long_is_ended_by_the_database(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    from p2p_server.directory.errors import Overloaded
    from p2p_server.store.postgres import pool

    monkeypatch.setitem(pool._SECONDS, pool.Lane.ANSWER, 0.2)

    with pytest.raises(Overloaded):
        await store._pool.look(lambda connection: connection.fetch("SELECT pg_sleep(5)"))

    assert await paths(store) == []


# --- away -----------------------------------------------------------------------------------------


async def test_a_closed_store_is_unavailable_and_closing_twice_is_nothing(
    store: PostgresStore,
) -> None:
    await store.close()
    await store.close()

    with pytest.raises(StoreUnavailable):
        await store.users()
    with pytest.raises(StoreUnavailable):
        await store.bind_user(a_user())


async def test_a_cancelled_announce_leaves_nothing_behind(store: PostgresStore) -> None:
    peer = (await online(store)).peer_id
    resources = tuple(a_resource(f"folder/{i}") for i in range(3_000))

    for _ in range(5):
        announcing = asyncio.ensure_future(  # noqa: TID251  # cancelled right here
            store.announce(peer, a_snapshot(1, *resources), NO_LIMIT)
        )
        await asyncio.sleep(0.02)
        announcing.cancel()
        with suppress(asyncio.CancelledError):
            await announcing

    held = await store.held_revision(peer)
    assert len(await paths(store)) == (3_000 if held == revision(1) else 0)
    assert await store.announce(peer, a_snapshot(2), NO_LIMIT) == revision(2)


async def test_sessions_that_another_process_removed_are_gone(
    store: PostgresStore, other: PostgresStore
) -> None:
    session = await sharing(store, a_resource("a"))

    assert await other.remove_user("ann")

    assert await store.find_session(session.token_hash) is None
    assert await paths(store) == []
    assert await store.announce(session.peer_id, a_snapshot(2), NO_LIMIT) == Revision()
