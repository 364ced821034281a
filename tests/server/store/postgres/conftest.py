"""A store on a database of its own, and what another instance has of the same database."""

from collections.abc import AsyncIterator

import pytest

from p2p_server.store.postgres import PostgresStore


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
