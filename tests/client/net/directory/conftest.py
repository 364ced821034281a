"""Clients of a directory, closed when the test ends."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.client.net.directory.clients import Connect

from p2p_client.config import Address
from p2p_client.net.directory import DirectoryClient
from p2p_client.net.identity import Identity, load_or_create
from p2p_client.net.trust import KnownDirectories


@pytest.fixture
def identity(tmp_path: Path) -> Identity:
    return load_or_create(tmp_path / "identity.pem")


@pytest.fixture
async def connect(tmp_path: Path) -> AsyncIterator[Connect]:
    opened: list[DirectoryClient] = []

    def make(
        *addresses: Address,
        pinned: str | None = None,
        insecure: bool = False,
        timeout_seconds: float = 5.0,
    ) -> DirectoryClient:
        client = DirectoryClient(
            addresses,
            known=KnownDirectories(tmp_path),
            pinned=pinned,
            insecure=insecure,
            timeout_seconds=timeout_seconds,
        )
        opened.append(client)
        return client

    yield make
    for client in opened:
        await client.close()
