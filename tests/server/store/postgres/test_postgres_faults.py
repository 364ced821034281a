"""Foreign, newer and unfit databases; processes killed; PostgreSQL itself crashing."""

import asyncio
from collections.abc import Iterator

import pytest
from tests.server.store.factories import NO_LIMIT, a_resource, a_user, paths, revision, sharing
from tests.server.store.kills import (
    acknowledged_to_a_killed_writer,
    check_that_nothing_is_lost,
    killed_after,
)
from tests.support.programs.postgres import Cluster, a_cluster

from p2p_server.directory.errors import StoreUnavailable
from p2p_server.directory.models import Batch
from p2p_server.store.errors import StoreUnusable
from p2p_server.store.postgres import PostgresStore, schema

CONTENTS = """
SELECT n.nspname, c.relname, c.relkind, pg_relation_filenode(c.oid)
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname NOT LIKE 'pg_%' ORDER BY 1, 2
"""


async def a_directory(url: str) -> None:
    store = PostgresStore(url)
    await store.open()
    await sharing(store, *(a_resource(f"folder/{i}") for i in range(50)))
    await store.close()


async def refusal_of(postgres: Cluster, url: str) -> str:
    """Why the store does not open; sees to it that nothing was touched."""
    before = postgres.sql(CONTENTS, url)
    with pytest.raises(StoreUnusable) as refusal:
        await PostgresStore(url).open()
    assert postgres.sql(CONTENTS, url) == before
    return str(refusal.value)


async def test_a_schema_of_a_newer_version_is_refused(postgres: Cluster, database: str) -> None:
    await a_directory(database)
    postgres.sql("INSERT INTO p2p_directory.version VALUES (1000)", database)

    assert "newer p2p-server" in await refusal_of(postgres, database)


async def test_a_schema_of_another_program_is_refused(postgres: Cluster, database: str) -> None:
    postgres.sql("CREATE SCHEMA p2p_directory CREATE TABLE mine (x int)", database)

    assert "not made by p2p-server" in await refusal_of(postgres, database)


async def test_other_programs_tables_in_the_database_are_left_alone(
    postgres: Cluster, database: str
) -> None:
    postgres.sql("CREATE TABLE peers (x int); INSERT INTO peers VALUES (7)", database)

    await a_directory(database)

    assert postgres.sql("SELECT x FROM peers", database) == "7"


async def test_a_schema_that_lacks_a_table_is_refused(postgres: Cluster, database: str) -> None:
    await a_directory(database)
    postgres.sql("DROP TABLE p2p_directory.partials", database)

    said = await refusal_of(postgres, database)
    assert "damaged" in said
    assert "partials" in said


async def test_a_database_that_is_not_utf8_is_refused(postgres: Cluster) -> None:
    url = postgres.database(ENCODING="'SQL_ASCII'", LC_COLLATE="'C'", LC_CTYPE="'C'")

    assert "encoding SQL_ASCII" in await refusal_of(postgres, url)


async def test_a_user_who_may_make_nothing_is_told_so(postgres: Cluster, database: str) -> None:
    name = database.rpartition("/")[2]
    postgres.sql(f"CREATE ROLE guest_{name} LOGIN", database)
    guest = database.replace("directory@", f"guest_{name}:secret@")

    said = await refusal_of(postgres, guest)

    assert "owner of the database" in said
    assert "secret" not in said


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ann:secret@127.0.0.1:1/p2p",
        "postgresql://ann:secret@127.0.0.1:0/p2p",
        "postgresql://ann:secret@127.0.0.1:1/p2p?sslmode=maybe",
        "postgresql://ann:secret@no-such-host.invalid/p2p",
    ],
)
async def test_a_database_that_does_not_answer_is_named_without_its_password(url: str) -> None:
    with pytest.raises(StoreUnusable) as refusal:
        await PostgresStore(url).open()

    assert "secret" not in str(refusal.value)


async def test_an_unknown_database_is_said(postgres: Cluster, database: str) -> None:
    with pytest.raises(StoreUnusable, match="does not exist"):
        await PostgresStore(database + "_gone").open()


# --- killed in the middle -------------------------------------------------------------------------

MIGRATING_PROCESS = """
import asyncio, sys
from p2p_server.store.postgres import PostgresStore, schema

NOTICE = "DO $$ BEGIN RAISE NOTICE 'in the middle'; PERFORM pg_sleep(600); END $$;"
schema.MIGRATIONS += ("CREATE TABLE later (x int); DROP TABLE partials;" + NOTICE,)

def say(connection, message):
    if message.message == "in the middle":
        print(message.message, flush=True)

async def main():
    store = PostgresStore(sys.argv[1])
    connect = store._pool.connect
    async def listening():
        connection = await connect()
        connection.add_log_listener(say)
        return connection
    store._pool.connect = listening
    await store.open()

asyncio.run(main())
"""


@pytest.mark.slow
@pytest.mark.parametrize("is_new", [True, False])
async def test_a_process_killed_while_it_migrates_leaves_the_old_schema(
    postgres: Cluster, database: str, is_new: bool
) -> None:
    if not is_new:
        await a_directory(database)
    before = postgres.sql(CONTENTS, database)

    said = await killed_after(1, "-c", MIGRATING_PROCESS, database)

    assert b"in the middle" in said[0]
    postgres.sql(f"SELECT pg_advisory_lock({schema.LOCK})", database)  # the backend has ended
    assert postgres.sql(CONTENTS, database) == before
    store = PostgresStore(database)
    await store.open()
    assert len(await paths(store)) == (0 if is_new else 50)
    await store.close()


@pytest.mark.slow
@pytest.mark.parametrize("revisions_seen", [1, 12])
async def test_a_process_killed_while_it_writes_loses_nothing_it_acknowledged(
    database: str, revisions_seen: int
) -> None:
    acknowledged = await acknowledged_to_a_killed_writer(database, revisions_seen)

    store = PostgresStore(database)
    await store.open()
    try:
        await check_that_nothing_is_lost(store, acknowledged)
    finally:
        await store.close()


@pytest.fixture
def own_cluster() -> Iterator[Cluster]:
    """A server that may crash."""
    with a_cluster() as cluster:
        yield cluster


@pytest.mark.slow
async def test_a_crash_of_postgresql_loses_no_name_and_the_store_comes_back_by_itself(
    own_cluster: Cluster,
) -> None:
    store = PostgresStore(own_cluster.database())
    await store.open()
    session = await sharing(store, a_resource("a"))
    for i in range(50):
        await store.bind_user(a_user(f"user{i}"))

    own_cluster.kill()
    with pytest.raises(StoreUnavailable):
        await store.users()
    with pytest.raises(StoreUnavailable):
        await store.announce(session.peer_id, Batch(revision(2), revision(1)), NO_LIMIT)
    own_cluster.start()

    assert len(await store.users()) == 51
    held = await store.held_revision(session.peer_id)
    assert await paths(store) == (["a"] if held.counter else [])
    await store.close()


@pytest.mark.slow
async def test_while_postgresql_is_silent_calls_fail_in_time(own_cluster: Cluster) -> None:
    store = PostgresStore(own_cluster.database())
    await store.open()
    session = await sharing(store, a_resource("a"))

    own_cluster.pause()
    try:
        async with asyncio.timeout(20):  # two waits of four seconds, and what the machine adds
            answers = await asyncio.gather(
                *(store.find_session(session.token_hash) for _ in range(30)),
                *(store.peers("", None, 1) for _ in range(30)),
                return_exceptions=True,
            )
    finally:
        own_cluster.resume()

    assert all(isinstance(answer, StoreUnavailable) for answer in answers)
    assert await store.find_session(session.token_hash) is not None
    await store.close()
