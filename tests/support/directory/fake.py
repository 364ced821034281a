"""A directory under a test's thumb: real gRPC, state in memory, lies on request.

    async with FakeDirectory() as directory:
        directory.refuse["Heartbeat"] = (grpc.StatusCode.UNAUTHENTICATED, "SESSION_UNKNOWN")
        directory.lie["Query"] = lambda answer: answer.listed_resources[0].Clear()

Honest until told otherwise: it checks proofs, sessions and revisions by the contract, written anew
here and not taken from either program.
"""

import asyncio
import secrets
import struct
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from types import TracebackType
from typing import Any, NoReturn, Self, TypeVar

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status
from tests.support.certificates import KeyPair, directory_key_pair

from p2p.v1 import directory_pb2 as pb
from p2p.v1 import directory_pb2_grpc
from p2p.v1 import types_pb2 as types
from p2p_client.config import Address

A = TypeVar("A")
Context = Any  # grpc.aio.ServicerContext, generic only in the type stubs


@dataclass
class FakePeer:
    """What the directory keeps of one peer."""

    register: pb.RegisterRequest
    held: types.Revision = field(default_factory=types.Revision)
    resources: dict[str, types.Resource] = field(default_factory=dict)
    staged: dict[str, types.Resource] = field(default_factory=dict)
    staged_id: str = ""
    staged_batches: int = 0


class FakeDirectory(directory_pb2_grpc.DirectoryServiceServicer):
    """One directory at 127.0.0.1.

    Args:
        identity: its key and certificate; None in `insecure` still has a key.
        heartbeat_seconds: the interval it asks for.
    """

    def __init__(
        self,
        *,
        insecure: bool = False,
        identity: KeyPair | None = None,
        port: int = 0,
        lease_seconds: float = 30.0,
        heartbeat_seconds: float = 10.0,
    ) -> None:
        self.insecure = insecure
        self.identity = identity or directory_key_pair()
        self.port = port
        self.lease_seconds = lease_seconds
        self.heartbeat_seconds = heartbeat_seconds
        self.users: dict[str, bytes] = {}
        self.peers: dict[str, FakePeer] = {}
        self.tokens: dict[str, str] = {}
        self.rejects: dict[str, str] = {}  # path -> message
        self.verdict: Any = pb.ENDPOINT_VERDICT_REACHABLE
        self.limits = types.Limits(max_announce_items=5_000, max_request_bytes=1 << 20)
        self.calls: Counter[str] = Counter()
        self.batches: list[pb.AnnounceRequest] = []
        self.refuse: dict[str, tuple[grpc.StatusCode, str]] = {}
        self.refuse_once: dict[str, tuple[grpc.StatusCode, str]] = {}
        self.stall: set[str] = set()
        self.lie: dict[str, Callable[[Any], object]] = {}
        self.watches: list[pb.WatchRequest] = []
        self.watched: asyncio.Queue[pb.WatchResponse | tuple[grpc.StatusCode, str]] = (
            asyncio.Queue()
        )
        self._challenges: set[bytes] = set()
        self._server: grpc.aio.Server | None = None

    # --- life ----------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    @property
    def address(self) -> Address:
        return Address("127.0.0.1", self.port)

    @property
    def fingerprint(self) -> str:
        return self.identity.fingerprint

    async def start(self) -> None:
        """Listens where it did before, with all that it knew then."""
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        directory_pb2_grpc.add_DirectoryServiceServicer_to_server(self, self._server)
        if self.insecure:
            self.port = self._server.add_insecure_port(str(self.address))
        else:
            credentials = self.identity.server_credentials()
            self.port = self._server.add_secure_port(str(self.address), credentials)
        await self._server.start()

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.stop(None)
            self._server = None

    def forget_sessions(self) -> None:
        self.tokens.clear()

    def forget_everything(self) -> None:
        self.tokens.clear()
        self.peers.clear()
        self.users.clear()

    # --- calls ---------------------------------------------------------------------------------

    async def GetDirectoryInfo(
        self, request: pb.GetDirectoryInfoRequest, context: Context
    ) -> pb.GetDirectoryInfoResponse:
        await self._meet("GetDirectoryInfo", context)
        challenge = secrets.token_bytes(32)
        self._challenges.add(challenge)
        answer = pb.GetDirectoryInfoResponse(
            directory_id=self.fingerprint,
            software_version="fake",
            limits=self.limits,
            transport_security=pb.TRANSPORT_SECURITY_INSECURE
            if self.insecure
            else pb.TRANSPORT_SECURITY_TLS,
            challenge=challenge,
        )
        answer.directory_time.GetCurrentTime()
        return self._lied("GetDirectoryInfo", answer)

    async def Register(self, request: pb.RegisterRequest, context: Context) -> pb.RegisterResponse:
        await self._meet("Register", context)
        if request.challenge not in self._challenges:
            await _refuse(context, grpc.StatusCode.UNAUTHENTICATED, "CHALLENGE_INVALID")
        self._challenges.discard(request.challenge)
        key = x509.load_der_x509_certificate(request.certificate_der).public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        key.verify(request.proof, self._signed(request), ec.ECDSA(hashes.SHA256()))
        owner = self.users.setdefault(request.user.lower(), request.certificate_der)
        if owner != request.certificate_der:
            await _refuse(context, grpc.StatusCode.ALREADY_EXISTS, "USERNAME_TAKEN")
        peer = self.peers.setdefault(request.peer_id, FakePeer(request))
        peer.register = request
        token = secrets.token_urlsafe(32)
        self.tokens = {old: at for old, at in self.tokens.items() if at != request.peer_id}
        self.tokens[token] = request.peer_id
        answer = pb.RegisterResponse(
            session_token=token, grant_key_der=b"key", observed_host="127.0.0.1"
        )
        self._renew(answer, peer)
        return self._lied("Register", answer)

    async def Heartbeat(
        self, request: pb.HeartbeatRequest, context: Context
    ) -> pb.HeartbeatResponse:
        peer = await self._meet_peer("Heartbeat", context)
        answer = pb.HeartbeatResponse()
        self._renew(answer, peer)
        return self._lied("Heartbeat", answer)

    async def Leave(self, request: pb.LeaveRequest, context: Context) -> pb.LeaveResponse:
        peer = await self._meet_peer("Leave", context)
        self.tokens = {k: v for k, v in self.tokens.items() if v != peer.register.peer_id}
        return pb.LeaveResponse()

    async def Announce(self, request: pb.AnnounceRequest, context: Context) -> pb.AnnounceResponse:
        peer = await self._meet_peer("Announce", context)
        self.batches.append(request)
        if request.HasField("snapshot"):
            await self._stage(peer, request, context)
        elif request.revision != peer.held:
            if request.base != peer.held or request.revision.counter <= request.base.counter:
                await _refuse(context, grpc.StatusCode.ABORTED, "REVISION_MISMATCH")
            self._put(peer.resources, request)
            for path in request.withdrawn_paths:
                peer.resources.pop(path, None)
            peer.held = request.revision
        rejected = [
            types_rejected(resource.path, self.rejects[resource.path])
            for resource in request.resources
            if resource.path in self.rejects
        ]
        answer = pb.AnnounceResponse(held_revision=peer.held, rejected_items=rejected)
        return self._lied("Announce", answer)

    async def Query(self, request: pb.QueryRequest, context: Context) -> pb.QueryResponse:
        await self._meet_peer("Query", context)
        answer = pb.QueryResponse()
        for peer_id, peer in self.peers.items():
            for resource in peer.resources.values():
                answer.listed_resources.add(resource=resource, peer_id=peer_id)
        answer.peers.extend(self._listed())
        return self._lied("Query", answer)

    async def ListPeers(
        self, request: pb.ListPeersRequest, context: Context
    ) -> pb.ListPeersResponse:
        await self._meet_peer("ListPeers", context)
        return self._lied("ListPeers", pb.ListPeersResponse(peers=self._listed()))

    async def Locate(self, request: pb.LocateRequest, context: Context) -> pb.LocateResponse:
        await self._meet_peer("Locate", context)
        answer = pb.LocateResponse()
        for peer_id, peer in self.peers.items():
            found = [at for at in peer.resources.values() if at.digest in request.digests]
            for resource in found:
                answer.holdings.add(
                    digest=resource.digest,
                    peer_id=peer_id,
                    manifest_digest=resource.manifest_digest,
                    size_bytes=resource.size_bytes,
                )
            if found:
                answer.sources.add(
                    peer_id=peer_id,
                    user=peer.register.user,
                    endpoints=peer.register.endpoints,
                    certificate_der=peer.register.certificate_der,
                    grant="a.b.c",
                )
        return self._lied("Locate", answer)

    async def Watch(  # type: ignore[override]  # the stubs know streams as iterators only
        self, request: pb.WatchRequest, context: Context
    ) -> None:
        """Tells the responses that were put in `watched`, noting each request."""
        await self._meet_peer("Watch", context)
        self.watches.append(request)
        while True:
            answer = await self.watched.get()
            if isinstance(answer, pb.WatchResponse):
                await context.write(self._lied("Watch", answer))
            else:
                await _refuse(context, *answer)

    # --- details -------------------------------------------------------------------------------

    async def _meet(self, method: str, context: Context) -> None:
        self.calls[method] += 1
        refusal = self.refuse_once.pop(method, None) or self.refuse.get(method)
        if refusal is not None:
            await _refuse(context, *refusal)
        if method in self.stall:
            await asyncio.Event().wait()

    async def _meet_peer(self, method: str, context: Context) -> FakePeer:
        await self._meet(method, context)
        header = dict(context.invocation_metadata()).get("authorization", "")
        peer_id = self.tokens.get(str(header).removeprefix("Bearer "))
        if peer_id is None:
            await _refuse(context, grpc.StatusCode.UNAUTHENTICATED, "SESSION_UNKNOWN")
        return self.peers[peer_id]

    def _lied(self, method: str, answer: A) -> A:
        self.lie.get(method, lambda _: None)(answer)
        return answer

    def _signed(self, request: pb.RegisterRequest) -> bytes:
        signed = b"p2p.v1.Register\0"
        for part in (
            bytes.fromhex(self.fingerprint),
            request.challenge,
            request.user.encode(),
            request.peer_id.encode(),
            sha256(request.certificate_der).digest(),
        ):
            signed += struct.pack("!I", len(part)) + part
        return signed

    def _renew(self, answer: pb.RegisterResponse | pb.HeartbeatResponse, peer: FakePeer) -> None:
        answer.lease_duration.FromMilliseconds(int(self.lease_seconds * 1000))
        answer.heartbeat_interval.FromMilliseconds(int(self.heartbeat_seconds * 1000))
        answer.directory_time.GetCurrentTime()
        answer.held_revision.CopyFrom(peer.held)
        for endpoint in peer.register.endpoints:
            answer.endpoint_statuses.add(endpoint=endpoint, verdict=self.verdict)

    async def _stage(self, peer: FakePeer, request: pb.AnnounceRequest, context: Context) -> None:
        snapshot = request.snapshot
        if snapshot.snapshot_id != peer.staged_id and snapshot.batch_index == 0:
            peer.staged, peer.staged_id, peer.staged_batches = {}, snapshot.snapshot_id, 0
        expected = peer.staged_id == snapshot.snapshot_id
        if not expected or snapshot.batch_index > peer.staged_batches:
            await _refuse(context, grpc.StatusCode.ABORTED, "REVISION_MISMATCH")
        if snapshot.batch_index == peer.staged_batches:
            peer.staged_batches += 1
            self._put(peer.staged, request)
            if snapshot.last:
                peer.resources, peer.held = dict(peer.staged), request.revision

    def _put(self, catalog: dict[str, types.Resource], request: pb.AnnounceRequest) -> None:
        for resource in request.resources:
            if resource.path not in self.rejects:
                catalog[resource.path] = resource

    def _listed(self) -> list[pb.ListedPeer]:
        return [
            pb.ListedPeer(
                peer_id=peer_id,
                user=peer.register.user,
                endpoints=peer.register.endpoints,
                resource_count=len(peer.resources),
            )
            for peer_id, peer in self.peers.items()
            if peer.register.listed
        ]


def types_rejected(path: str, message: str) -> pb.RejectedItem:
    return pb.RejectedItem(item=path, reason=types.ERROR_REASON_PATH_INVALID, message=message)


async def _refuse(context: Context, code: grpc.StatusCode, reason: str) -> NoReturn:
    detail = AnyMessage()
    detail.Pack(ErrorInfo(reason=reason, domain="p2p.v1"))
    number: int = code.value[0]
    status = Status(code=number, message=f"refused: {reason}", details=[detail])
    await context.abort_with_status(rpc_status.to_status(status))
    raise AssertionError("abort returns never")
