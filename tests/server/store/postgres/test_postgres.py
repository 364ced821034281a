"""The PostgreSQL store keeps the rules of all stores, and those of a store that is shared."""

import asyncio
from contextlib import suppress
from dataclasses import replace

import asyncpg
import pytest
from tests.server.store.factories import (
    NO_LIMIT,
    REACHABLE,
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

from p2p_server.directory.errors import StoreUnavailable
from p2p_server.directory.models import Criteria, Revision, Session
from p2p_server.store.base import (
    Renewal,
)
from p2p_server.store.postgres import PostgresStore
from p2p_server.store.postgres.answers.criteria import conditions, narrowings, numbered


class TestPostgresStore(StoreSuite):
    """All rules of all stores."""


def renewal(session: Session, seconds_left: float) -> Renewal:
    return Renewal(session.token_hash, seconds_left, session.peer_id, None)


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
