"""The PostgreSQL store keeps the rules of all stores."""

from collections.abc import AsyncIterator

import pytest
from tests.server.store.suite import StoreSuite

from p2p_server.store.postgres import PostgresStore


@pytest.fixture
async def store(database: str) -> AsyncIterator[PostgresStore]:
    opened = PostgresStore(database)
    await opened.open()
    yield opened
    await opened.close()


class TestPostgresStore(StoreSuite):
    """All rules of all stores."""
