from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import apsw
import pytest
from tests.support.directory.raw import RawDirectory
from tests.support.directory.running import directory_running

from p2p_server.app import RunningDirectory
from p2p_server.directory.models import Limits

LIMITS = Limits(
    max_resources_per_user=50,
    max_peers_per_user=3,
    max_watchers_per_user=2,
    max_announces_per_minute=60,
    max_sessions_per_address=60,
)


@dataclass(frozen=True)
class Served:
    """A directory that serves with small limits, and a raw client of it."""

    running: RunningDirectory
    raw: RawDirectory
    database: Path


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    async with directory_running(tmp_path, limits=LIMITS) as (running, raw):
        yield Served(running, raw, tmp_path / "directory.db")


@contextmanager
def database_locked(database: Path) -> Iterator[None]:
    """Somebody else writes, and goes on writing."""
    other = apsw.Connection(str(database))
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.execute("ROLLBACK")
        other.close()
