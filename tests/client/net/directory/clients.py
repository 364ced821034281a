"""What a client of a directory says in tests."""

from collections.abc import Callable
from datetime import UTC, datetime

from p2p_client.models import (
    Digest,
    Endpoint,
    ManifestDigest,
    PeerId,
    Resource,
)
from p2p_client.net.directory import DirectoryClient
from p2p_client.net.identity import Identity

PEER_ID = PeerId("a" * 22)
Connect = Callable[..., DirectoryClient]


def resource(path: str) -> Resource:
    return Resource(
        path=path,
        size_bytes=3,
        digest=Digest("d" * 64),
        manifest_digest=ManifestDigest("e" * 64),
        modified_at=datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC),
        media_type="text/plain",
    )


async def register(client: DirectoryClient, identity: Identity, user: str = "alice") -> None:
    await client.register(
        identity, user, PEER_ID, listed=True, endpoints=[Endpoint("192.0.2.7", 4000)]
    )
