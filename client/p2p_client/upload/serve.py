"""The server that a sharing peer is: where it listens, whom it believes, how it stops."""

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, cast

import grpc
import grpc.aio

from p2p.v1.peer_pb2 import (
    DESCRIPTOR,
    FetchFileRequest,
    FetchFileResponse,
    FetchPackedRequest,
    FetchPackedResponse,
)
from p2p.v1.peer_pb2_grpc import PeerServiceServicer, add_PeerServiceServicer_to_server
from p2p_client.config import Address
from p2p_client.errors import LocalRefusal
from p2p_client.models import PeerId
from p2p_client.net.identity import Identity
from p2p_client.transfer.pace import Pace
from p2p_client.upload.admission.callers import Callers
from p2p_client.upload.admission.grants import Trust
from p2p_client.upload.servicer import PeerServicer
from p2p_client.upload.shown.contents import Contents
from p2p_client.upload.slots.queue import MOST_WAITING
from p2p_client.upload.slots.slots import Slots

OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.so_reuseport", 0),  # a second server on the port must fail, not share it
    ("grpc.max_receive_message_length", 256 << 10),  # 5,000 digests of FetchPacked
    ("grpc.max_send_message_length", (4 << 20) + (64 << 10)),
    ("grpc.max_concurrent_streams", 128),  # per connection
    ("grpc.max_allowed_incoming_connections", 512),
    ("grpc.http2.max_frame_size", (16 << 20) - 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.max_connection_idle_ms", 300_000),
    ("grpc.enable_channelz", 0),
)
# Streams have slots and a queue of their own; this bounds the rest, manifests of 2 MiB included.
MOST_CALLS_BESIDE_STREAMS = 192
SHARE_OF_ONE_HOST = 0.75
"""Of the calls at once; it may be many users behind one address, or one who takes no answers."""
_SERVICE = DESCRIPTOR.services_by_name["PeerService"].full_name


class UploadServer:
    """
    Args:
        max_uploads: streams served at once.
        limit_bytes_per_second: for all streams together; None: as fast as they go.
        idle_timeout_seconds: a reader that takes nothing for so long loses its stream.
        clock: the directory's time, by which grants are judged.
    """

    def __init__(
        self,
        contents: Contents,
        identity: Identity,
        peer_id: PeerId,
        *,
        insecure: bool,
        max_uploads: int,
        idle_timeout_seconds: float,
        clock: Callable[[], datetime],
        limit_bytes_per_second: float | None = None,
    ) -> None:
        self._identity = identity
        self._insecure = insecure
        self._is_idle = asyncio.Event()
        self._slots = Slots(
            max_uploads,
            pace=Pace(limit_bytes_per_second),
            idle_timeout_seconds=idle_timeout_seconds,
            on_idle=self._is_idle.set,
        )
        self._most_calls = max_uploads + MOST_WAITING + MOST_CALLS_BESIDE_STREAMS
        self._servicer = PeerServicer(
            contents,
            identity,
            peer_id,
            slots=self._slots,
            callers=Callers(int(self._most_calls * SHARE_OF_ONE_HOST)),
            clock=clock,
        )
        self._server: grpc.aio.Server | None = None

    @property
    def active_uploads(self) -> int:
        return self._slots.taken_count

    @property
    def waiting_uploads(self) -> int:
        return self._slots.waiting_count

    @property
    def uploaded_bytes(self) -> int:
        return self._servicer.uploaded_bytes

    @property
    def watchers(self) -> int:
        """How many follow which pieces we hold."""
        return self._servicer.watchers

    def trust(self, directory_id: str, grant_key_der: bytes) -> None:
        """From now on grants of this directory, and of no other, let downloaders in.

        Raises ValueError when the key is no P-256 key.
        """
        self._servicer.trust = Trust.of(directory_id, grant_key_der)

    async def start(self, listen: Address) -> int:
        """Accepts connections; answers the port. Raises LocalRefusal when it cannot listen."""
        server = grpc.aio.server(options=OPTIONS, maximum_concurrent_rpcs=self._most_calls)
        _add_to_server(self._servicer, server)
        try:
            port = self._bind(server, listen)
            await server.start()
        except BaseException:  # cancelled, too: one that is only dropped complains later
            with contextlib.suppress(asyncio.InvalidStateError):  # gRPC's, where it half started
                await server.stop(None)
            raise
        self._server = server
        return port

    async def stop(self, grace_seconds: float) -> None:
        """Refuses new calls at once, gives the running streams the grace, then cuts them."""
        server, self._server = self._server, None
        if server is None:
            return
        # The server's own grace would let new calls on open connections wait without an answer.
        self._servicer.is_closing = True
        self._slots.close()
        try:
            if self.active_uploads:
                self._is_idle.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(grace_seconds):
                        await self._is_idle.wait()
        finally:
            await server.stop(None)

    def _bind(self, server: grpc.aio.Server, listen: Address) -> int:
        pair = (self._identity.key_pem, self._identity.certificate_pem)
        try:
            if self._insecure:
                return server.add_insecure_port(str(listen))
            return server.add_secure_port(str(listen), grpc.ssl_server_credentials([pair]))
        except RuntimeError as error:
            raise LocalRefusal(
                f"cannot listen at {listen}: the port is taken, or the address is not this "
                "machine's; choose another with --listen, port 0 for any free one"
            ) from error


def _add_to_server(servicer: PeerServiceServicer, server: grpc.aio.Server) -> None:
    """As the generated function does; only FetchFile and FetchPacked may send what is
    encoded already beside messages."""
    fetch_file = grpc.unary_stream_rpc_method_handler(
        servicer.FetchFile,
        request_deserializer=FetchFileRequest.FromString,
        response_serializer=_serialized,
    )
    fetch_packed = grpc.unary_stream_rpc_method_handler(
        servicer.FetchPacked,
        request_deserializer=FetchPackedRequest.FromString,
        response_serializer=_serialized,
    )
    generated = _Generated()
    add_PeerServiceServicer_to_server(servicer, cast(grpc.aio.Server, generated))
    handlers = generated.handlers | {"FetchFile": fetch_file, "FetchPacked": fetch_packed}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE, handlers),))


class _Generated:
    """Takes from the generated function what it would give to a server."""

    def __init__(self) -> None:
        self.handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """The same as the registered ones; a method that is both is never answered."""

    def add_registered_method_handlers(
        self, service: str, handlers: Mapping[str, "grpc.RpcMethodHandler[Any, Any]"]
    ) -> None:
        self.handlers.update(handlers)


def _serialized(response: bytes | FetchFileResponse | FetchPackedResponse) -> bytes:
    return response if isinstance(response, bytes) else response.SerializeToString()
