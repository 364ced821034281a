"""Memberships at a directory under a test's thumb, and what it lists of them."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

from tests.support.directory.fake import FakeDirectory

from p2p_client.library.catalog import Catalog
from p2p_client.membership.driver import Membership
from p2p_client.models import (
    Digest,
    Endpoint,
    ManifestDigest,
    PeerId,
    Resource,
)
from p2p_client.net.directory import DirectoryClient
from p2p_client.net.identity import Identity
from p2p_client.net.trust import KnownDirectories

PEER_ID = PeerId("p" * 22)
ENDPOINT = Endpoint("192.0.2.7", 4000)


def resource(path: str, size_bytes: int = 1) -> Resource:
    return Resource(path, size_bytes, Digest("d" * 64), ManifestDigest("e" * 64), datetime.now(UTC))


def catalog_of(*paths: str, epoch: str = "epoch-one") -> Catalog:
    catalog = Catalog(epoch)
    for path in paths:
        catalog.put(resource(path))
    catalog.settled = True
    return catalog


async def eventually(holds: Callable[[], bool], seconds: float = 15.0) -> None:
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110  # a real server's state has no event to wait for
            await asyncio.sleep(0.01)


class Members:
    """Memberships of one test, all of one identity and state folder."""

    def __init__(self, folder: Path, identity: Identity) -> None:
        self._folder = folder
        self.identity = identity
        self.notices: list[str] = []

    @asynccontextmanager
    async def member(
        self,
        directory: FakeDirectory,
        catalog: Catalog | None = None,
        *,
        timeout_seconds: float = 5.0,
        endpoints: Sequence[Endpoint] = (ENDPOINT,),
        identity: Identity | None = None,
    ) -> AsyncIterator[Membership]:
        client = DirectoryClient(
            [directory.address],
            known=KnownDirectories(self._folder),
            pinned=None,
            insecure=directory.insecure,
            timeout_seconds=timeout_seconds,
        )
        membership = Membership(
            client,
            identity or self.identity,
            "alice",
            PEER_ID,
            catalog=catalog,
            endpoints=endpoints if catalog is not None else (),
            on_notice=self.notices.append,
        )
        running = asyncio.gather(membership.run(), return_exceptions=True)
        try:
            yield membership
        finally:
            running.cancel()
            await asyncio.wait([running])
            await client.close()


def listed(directory: FakeDirectory) -> set[str]:
    peer = directory.peers.get(PEER_ID)
    return set() if peer is None else set(peer.resources)
