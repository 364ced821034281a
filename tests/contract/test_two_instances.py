"""Two directories on one PostgreSQL, over real gRPC: what one does, watchers at the other see."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from tests.support.directory.raw import RawDirectory, RawWatch, resource
from tests.support.programs.postgres import Cluster

from p2p_server.app import running
from p2p_server.config import Address, Config, LogFormat, PostgresUrl
from p2p_server.store.postgres import PostgresStore

LEASE_SECONDS = 6.0


@asynccontextmanager
async def instance(database: str) -> AsyncIterator[RawDirectory]:
    config = Config(
        listen=Address("127.0.0.1", 0),
        database=PostgresUrl(database),
        lease_seconds=LEASE_SECONDS,
        insecure=False,
        log_format=LogFormat.TEXT,
    )
    async with running(config) as directory:
        async with RawDirectory.at("127.0.0.1", directory.listen.port, insecure=False) as raw:
            yield raw


@pytest.fixture
async def instances(database: str) -> AsyncIterator[list[RawDirectory]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(instance(database)) for _ in range(2)]


async def watch_of(directory: RawDirectory, tasks: asyncio.TaskGroup) -> RawWatch:
    """A watch from now on, of somebody whose heartbeats go on."""
    watcher = await directory.register("bob")

    async def beat() -> None:
        while True:
            await watcher.heartbeat()
            await asyncio.sleep(LEASE_SECONDS / 8)

    tasks.create_task(beat(), name="beat")
    watch = watcher.watch(only_new=True)
    await watch.until("caught_up")
    return watch


@asynccontextmanager
async def beating() -> AsyncIterator[asyncio.TaskGroup]:
    async with asyncio.TaskGroup() as tasks:
        yield tasks
        for task in asyncio.all_tasks():
            if task.get_name() == "beat":
                task.cancel()


async def test_peers_that_go_elsewhere_do_not_make_watches_begin_anew(
    instances: list[RawDirectory],
) -> None:
    one, two = instances
    async with beating() as tasks:
        alice = await one.share("alice")
        await alice.announce(resource("a.txt"))
        watch = await watch_of(one, tasks)

        alice.directory = two  # the session goes on with the other instance, and ends there
        await alice.leave()

        assert await watch.until("peer_left alice") == ["gone alice a.txt", "peer_left alice"]
        await asyncio.sleep(1.0)  # until the first instance has seen it, too
        await one.share("carl")
        assert await watch.until("peer_came carl") == ["peer_came carl"]


async def test_a_user_who_is_removed_makes_all_watches_begin_anew(
    instances: list[RawDirectory], database: str
) -> None:
    one, two = instances
    async with beating() as tasks:
        alice = await one.share("alice")
        await alice.announce(resource("a.txt"))
        watch = await watch_of(two, tasks)

        store = PostgresStore(database)
        await store.open()
        assert await store.remove_user("alice")
        await store.close()

        assert "gone alice a.txt" not in await watch.until("started_anew")


@pytest.mark.parametrize(
    "said", ["hello", "[1]", "null", '["x", "sessions", 7]', '["x","loads",[1]]']
)
async def test_what_others_say_in_the_channel_ends_nothing(
    instances: list[RawDirectory], postgres: Cluster, database: str, said: str
) -> None:
    one, two = instances
    alice = await one.share("alice")

    postgres.sql(f"NOTIFY p2p_directory, '{said}'", database)
    await asyncio.sleep(0.5)

    await alice.heartbeat()
    await alice.announce(resource("a.txt"))
    bob = await two.register("bob")
    assert (await bob.query()).listed_resources


async def test_text_that_postgresql_does_not_take_finds_nothing(
    instances: list[RawDirectory],
) -> None:
    bob = await instances[0].register("bob")

    assert not (await bob.list_peers(user="a\0")).peers
    assert not (await bob.query(owner="a\0")).listed_resources
