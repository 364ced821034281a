"""Sources that speak real gRPC and do as told: serve, stall, truncate, corrupt, lie, die."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

import grpc
from google.protobuf.any_pb2 import Any
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status

from p2p.v1 import peer_pb2, types_pb2
from p2p.v1.peer_pb2_grpc import PeerServiceServicer, add_PeerServiceServicer_to_server
from p2p_client.content.manifest import Hashing, Manifest
from p2p_client.errors import DirectoryUnreachable
from p2p_client.models import Digest, Endpoint, Holding, PeerId, Source

PIECE_BYTES = 1 << 20
FAR_FUTURE = datetime(9999, 1, 1, tzinfo=UTC)
CODES = {
    "GRANT_EXPIRED": grpc.StatusCode.UNAUTHENTICATED,
    "GRANT_MISMATCH": grpc.StatusCode.PERMISSION_DENIED,
    "CONTENT_UNKNOWN": grpc.StatusCode.NOT_FOUND,
    "CONTENT_CHANGED": grpc.StatusCode.ABORTED,
    "TOO_MANY_STREAMS": grpc.StatusCode.RESOURCE_EXHAUSTED,
    "STREAM_IDLE": grpc.StatusCode.DEADLINE_EXCEEDED,
    "CONTENT_UNREADABLE": grpc.StatusCode.UNAVAILABLE,
    "SHUTTING_DOWN": grpc.StatusCode.UNAVAILABLE,
    "INTERNAL": grpc.StatusCode.INTERNAL,
    "PIECES_MISSING": grpc.StatusCode.FAILED_PRECONDITION,
    "OVERLOADED": grpc.StatusCode.RESOURCE_EXHAUSTED,
    "UNIMPLEMENTED": grpc.StatusCode.UNIMPLEMENTED,
}


def digest_of(content: bytes) -> tuple[Digest, Manifest]:
    hashing = Hashing(len(content))
    hashing.update(content)
    return hashing.finish()


@dataclass
class Behaviour:
    """What a source does wrong; by default nothing. Bytes are counted over all its streams."""

    refuse: str | None = None  # a reason: every FetchFile is refused with it
    refuse_manifest: str | None = None
    queue_messages: int = 0  # so many before each stream, 50 ms apart
    stall_after_bytes: int | None = None  # then silence
    stall_manifest: bool = False
    empty_chunks_after_bytes: int | None = None  # then chunks without data, for ever
    die_after_bytes: int | None = None  # then the server is gone, once
    fail_after_bytes: int | None = None  # then each stream ends with `fail_reason`
    fail_reason: str = "CONTENT_CHANGED"
    corrupt_pieces: frozenset[int] = frozenset()
    truncate_bytes: int = 0  # so much less than asked for, with a clean end
    surplus_bytes: int = 0  # so much more than asked for
    bytes_per_second: float | None = None
    chunk_bytes: int = PIECE_BYTES
    manifest: Manifest | None = None  # sent instead of the true one
    listed_size_bytes: int | None = None  # told to the directory instead of the true one
    held: set[int] | None = None  # a partial source with these pieces; see FakeSource.gain
    claimed: frozenset[int] = frozenset()  # pieces that it says it has, and does not
    refuse_watch: str | None = None  # a reason: WatchPieces is refused with it
    bitmap: bytes | None = None  # told instead of the true one
    babble: tuple[int, ...] | None = None  # added pieces that it tells over and over, for ever


@dataclass
class FakeSource(PeerServiceServicer):
    """One source of one content. `asked_for` is the content that it claims to have."""

    user: str
    content: bytes
    asked_for: Digest | None = None
    behaviour: Behaviour = field(default_factory=Behaviour)
    served: list[tuple[int, int]] = field(default_factory=list)  # offset, bytes sent
    grants: list[str] = field(default_factory=list)
    waiters: list[bool] = field(default_factory=list)  # whether each FetchFile would wait
    reported: list[tuple[str, int]] = field(default_factory=list)  # manifest digest, piece
    port: int = 0

    def __post_init__(self) -> None:
        self.digest, self.manifest = digest_of(self.content)
        self._server: grpc.aio.Server | None = None
        self.dead = asyncio.Event()
        self.watchers = 0
        self._gained = asyncio.Event()

    @property
    def peer_id(self) -> PeerId:
        return PeerId(f"peer-of-{self.user}-0123")

    @property
    def served_bytes(self) -> int:
        return sum(length for _, length in self.served)

    async def start(self, port: int = 0) -> None:
        options = [("grpc.so_reuseport", 0), ("grpc.http2.max_frame_size", (16 << 20) - 1)]
        self._server = grpc.aio.server(options=options)
        add_PeerServiceServicer_to_server(self, self._server)
        self.port = self._server.add_insecure_port(f"127.0.0.1:{port}")
        await self._server.start()
        self.dead.clear()

    async def stop(self) -> None:
        self.dead.set()
        if self._server is not None:
            server, self._server = self._server, None
            await server.stop(None)

    def holding(self, grant: str = "") -> Holding:
        manifest = self.behaviour.manifest or self.manifest
        size = self.behaviour.listed_size_bytes
        endpoints = (Endpoint("127.0.0.1", self.port),)
        source = Source(self.peer_id, self.user, endpoints, b"", grant, FAR_FUTURE)
        listed = manifest.size_bytes if size is None else size
        partial = self.behaviour.held is not None
        return Holding(self.asked_for or self.digest, source, manifest.digest(), listed, partial)

    def gain(self, *pieces: int) -> None:
        """It comes to have these too."""
        assert self.behaviour.held is not None, "it has everything"
        self.behaviour.held.update(pieces)
        self._gained.set()
        self._gained = asyncio.Event()

    def lose(self) -> None:
        """It believes none of its pieces any more, and begins anew: who watches is told."""
        assert self.behaviour.held is not None, "it has everything"
        self.behaviour.held = set()
        self._gained.set()
        self._gained = asyncio.Event()

    async def WatchPieces(  # type: ignore[override]  # the stub allows only generators
        self, request: peer_pb2.WatchPiecesRequest, context: "Context"
    ) -> None:
        behaviour, count = self.behaviour, self.manifest.piece_count
        if behaviour.refuse_watch:
            await refuse(context, behaviour.refuse_watch)
        self.watchers += 1
        told: set[int] = set()
        is_first = True
        held = set(range(count)) if behaviour.held is None else behaviour.held
        while not self.dead.is_set():
            gained = self._gained  # that of now: what comes while we write is not waited for
            new = sorted((held | behaviour.claimed) - told)
            if not is_first:
                message = peer_pb2.WatchPiecesResponse(added_pieces=new)
            else:
                is_first = False
                bits = sum(1 << piece for piece in new).to_bytes(-(-count // 8), "little")
                bitmap = bits if behaviour.bitmap is None else behaviour.bitmap
                message = peer_pb2.WatchPiecesResponse(bitmap=bitmap)
            await context.write(message)
            told.update(new)
            while behaviour.babble is not None and not self.dead.is_set():
                await context.write(peer_pb2.WatchPiecesResponse(added_pieces=behaviour.babble))
            if len(told) == count:
                return
            await gained.wait()
            if behaviour.held is not held and behaviour.held is not None:
                await refuse(context, "CONTENT_UNKNOWN")

    def FetchPacked(
        self, request: peer_pb2.FetchPackedRequest, context: "Context"
    ) -> AsyncIterator[peer_pb2.FetchPackedResponse]:
        raise NotImplementedError

    async def GetManifest(
        self, request: peer_pb2.GetManifestRequest, context: "Context"
    ) -> peer_pb2.GetManifestResponse:
        if self.behaviour.stall_manifest:
            await self.dead.wait()
        if self.behaviour.refuse_manifest:
            await refuse(context, self.behaviour.refuse_manifest)
        sent = self.behaviour.manifest or self.manifest
        return peer_pb2.GetManifestResponse(
            manifest=types_pb2.Manifest(
                size_bytes=sent.size_bytes,
                piece_size_bytes=sent.piece_size_bytes,
                piece_digests=sent.piece_digests,
            )
        )

    async def FetchFile(  # type: ignore[override]  # the stub allows only generators
        self, request: peer_pb2.FetchFileRequest, context: "Context"
    ) -> None:
        self.grants += [
            str(value)
            for key, value in context.invocation_metadata() or ()
            if key == "authorization"
        ]
        self.waiters += [request.wait_in_queue]
        if self.behaviour.refuse:
            await refuse(context, self.behaviour.refuse)
        for left in reversed(range(self.behaviour.queue_messages)):
            place = peer_pb2.QueueStatus(position=left, waiting_count=left + 1)
            await context.write(peer_pb2.FetchFileResponse(queue=place))
            await asyncio.sleep(0.05)
        if self.behaviour.held is not None:
            last = (request.read_offset + request.read_limit - 1) // PIECE_BYTES
            wanted = range(request.read_offset // PIECE_BYTES, last + 1)
            if not self.behaviour.held.issuperset(wanted):
                await refuse(context, "PIECES_MISSING")
        end = request.read_offset + request.read_limit - self.behaviour.truncate_bytes
        offset = request.read_offset
        while offset < end:
            await self._misbehave(context)
            chunk = self._bytes_at(offset, min(self.behaviour.chunk_bytes, end - offset))
            await context.write(peer_pb2.FetchFileResponse(data=chunk))
            self.served.append((offset, len(chunk)))
            offset += len(chunk)
            if self.behaviour.bytes_per_second:
                await asyncio.sleep(len(chunk) / self.behaviour.bytes_per_second)
        surplus = self.behaviour.surplus_bytes
        while surplus > 0:
            length = min(surplus, self.behaviour.chunk_bytes)
            await context.write(peer_pb2.FetchFileResponse(data=bytes(length)))
            surplus -= length

    async def ReportBadPiece(
        self, request: peer_pb2.ReportBadPieceRequest, context: "Context"
    ) -> peer_pb2.ReportBadPieceResponse:
        self.reported.append((request.manifest_digest, request.piece_index))
        return peer_pb2.ReportBadPieceResponse()

    def ProveIdentity(
        self, request: peer_pb2.ProveIdentityRequest, context: "Context"
    ) -> peer_pb2.ProveIdentityResponse:
        return peer_pb2.ProveIdentityResponse()

    def _bytes_at(self, offset: int, length: int) -> bytes:
        chunk = self.content[offset : offset + length].ljust(length, b"\0")
        first, last = offset // PIECE_BYTES, (offset + length - 1) // PIECE_BYTES
        if self.behaviour.corrupt_pieces.isdisjoint(range(first, last + 1)):
            return chunk
        return bytes(byte ^ 1 for byte in chunk[:1]) + chunk[1:]

    async def _misbehave(self, context: "Context") -> None:
        behaviour, served = self.behaviour, self.served_bytes
        if _reached(behaviour.stall_after_bytes, served):
            await self.dead.wait()
        if _reached(behaviour.fail_after_bytes, served):
            await refuse(context, behaviour.fail_reason)
        if _reached(behaviour.die_after_bytes, served):
            behaviour.die_after_bytes = None
            self.dead.set()
            if self._server is not None:
                # From within its own handler a server cannot be waited for.
                asyncio.get_running_loop().call_soon(asyncio.Task, self.stop())
            await asyncio.sleep(60)
        while _reached(behaviour.empty_chunks_after_bytes, served) and not self.dead.is_set():
            await context.write(peer_pb2.FetchFileResponse())
            await asyncio.sleep(0.01)


Context = grpc.aio.ServicerContext[object, object]


def _reached(limit: int | None, served: int) -> bool:
    return limit is not None and served >= limit


async def refuse(context: "Context", reason: str) -> None:
    detail = Any()
    detail.Pack(ErrorInfo(reason=reason, domain="p2p.v1"))
    code: int = CODES[reason].value[0]
    status = Status(code=code, message=f"refused for {reason}", details=[detail])
    await context.abort_with_status(rpc_status.to_status(status))


@dataclass
class FakeDirectory:
    """Locates what it is told to; counts how often it was asked."""

    sources: list[FakeSource] = field(default_factory=list)
    calls: int = 0
    is_away: bool = False

    async def locate(self, digest: Digest) -> Sequence[Holding]:
        self.calls += 1
        if self.is_away:
            raise DirectoryUnreachable("the directory is away")
        return [
            source.holding(f"grant-{self.calls}")
            for source in self.sources
            if source.port and (source.asked_for or source.digest) == digest
        ]


@asynccontextmanager
async def running(*sources: FakeSource) -> AsyncIterator[FakeDirectory]:
    """A directory that knows these sources, all started."""
    try:
        for source in sources:
            await source.start()
        yield FakeDirectory(list(sources))
    finally:
        for source in sources:
            await source.stop()
