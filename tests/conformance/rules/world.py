"""What surrounds the program under trial: a directory that we play, its grants, sources that we
play, and the program itself as a process."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import grpc
import grpc.aio
from google.rpc.error_details_pb2 import ErrorInfo
from grpc_status import rpc_status
from tests.conformance.rules.source import PlayedSource
from tests.support.certificates import KeyPair
from tests.support.directory.fake import FakeDirectory, FakePeer
from tests.support.programs.network import Network
from tests.support.programs.processes import Ended, Program
from tools.vectors.base import GRANT_KEY, spki
from tools.vectors.grants import Granting

from p2p.v1 import directory_pb2 as pb
from p2p.v1 import peer_pb2_grpc
from p2p.v1 import types_pb2 as types

CALL_SECONDS = 10.0
PROGRAM_SECONDS = 60.0
USER = "ann"

Played = TypeVar("Played", bound=PlayedSource)


class PlayedDirectory(FakeDirectory):
    """A directory with a real grant key that notes when each call came."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.times: dict[str, list[float]] = {}
        self.refuses_deltas = False
        self.partial_peers: set[str] = set()  # what these have, they have in part
        self.most_uploads = 0  # as the sharer's last heartbeat told
        self.lie["Register"] = self._with_grant_key
        self.lie["Locate"] = self._with_expiry

    def _with_grant_key(self, answer: pb.RegisterResponse) -> None:
        answer.grant_key_der = spki(GRANT_KEY)

    def _with_expiry(self, answer: pb.LocateResponse) -> None:
        for source in answer.sources:
            source.grant_expire_time.FromSeconds(int(time.time()) + 43_200)
        for holding in answer.holdings:
            holding.partial = holding.peer_id in self.partial_peers

    async def Heartbeat(self, request: pb.HeartbeatRequest, context: Any) -> pb.HeartbeatResponse:
        self.most_uploads = request.load.max_uploads
        return await super().Heartbeat(request, context)

    async def _meet(self, method: str, context: Any) -> None:
        self.times.setdefault(method, []).append(time.monotonic())
        await super()._meet(method, context)

    async def Announce(self, request: pb.AnnounceRequest, context: Any) -> pb.AnnounceResponse:
        if self.refuses_deltas and not request.HasField("snapshot"):
            self.refuse_once["Announce"] = grpc.StatusCode.ABORTED, "REVISION_MISMATCH"
        return await super().Announce(request, context)

    @property
    def sharer(self) -> FakePeer:
        """The one listed peer that registered here."""
        (peer,) = (peer for peer in self.peers.values() if peer.register.listed)
        return peer

    def list_source(self, source: PlayedSource, path: str, **fields: Any) -> str:
        """Lists the source as the holder of its content under that path; answers the digest."""
        register = pb.RegisterRequest(
            user=source.user,
            certificate_der=source.listed_certificate_der,
            peer_id=source.peer_id,
            listed=True,
            endpoints=[types.Endpoint(host="127.0.0.1", port=source.port)],
        )
        resource = types.Resource(
            path=path,
            size_bytes=source.listed_size_bytes,
            digest=source.listed_digest,
            manifest_digest=source.listed_manifest_digest,
            **fields,
        )
        resource.modify_time.GetCurrentTime()
        peer = self.peers.setdefault(source.peer_id, FakePeer(register))
        peer.resources[path] = resource
        return source.listed_digest


@dataclass
class Sharing:
    """The program as a sharing peer that is listed, and calls to it as a downloader makes them."""

    program: Program
    directory: PlayedDirectory
    folder: Path
    channel: grpc.aio.Channel

    @property
    def stub(self) -> Any:
        return peer_pb2_grpc.PeerServiceStub(self.channel)

    @property
    def peer_id(self) -> str:
        return self.directory.sharer.register.peer_id

    def granting(self, digest: str) -> Granting:
        now = int(time.time())
        return Granting(self.directory.fingerprint, GRANT_KEY, self.peer_id, digest, now)

    def resource(self, name: str) -> types.Resource:
        found = self.directory.sharer.resources
        return next(at for path, at in found.items() if path.endswith(name))

    def grant(self, digest: str) -> tuple[tuple[str, str], ...]:
        granting = self.granting(digest)
        return bearer(granting.jwt(granting.claims()))

    def everything(self) -> tuple[tuple[str, str], ...]:
        granting = self.granting("")
        return bearer(granting.jwt(granting.claims(digests=None, all=True)))


def bearer(grant: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {grant}"),)


class World:
    """All that one rule needs; closed behind it."""

    def __init__(self, folder: Path, command: tuple[str, ...]) -> None:
        self.folder = folder
        self.command = command
        self.network = Network(folder)
        self.work = folder / "work"
        self.work.mkdir()
        self._programs: list[Program] = []
        self._directories: list[PlayedDirectory] = []
        self._sources: list[PlayedSource] = []
        self._channels: list[grpc.aio.Channel] = []

    # --- what surrounds it ----------------------------------------------------------------------

    async def directory(self, **arguments: Any) -> PlayedDirectory:
        directory = PlayedDirectory(**arguments)
        await directory.start()
        self._directories.append(directory)
        return directory

    async def source(self, content: bytes, **arguments: Any) -> PlayedSource:
        return await self.play(PlayedSource(content, **arguments))

    async def play(self, source: Played) -> Played:
        await source.start()
        self._sources.append(source)
        return source

    async def close(self) -> None:
        for channel in self._channels:
            await channel.close()
        for program in self._programs:
            await asyncio.to_thread(program.kill)
        for source in self._sources:
            await source.stop()
        for directory in self._directories:
            await directory.stop()

    def said(self) -> str:
        return "\n".join(map(str, self._programs))

    # --- the program ----------------------------------------------------------------------------

    def start(self, directory: PlayedDirectory, *arguments: str | Path) -> Program:
        address = f"127.0.0.1:{directory.port}"
        environment = self.network.environment | {
            "P2P_SERVER": address,
            "P2P_USER": USER,
            "P2P_STATE_DIR": str(self.folder / "state"),
        }
        program = self.network.start(
            (*self.command, *arguments), cwd=self.work, environment=environment
        )
        self._programs.append(program)
        return program

    async def get(self, directory: PlayedDirectory, digest: str, *arguments: str) -> Ended:
        """Runs `get b3:DIGEST` to its end."""
        program = self.start(directory, "get", f"b3:{digest}", *arguments)
        return await asyncio.to_thread(program.wait, within_seconds=PROGRAM_SECONDS)

    async def share(
        self, directory: PlayedDirectory, files: dict[str, bytes] | None = None
    ) -> Sharing:
        """Runs `share FOLDER` with these files in it, until all of them are announced."""
        folder = self.folder / "shared"
        folder.mkdir(exist_ok=True)
        for name, content in (files or {}).items():
            (folder / name).write_bytes(content)
        program = self.start(directory, "share", "--listen", "127.0.0.1:0", folder)
        names = {f"shared/{file.name}" for file in folder.iterdir()}
        await until(
            lambda: (
                bool(directory.peers)
                and directory.sharer.resources.keys() == names
                and bool(
                    directory.sharer.register.endpoints or directory.sharer.register.listen_port
                )
            ),
            "announced nothing, or not all",
            program,
        )
        register = directory.sharer.register
        port = register.listen_port or register.endpoints[0].port
        channel = self.dial(port, register.certificate_der)
        return Sharing(program, directory, folder, channel)

    def dial(self, port: int, certificate_der: bytes) -> grpc.aio.Channel:
        """A connection pinned to that certificate, as a downloader makes it."""
        pem = KeyPair(None, certificate_der).certificate_pem  # type: ignore[arg-type]  # only the certificate is used
        channel = grpc.aio.secure_channel(
            f"127.0.0.1:{port}",
            grpc.ssl_channel_credentials(pem),
            options=(
                ("grpc.ssl_target_name_override", "peer.p2p.invalid"),
                ("grpc.enable_http_proxy", 0),
                ("grpc.use_local_subchannel_pool", 1),
                ("grpc.http2.bdp_probe", 0),  # what nobody reads stays at the source
            ),
        )
        self._channels.append(channel)
        return channel


async def until(
    look: Any, failure: str, program: Program | None = None, within_seconds: float = 20.0
) -> None:
    """Waits until `look` is true; an AssertionError with that text when it does not become so."""
    deadline = time.monotonic() + within_seconds
    while not look():
        assert program is None or program.running, f"{failure}, and ended"
        assert time.monotonic() < deadline, failure
        await asyncio.sleep(0.03)


@dataclass(frozen=True)
class Answer:
    """How a call ended: `OK` or `CODE / REASON`, and the bytes that came."""

    status: str
    data: bytes = b""
    largest_chunk: int = 0


async def ended(call: Any) -> Answer:
    """The end of a call, unary or a stream; every error has its one ErrorInfo of our domain."""
    data, largest = bytearray(), 0
    try:
        async with asyncio.timeout(CALL_SECONDS):
            if hasattr(call, "__aiter__"):
                async for chunk in call:
                    data += chunk.data
                    largest = max(largest, len(chunk.data))
            else:
                await call
    except grpc.aio.AioRpcError as error:
        return Answer(status_of(error), bytes(data), largest)
    return Answer("OK", bytes(data), largest)


def status_of(error: grpc.aio.AioRpcError) -> str:
    """`CODE / REASON`."""
    status = rpc_status.from_call(error)
    details: Sequence[Any] = status.details if status else ()
    infos = [info for d in details if d.Unpack(info := ErrorInfo()) and info.domain == "p2p.v1"]
    reason = infos[0].reason if len(infos) == 1 else f"{len(infos)} ErrorInfos ({error.details()})"
    return f"{error.code().name} / {reason}"
