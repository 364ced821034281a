"""A source over TLS that we play, honest or not."""

import asyncio
from typing import Any, NoReturn

import grpc
import grpc.aio
from blake3 import blake3
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status
from tests.support.certificates import KeyPair, peer_key_pair
from tests.support.sources.basic import BasicSource
from tools.vectors.contents import manifest_case

from p2p.v1 import peer_pb2, types_pb2
from p2p.v1.peer_pb2_grpc import add_PeerServiceServicer_to_server

CHUNK_BYTES = 256 << 10


class PlayedSource(BasicSource):
    """Serves `content`, listed as what it is until one of the `listed_…` says otherwise.

    Args:
        digest: the digest under which it is listed; None: the true one.
        manifest: sent instead of the true one; its own digest is then listed.
        short_bytes: so much less than asked for comes, with a clean end; negative: so much more.
    """

    def __init__(
        self,
        content: bytes,
        *,
        user: str = "sam",
        digest: str | None = None,
        manifest: types_pb2.Manifest | None = None,
        corrupt_bytes: int = 0,
        short_bytes: int = 0,
        identity: KeyPair | None = None,
    ) -> None:
        self.user = user
        self.peer_id = f"peer-of-{user}-0123"
        self.content = content
        self.corrupt_bytes = corrupt_bytes
        self.short_bytes = short_bytes
        self.identity = identity or peer_key_pair()
        self.manifest = manifest or manifest_of(content)
        self.listed_digest = digest or blake3(content).hexdigest()
        self.listed_manifest_digest = manifest_digest(self.manifest)
        self.listed_size_bytes = len(content)
        self.listed_certificate_der = self.identity.certificate_der
        self.port = 0
        self.grants: set[str] = set()
        self.manifests_sent = 0
        self.bytes_sent = 0
        self._server: grpc.aio.Server | None = None

    async def start(self) -> None:
        self._server = grpc.aio.server()
        add_PeerServiceServicer_to_server(self, self._server)
        credentials = self.identity.server_credentials()
        self.port = self._server.add_secure_port("127.0.0.1:0", credentials)
        await self._server.start()

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.stop(None)

    async def GetManifest(self, request: Any, context: Any) -> peer_pb2.GetManifestResponse:
        self._note(context)
        self.manifests_sent += 1
        return peer_pb2.GetManifestResponse(manifest=self.manifest)

    async def FetchFile(self, request: Any, context: Any) -> None:  # type: ignore[override]  # the stub allows only generators
        self._note(context)
        end = len(self.content)
        if request.read_limit:
            end = min(end, request.read_offset + request.read_limit)
        await self._before(request, end, context)
        data = self.content[request.read_offset : end]
        if self.short_bytes:
            data = data[: max(0, len(data) - self.short_bytes)].ljust(
                len(data) - self.short_bytes, b"\0"
            )
        if self.corrupt_bytes:
            data = (
                bytes(byte ^ 0xFF for byte in data[: self.corrupt_bytes])
                + (data[self.corrupt_bytes :])
            )
        for at in range(0, len(data), CHUNK_BYTES):
            if at > len(data) // 2 >= at - CHUNK_BYTES:
                await self._between(request, context)
            await context.write(peer_pb2.FetchFileResponse(data=data[at : at + CHUNK_BYTES]))
            self.bytes_sent += len(data[at : at + CHUNK_BYTES])
            await asyncio.sleep(0)

    def ProveIdentity(self, request: Any, context: Any) -> peer_pb2.ProveIdentityResponse:
        return peer_pb2.ProveIdentityResponse()

    async def _before(self, request: Any, end: int, context: Any) -> None:
        """Whatever comes before the bytes of a range that ends before `end`."""

    async def _between(self, request: Any, context: Any) -> None:
        """Whatever comes in the middle of a range of several chunks."""

    def _note(self, context: Any) -> None:
        self.grants.add(str(dict(context.invocation_metadata() or ()).get("authorization", "")))


async def refuse(context: Any, code: grpc.StatusCode, reason: str) -> NoReturn:
    """Ends the call with one of the contract's reasons."""
    detail = AnyMessage()
    detail.Pack(ErrorInfo(reason=reason, domain="p2p.v1"))
    number: int = code.value[0]
    status = Status(code=number, message=f"refused for {reason}", details=[detail])
    await context.abort_with_status(rpc_status.to_status(status))
    raise AssertionError("abort returns never")


def manifest_of(content: bytes) -> types_pb2.Manifest:
    case = manifest_case("", content)
    return types_pb2.Manifest(
        size_bytes=len(content),
        piece_size_bytes=case["piece_size_bytes"],
        piece_digests=bytes.fromhex("".join(case["piece_digests"])),
    )


def manifest_digest(manifest: types_pb2.Manifest) -> str:
    numbers = manifest.size_bytes, manifest.piece_size_bytes
    head = b"p2p.v1.Manifest\0" + b"".join(number.to_bytes(8, "big") for number in numbers)
    return blake3(head + manifest.piece_digests).hexdigest()
