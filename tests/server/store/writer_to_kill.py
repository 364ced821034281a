"""Announces and binds without end, and says what was acknowledged. Run by a test that kills it.

The database is a file, or the URL of a PostgreSQL.

Revision n of the one library holds the paths 0/… to n-1/…, PER_REVISION of each.
"""

import asyncio
import sys
from pathlib import Path

from tests.server.store.factories import (
    NO_LIMIT,
    a_resource,
    digest,
    revision,
    sharing,
)

from p2p_server.directory.models import Batch, User
from p2p_server.store.base import Store
from p2p_server.store.postgres import PostgresStore
from p2p_server.store.sqlite import SqliteStore

PER_REVISION = 40


def added(counter: int) -> list[str]:
    return [f"{counter}/file {i} of revision" for i in range(PER_REVISION)]


def store_at(database: str) -> Store:
    return PostgresStore(database) if "://" in database else SqliteStore(Path(database))


async def main(database: str) -> None:
    store = store_at(database)
    await store.open()
    peer = (await sharing(store)).peer_id
    counter = 1
    while True:
        await store.bind_user(User(f"user{counter}", digest(f"key {counter}"), 0.0))
        resources = tuple(a_resource(path) for path in added(counter))
        delta = Batch(revision(counter + 1), revision(counter), resources=resources)
        held = await store.announce(peer, delta, NO_LIMIT)
        counter = held.counter
        print(counter, flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
