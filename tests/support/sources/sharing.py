"""A sharing peer as downloaders meet it: real files, a real server, grants as they are signed."""

from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import grpc.aio
from tests.support.grants import NOW, GrantSigner
from tests.support.libraries import Shared, a_library

from p2p.v1 import peer_pb2
from p2p.v1.peer_pb2_grpc import PeerServiceStub
from p2p_client.config import Address
from p2p_client.models import Digest, Endpoint, PeerId
from p2p_client.net.channels import peer_channel
from p2p_client.net.identity import Identity, load_or_create
from p2p_client.net.status import read_refusal
from p2p_client.upload.serve import UploadServer
from p2p_client.upload.shown.contents import Contents
from p2p_client.upload.shown.partials import Partials

if TYPE_CHECKING:
    from p2p.v1.peer_pb2_grpc import PeerServiceAsyncStub

PEER_ID = PeerId("the-peer-that-shares")
Call = grpc.aio.UnaryStreamCall[peer_pb2.FetchFileRequest, peer_pb2.FetchFileResponse]
PackedCall = grpc.aio.UnaryStreamCall[peer_pb2.FetchPackedRequest, peer_pb2.FetchPackedResponse]
WatchCall = grpc.aio.UnaryStreamCall[peer_pb2.WatchPiecesRequest, peer_pb2.WatchPiecesResponse]


@dataclass
class Source:
    """One that shares, and one who fetches from it."""

    shared: Shared
    partials: Partials
    server: UploadServer
    identity: Identity
    port: int
    channel: grpc.aio.Channel
    stub: "PeerServiceAsyncStub"
    signer: GrantSigner
    clock_ahead: timedelta = timedelta()

    def now(self) -> datetime:
        return NOW + self.clock_ahead

    def digest(self, path: str) -> Digest:
        return self.shared.digest(path)

    def fetch(
        self,
        digest: str,
        offset: int = 0,
        limit: int = 0,
        *,
        chunk_bytes: int = 0,
        grant: str | None = None,
        user: str = "bob",
        waits: bool = False,
        stub: "PeerServiceAsyncStub | None" = None,
    ) -> Call:
        request = peer_pb2.FetchFileRequest(
            digest=digest,
            read_offset=offset,
            read_limit=limit,
            max_chunk_bytes=chunk_bytes,
            wait_in_queue=waits,
        )
        return (stub or self.stub).FetchFile(
            request, metadata=self.with_grant(grant, user), timeout=30
        )

    async def fetch_all(self, digest: str, offset: int = 0, limit: int = 0) -> bytes:
        return b"".join([chunk.data async for chunk in self.fetch(digest, offset, limit)])

    async def manifest(self, digest: str, grant: str | None = None) -> peer_pb2.GetManifestResponse:
        request = peer_pb2.GetManifestRequest(digest=digest)
        return await self.stub.GetManifest(request, metadata=self.with_grant(grant), timeout=30)

    def watch(self, digest: str, manifest_digest: str, user: str = "bob") -> WatchCall:
        request = peer_pb2.WatchPiecesRequest(digest=digest, manifest_digest=manifest_digest)
        return self.stub.WatchPieces(request, metadata=self.with_grant(None, user), timeout=30)

    def with_grant(self, grant: str | None, user: str = "bob") -> tuple[tuple[str, str], ...]:
        """The metadata of a call; None: a good grant, empty: none at all."""
        if grant == "":
            return ()
        return (("authorization", f"Bearer {grant or self.signer.grant(PEER_ID, user=user)}"),)


@asynccontextmanager
async def a_source(
    *roots: Path,
    insecure: bool = False,
    max_uploads: int = 8,
    idle_timeout_seconds: float = 10.0,
    limit_bytes_per_second: float | None = None,
) -> AsyncIterator[Source]:
    """Serves these roots until the context ends; its state lies beside the first of them."""
    state = roots[0].parent / "state"
    state.mkdir(exist_ok=True)
    identity = load_or_create(state / "identity.pem")
    clock: list[Source] = []
    async with a_library(*roots, cache_file=state / "cache.db") as shared:
        partials = Partials(shared.catalog)
        server = UploadServer(
            Contents(shared.library, partials),
            identity,
            PEER_ID,
            insecure=insecure,
            max_uploads=max_uploads,
            idle_timeout_seconds=idle_timeout_seconds,
            clock=lambda: clock[0].now(),
            limit_bytes_per_second=limit_bytes_per_second,
        )
        port = await server.start(Address("127.0.0.1", 0))
        signer = GrantSigner()
        server.trust(signer.directory_id, signer.key_der)
        certificate = None if insecure else identity.certificate_der
        channel = peer_channel(Endpoint("127.0.0.1", port), certificate)
        stub = PeerServiceStub(channel)
        clock.append(Source(shared, partials, server, identity, port, channel, stub, signer))
        try:
            yield clock[0]
        finally:
            await channel.close()
            await server.stop(0)


async def refusal_of(call: Call | PackedCall | WatchCall | Awaitable[object]) -> tuple[str, str]:
    """Code and reason with which a call ends; fails when it ends well."""
    try:
        if isinstance(call, grpc.aio.UnaryStreamCall):
            async for _ in call:
                pass
        else:
            await call
    except grpc.aio.AioRpcError as error:
        return error.code().name, read_refusal(error).reason
    raise AssertionError("the call ended well")


async def first_chunk(call: Call) -> bytes:
    """Reads one message; fails when there is none."""
    chunk = await call.read()
    assert isinstance(chunk, peer_pb2.FetchFileResponse)
    return chunk.data


async def next_place(call: Call) -> peer_pb2.QueueStatus | None:
    """Reads one message of a call that waits; None: it waits no longer, and the data is lost."""
    message = await call.read()
    assert isinstance(message, peer_pb2.FetchFileResponse)
    assert not (message.HasField("queue") and message.data)
    return message.queue if message.HasField("queue") else None


async def rest_of(call: Call) -> bytes:
    """What comes after `first_chunk`, to a good end. Raises AioRpcError for a bad one."""
    received = b""
    while isinstance(chunk := await call.read(), peer_pb2.FetchFileResponse):
        received += chunk.data
    return received
