"""Sources of whole trees over real gRPC, that pack or do not, and misbehave on request."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
from blake3 import blake3
from tests.support.sources.fake import FAR_FUTURE, digest_of

from p2p.v1 import peer_pb2, types_pb2
from p2p.v1.peer_pb2_grpc import PeerServiceServicer, add_PeerServiceServicer_to_server
from p2p_client.config import Settings
from p2p_client.download.tree.events import FileFailed, TreeEvent, TreeFinished, TreeStarted
from p2p_client.download.tree.fetch import TreeDownloader
from p2p_client.download.tree.plan import Tree, TreeFile
from p2p_client.models import Digest, Endpoint, Holding, ListedPeer, PeerId, Source
from p2p_client.net.channels import PeerChannels
from p2p_client.transfer.pace import Pace

WHEN = datetime(2026, 1, 1, tzinfo=UTC)
Context = Any


@dataclass
class TreeSource(PeerServiceServicer):
    """Serves contents by digest."""

    user: str
    contents: Sequence[bytes]
    packs: bool = True
    wrong: frozenset[bytes] = frozenset()  # contents that it serves with a byte changed
    shortened: frozenset[bytes] = frozenset()
    stall_after: int | None = None  # contents, over all calls; then silence
    in_message: int = 16
    extra: bool = False  # goes on after all was sent
    shuffled: bool = False
    port: int = 0
    packed_calls: list[int] = field(default_factory=list)  # how many digests each asked for
    file_calls: int = 0
    given: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._by_digest = {blake3(content).digest(): content for content in self.contents}

    @property
    def peer_id(self) -> PeerId:
        return PeerId(f"peer-of-{self.user}-0123")

    @property
    def listed(self) -> ListedPeer:
        return ListedPeer(self.peer_id, self.user, (Endpoint("127.0.0.1", self.port),), WHEN, 1, 1)

    async def start(self) -> None:
        self.server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        add_PeerServiceServicer_to_server(self, self.server)
        self.port = self.server.add_insecure_port("127.0.0.1:0")
        await self.server.start()

    def holdings(self, digests: Sequence[Digest]) -> list[Holding]:
        endpoints = (Endpoint("127.0.0.1", self.port),)
        source = Source(self.peer_id, self.user, endpoints, b"", "grant", FAR_FUTURE)
        return [
            Holding(digest, source, digest_of(content)[1].digest(), len(content))
            for digest in digests
            if (content := self._by_digest.get(bytes.fromhex(digest))) is not None
        ]

    async def FetchPacked(  # type: ignore[override]  # the stub allows only generators
        self, request: peer_pb2.FetchPackedRequest, context: Context
    ) -> None:
        if not self.packs:
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")
        self.packed_calls.append(len(request.digests))
        order = list(enumerate(request.digests))
        if self.shuffled:
            order.reverse()
        message = peer_pb2.FetchPackedResponse()
        for index, digest in order:
            if self.stall_after is not None and len(self.given) >= self.stall_after:
                await context.write(message)
                await asyncio.Event().wait()
            self._add(message, index, digest)
            if len(message.contents) == self.in_message:
                await context.write(message)
                message = peer_pb2.FetchPackedResponse()
        if self.extra:
            message.contents.add(index=len(order), data=b"more")
        await context.write(message)

    def _add(self, message: peer_pb2.FetchPackedResponse, index: int, digest: bytes) -> None:
        content = self._by_digest.get(digest)
        if content is None:
            message.contents.add(index=index, reason=types_pb2.ERROR_REASON_CONTENT_UNKNOWN)
            return
        self.given.append(content)
        message.contents.add(index=index, data=self._served(content))

    def _served(self, content: bytes) -> bytes:
        if content in self.shortened:
            return content[:-1]
        return bytes([content[0] ^ 1]) + content[1:] if content in self.wrong else content

    async def FetchFile(  # type: ignore[override]
        self, request: peer_pb2.FetchFileRequest, context: Context
    ) -> None:
        self.file_calls += 1
        content = self._served(self._by_digest[bytes.fromhex(request.digest)])
        end = request.read_offset + request.read_limit
        for at in range(request.read_offset, end, 1 << 20):
            data = content[at : min(at + (1 << 20), end)]
            await context.write(peer_pb2.FetchFileResponse(data=data))

    async def GetManifest(
        self, request: peer_pb2.GetManifestRequest, context: Context
    ) -> peer_pb2.GetManifestResponse:
        _, manifest = digest_of(self._by_digest[bytes.fromhex(request.digest)])
        return peer_pb2.GetManifestResponse(
            manifest=types_pb2.Manifest(
                size_bytes=manifest.size_bytes,
                piece_size_bytes=manifest.piece_size_bytes,
                piece_digests=manifest.piece_digests,
            )
        )

    async def ReportBadPiece(
        self, request: peer_pb2.ReportBadPieceRequest, context: Context
    ) -> peer_pb2.ReportBadPieceResponse:
        return peer_pb2.ReportBadPieceResponse()

    async def WatchPieces(  # type: ignore[override]
        self, request: peer_pb2.WatchPiecesRequest, context: Context
    ) -> None:
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")

    async def ProveIdentity(
        self, request: peer_pb2.ProveIdentityRequest, context: Context
    ) -> peer_pb2.ProveIdentityResponse:
        return peer_pb2.ProveIdentityResponse()


@dataclass
class Trees:
    """One who fetches trees, and what was told."""

    channels: PeerChannels
    sources: Sequence[TreeSource]
    events: list[TreeEvent] = field(default_factory=list)
    locate_calls: list[int] = field(default_factory=list)
    settings: Settings = field(default_factory=lambda: Settings(idle_timeout_seconds=1.0))

    async def locate(self, digests: Sequence[Digest]) -> list[Holding]:
        self.locate_calls.append(len(digests))
        return [holding for source in self.sources for holding in source.holdings(digests)]

    def tree(
        self, files: dict[str, bytes], *, owner: TreeSource | None = None, cut: int = 0
    ) -> Tree:
        """As the first source lists it."""
        peer = (owner or self.sources[0]).listed
        rows = []
        for path, content in files.items():
            digest, manifest = digest_of(content)
            manifest_digest = bytes.fromhex(manifest.digest())
            rows.append(
                TreeFile(
                    path, len(content), bytes.fromhex(digest), manifest_digest, WHEN, "", (peer,)
                )
            )
        return Tree(f"{peer.user}:tree/", peer.user, cut, "", tuple(rows))

    async def fetch(self, tree: Tree, root: Path, *, overwrite: bool = False) -> TreeFinished:
        downloader = TreeDownloader(
            self.locate,
            self.channels,
            self.settings,
            Pace(self.settings.limit_down_bytes_per_second),
            patience_seconds=0.5,
        )
        return await downloader.fetch(tree, root, overwrite=overwrite, on_event=self.events.append)

    @property
    def started(self) -> TreeStarted:
        return next(event for event in self.events if isinstance(event, TreeStarted))

    @property
    def failed(self) -> dict[str, str]:
        """Reason by file name."""
        return {e.path.name: e.reason for e in self.events if isinstance(e, FileFailed)}


@asynccontextmanager
async def trees_from(*sources: TreeSource) -> AsyncIterator[Trees]:
    channels = PeerChannels(insecure=True)
    try:
        for source in sources:
            await source.start()
        yield Trees(channels, sources)
    finally:
        await channels.close()
        for source in sources:
            await source.server.stop(None)


def on_disk(root: Path) -> dict[str, bytes]:
    """All files below a folder, hidden ones too."""
    return {
        str(file.relative_to(root)): file.read_bytes()
        for file in root.rglob("*")
        if file.is_file() and not file.is_symlink()
    }
