"""A directory within the process of the tests, and a raw client connected to it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.support.directory.raw import RawDirectory

from p2p_server.app import RunningDirectory, running
from p2p_server.config import Address, Config, LogFormat
from p2p_server.directory.models import Limits


@asynccontextmanager
async def directory_running(
    folder: Path,
    *,
    listen: str = "127.0.0.1",
    port: int = 0,
    lease_seconds: float = 30.0,
    insecure: bool = False,
    limits: Limits | None = None,
) -> AsyncIterator[tuple[RunningDirectory, RawDirectory]]:
    """A directory in this process, on a real port, and a raw client connected to it."""
    config = Config(
        listen=Address(listen, port),
        database=folder / "directory.db",
        lease_seconds=lease_seconds,
        insecure=insecure,
        log_format=LogFormat.TEXT,
    )
    async with running(config, limits) as directory:
        async with RawDirectory.at(listen, directory.listen.port, insecure=insecure) as raw:
            yield directory, raw
