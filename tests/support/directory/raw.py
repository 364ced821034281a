"""The directory as a client in any language sees it: real gRPC and generated messages, no code of
ours in between.

`RawDirectory.at(...)` connects, `register` answers a `RawSession` with one method a call.
"""

import asyncio
import secrets
import ssl
import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import grpc
import grpc.aio
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from tests.support.certificates import KeyPair, peer_key_pair
from tests.support.directory.listening import Listener, listen_as

from p2p.v1 import directory_pb2 as pb
from p2p.v1 import directory_pb2_grpc
from p2p.v1 import types_pb2 as types

CALL_SECONDS = 10.0


def new_peer_id() -> str:
    return secrets.token_urlsafe(16)


def register_bytes(
    directory_id: str, challenge: bytes, user: str, peer_id: str, certificate_der: bytes
) -> bytes:
    """What Register signs, written anew from docs/protocol.md."""
    fields = (
        bytes.fromhex(directory_id),
        challenge,
        user.encode(),
        peer_id.encode(),
        sha256(certificate_der).digest(),
    )
    return b"p2p.v1.Register\0" + b"".join(struct.pack(">I", len(f)) + f for f in fields)


def sign(pair: KeyPair, signed: bytes) -> bytes:
    assert isinstance(pair.key, ec.EllipticCurvePrivateKey)
    return pair.key.sign(signed, ec.ECDSA(SHA256()))


class RawDirectory:
    def __init__(
        self, target: str, certificate_pem: bytes | None, *, small_window: bool = False
    ) -> None:
        options = [("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1)]
        if small_window:  # so that little fits in it that nobody reads
            options += [("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 1024)]
        if certificate_pem is None:
            self.channel = grpc.aio.insecure_channel(target, options=options)
        else:
            options.append(("grpc.ssl_target_name_override", "directory.p2p.invalid"))  # type: ignore[arg-type]  # values may be text
            credentials = grpc.ssl_channel_credentials(certificate_pem)
            self.channel = grpc.aio.secure_channel(target, credentials, options=options)
        self.certificate_pem = certificate_pem
        self.listeners: list[Listener] = []
        self.stub: Any = directory_pb2_grpc.DirectoryServiceStub(self.channel)

    @classmethod
    @asynccontextmanager
    async def at(
        cls, host: str, port: int, *, insecure: bool = False
    ) -> AsyncIterator["RawDirectory"]:
        pem = None
        if not insecure:
            pem = (await asyncio.to_thread(ssl.get_server_certificate, (host, port))).encode()
        directory = cls(f"[{host}]:{port}" if ":" in host else f"{host}:{port}", pem)
        try:
            yield directory
        finally:
            for listener in directory.listeners:
                listener.close()
            await directory.channel.close()

    async def info(self) -> pb.GetDirectoryInfoResponse:
        answer: pb.GetDirectoryInfoResponse = await self.stub.GetDirectoryInfo(
            pb.GetDirectoryInfoRequest(), timeout=CALL_SECONDS
        )
        return answer

    async def register_request(self, user: str, pair: KeyPair, **fields: Any) -> pb.RegisterRequest:
        """A good request, its proof over what it says; `fields` as in the message."""
        info = await self.info()
        request = pb.RegisterRequest(
            user=user,
            certificate_der=pair.certificate_der,
            peer_id=fields.pop("peer_id", None) or new_peer_id(),
            challenge=fields.pop("challenge", None) or info.challenge,
            **fields,
        )
        request.proof = sign(
            pair,
            register_bytes(
                info.directory_id,
                request.challenge,
                request.user,
                request.peer_id,
                request.certificate_der,
            ),
        )
        return request

    async def send_register(self, request: pb.RegisterRequest) -> pb.RegisterResponse:
        answer: pb.RegisterResponse = await self.stub.Register(request, timeout=CALL_SECONDS)
        return answer

    async def register(self, user: str, pair: KeyPair | None = None, **fields: Any) -> "RawSession":
        pair = pair or peer_key_pair()
        request = await self.register_request(user, pair, **fields)
        return RawSession(self, user, pair, request.peer_id, await self.send_register(request))

    async def share(self, user: str, pair: KeyPair | None = None, **fields: Any) -> "RawSession":
        """A listed session with an endpoint that was dialled back, so that it is in answers."""
        pair = pair or peer_key_pair()
        listener = await listen_as(pair)
        self.listeners.append(listener)
        session = await self.register(
            user, pair, listed=True, endpoints=[listener.endpoint], **fields
        )
        await session.judged()
        return session


@dataclass
class RawSession:
    directory: RawDirectory
    user: str
    pair: KeyPair
    peer_id: str
    granted: pb.RegisterResponse
    counter: int = field(default=0)
    epoch: str = "e1"
    snapshot_id: str = "s1"

    @property
    def token(self) -> str:
        return self.granted.session_token

    async def call(self, method: str, request: Any, token: str | None = None) -> Any:
        metadata = (("authorization", f"Bearer {self.token if token is None else token}"),)
        rpc = getattr(self.directory.stub, method)
        return await rpc(request, metadata=metadata, timeout=CALL_SECONDS)

    async def heartbeat(self, **fields: Any) -> pb.HeartbeatResponse:
        answer: pb.HeartbeatResponse = await self.call("Heartbeat", pb.HeartbeatRequest(**fields))
        return answer

    async def judged(self) -> Sequence[pb.EndpointStatus]:
        """The endpoints, once none is pending any more."""
        async with asyncio.timeout(CALL_SECONDS):
            while True:
                statuses = (await self.heartbeat()).endpoint_statuses
                if all(s.verdict != pb.ENDPOINT_VERDICT_PENDING for s in statuses):
                    return statuses
                await asyncio.sleep(0.02)

    async def leave(self) -> None:
        await self.call("Leave", pb.LeaveRequest())

    async def announce(
        self, *resources: types.Resource, withdrawn: Sequence[str] = ()
    ) -> pb.AnnounceResponse:
        """A snapshot the first time, from then on a delta."""
        base, self.counter = self.counter, self.counter + 1
        request = pb.AnnounceRequest(
            revision=types.Revision(epoch=self.epoch, counter=self.counter),
            resources=resources,
            withdrawn_paths=withdrawn,
        )
        if base:
            request.base.CopyFrom(types.Revision(epoch=self.epoch, counter=base))
        else:
            request.snapshot.CopyFrom(
                pb.Snapshot(snapshot_id=self.snapshot_id, batch_index=0, last=True)
            )
        return await self.send_announce(request)

    async def send_announce(self, request: pb.AnnounceRequest) -> pb.AnnounceResponse:
        answer: pb.AnnounceResponse = await self.call("Announce", request)
        return answer

    async def query(self, **fields: Any) -> pb.QueryResponse:
        answer: pb.QueryResponse = await self.call("Query", pb.QueryRequest(**fields))
        return answer

    async def list_peers(self, **fields: Any) -> pb.ListPeersResponse:
        answer: pb.ListPeersResponse = await self.call("ListPeers", pb.ListPeersRequest(**fields))
        return answer

    def watch(self, **fields: Any) -> "RawWatch":
        metadata = (("authorization", f"Bearer {self.token}"),)
        return RawWatch(self.directory.stub.Watch(pb.WatchRequest(**fields), metadata=metadata))

    async def locate(self, *digests: str, **fields: Any) -> pb.LocateResponse:
        request = pb.LocateRequest(digests=digests, **fields)
        answer: pb.LocateResponse = await self.call("Locate", request)
        return answer


@dataclass
class RawWatch:
    """An open watch, and what it told so far in words: `appeared alice a.txt`, `peer_came bob`."""

    call: Any
    told: list[str] = field(default_factory=list)
    resume_token: str = ""

    async def next_response(self) -> pb.WatchResponse:
        async with asyncio.timeout(CALL_SECONDS):
            answer = await self.call.read()
        if answer is grpc.aio.EOF:
            await self.call  # raises why
            raise AssertionError("the watch ended without an error")
        assert isinstance(answer, pb.WatchResponse)
        users = {peer.peer_id: peer.user for peer in answer.peers}
        for event in answer.events:
            kind = pb.WatchEventKind.Name(event.kind).removeprefix("WATCH_EVENT_KIND_")
            words = [kind.removeprefix("RESOURCE_").lower()]
            words += [users[event.peer_id]] if event.peer_id else []
            words += [event.resource.path] if event.HasField("resource") else []
            self.told.append(" ".join(words))
        self.resume_token = answer.resume_token
        return answer

    async def until(self, last: str) -> list[str]:
        """What is told up to and with that event; it is forgotten then."""
        while last.lower() not in self.told:
            await self.next_response()
        at = self.told.index(last.lower()) + 1
        found, self.told = self.told[:at], self.told[at:]
        return found

    def cancel(self) -> None:
        self.call.cancel()


def resource(path: str, content: str = "", **fields: Any) -> types.Resource:
    """A resource whose digest follows from `content` (by default its path)."""
    digest = sha256((content or path).encode("utf-8", "surrogatepass")).hexdigest()
    made = types.Resource(
        path=path,
        size_bytes=fields.pop("size_bytes", len(content)),
        digest=fields.pop("digest", digest),
        manifest_digest=fields.pop("manifest_digest", digest),
        **fields,
    )
    made.modify_time.GetCurrentTime()
    return made
