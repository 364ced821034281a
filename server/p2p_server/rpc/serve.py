"""The gRPC server: transport, limits of the transport, health, reflection."""

import contextlib
import errno
import os
import socket
from collections.abc import Callable
from typing import Final

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from p2p.v1 import directory_pb2, directory_pb2_grpc
from p2p_server.config import Address
from p2p_server.directory.directory import Directory
from p2p_server.directory.models import Limits
from p2p_server.directory.trust.keyring import Keyring
from p2p_server.rpc.calls import Calls, FinishedCall
from p2p_server.rpc.servicer import DirectoryServicer

SERVICE: Final = directory_pb2.DESCRIPTOR.services_by_name["DirectoryService"].full_name
_MESSAGE_SLACK_BYTES: Final = 64 * 1024  # so that a slightly too big request gets our own refusal


_MOST_CALLS: Final = 65_536  # not over: of one host `Unread` lets a quarter be
_MOST_PENDING: Final = 32_768  # a heartbeat of each peer of a large network, after a stall


class ListenFailed(Exception):
    """The address cannot be listened at; the text says which and why."""


class DirectoryServer:
    """Serves a directory from `start` to `stop`."""

    def __init__(
        self,
        directory: Directory,
        limits: Limits,
        keyring: Keyring,
        *,
        insecure: bool,
        observe: Callable[[FinishedCall], None],
    ) -> None:
        self._directory = directory
        self._keyring = keyring
        self._insecure = insecure
        self._calls = Calls(limits, observe)
        self._server = grpc.aio.server(
            options=_options(limits), maximum_concurrent_rpcs=_MOST_CALLS
        )
        self._health = health.aio.HealthServicer()
        servicer = DirectoryServicer(directory, limits, insecure=insecure)
        add = directory_pb2_grpc.add_DirectoryServiceServicer_to_server
        self._calls.add(add, servicer, self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = (SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server)

    async def start(self, listen: Address) -> int:
        """Starts to serve; answers the port. Raises ListenFailed."""
        _check_free(listen)
        try:
            port = self._add_port(str(listen))
        except RuntimeError:
            raise ListenFailed(f"cannot listen at {listen}") from None
        await self._server.start()
        await self.set_serving(True)
        return port

    def _add_port(self, address: str) -> int:
        if self._insecure:
            return self._server.add_insecure_port(address)
        pair = (self._keyring.identity_key_pem, self._keyring.certificate_pem)
        return self._server.add_secure_port(address, grpc.ssl_server_credentials([pair]))

    async def set_serving(self, is_serving: bool) -> None:
        """What health checks are told from now on: NOT_SERVING while the store is away."""
        status = health_pb2.HealthCheckResponse
        for service in ("", SERVICE):
            await self._health.set(service, status.SERVING if is_serving else status.NOT_SERVING)

    def close(self) -> None:
        """From now on calls are refused with SHUTTING_DOWN, and watches end with it."""
        self._calls.close()
        self._directory.close()

    async def stop(self, grace_seconds: float) -> None:
        """Tells health checks, refuses new calls, and lets those that run finish."""
        await self._health.enter_graceful_shutdown()
        self.close()
        await self._server.stop(grace_seconds)


def _options(limits: Limits) -> list[tuple[str, int]]:
    return [
        ("grpc.so_reuseport", 0),  # else a second directory binds the same port in silence
        ("grpc.max_receive_message_length", limits.max_request_bytes + _MESSAGE_SLACK_BYTES),
        ("grpc.max_concurrent_streams", limits.max_streams_per_connection),
        # What comes in one moment waits for the event loop. By itself gRPC cancels calls, without a
        # reason, as soon as a thousand wait; let `Calls` refuse them, which says why.
        ("grpc.server.max_pending_requests", _MOST_PENDING),
        ("grpc.server.max_pending_requests_hard_limit", 2 * _MOST_PENDING),
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.max_connection_idle_ms", 15 * 60_000),
    ]


def _check_free(listen: Address) -> None:
    """Raises ListenFailed with the system's reason, which gRPC does not tell."""
    if listen.port == 0:
        return
    family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
    with contextlib.suppress(socket.gaierror), socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family is socket.AF_INET6:
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        try:
            probe.bind((listen.host, listen.port))
            probe.listen()
        except OSError as error:
            if error.errno == errno.EAFNOSUPPORT:
                return
            in_use = error.errno == errno.EADDRINUSE
            why = "another program (a directory?) listens there" if in_use else error.strerror
            raise ListenFailed(
                f"cannot listen at {listen}: {why or os.strerror(error.errno or 0)}; "
                "choose another address with --listen"
            ) from None
