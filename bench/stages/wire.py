"""Stages over loopback, between two processes: plain and TLS sockets, plain and TLS gRPC.

This process takes; a second one (`sender.py`) sends the same chunk again and again. Neither touches
a disk.
"""

import asyncio
import contextlib
import json
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc.aio

from bench.stages.sender import HOST, SERVICE
from bench.stages.stage import CHUNK_BYTES, Stage, Took, timed
from bench.support.processes import cpu_seconds
from p2p.v1.peer_pb2 import FetchFileResponse
from p2p_client.memory import keep_freed_memory
from p2p_client.models import Endpoint
from p2p_client.net.channels import peer_channel
from p2p_client.net.identity import load_or_create

CALL_SECONDS = 120.0

RawMethod = grpc.aio.UnaryStreamMultiCallable[bytes, bytes]
MessageMethod = grpc.aio.UnaryStreamMultiCallable[bytes, FetchFileResponse]


@contextlib.contextmanager
def stages(size_bytes: int, key_file: Path) -> Iterator[list[Stage]]:
    """With the sender running. Its key is one of ours, so TLS is what peers speak."""
    keep_freed_memory()  # as sharers and downloaders do; here it means the whole of `make bench`
    identity = load_or_create(key_file)
    command = [sys.executable, "-m", "bench.stages.sender", str(size_bytes), str(key_file)]
    sender = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert sender.stdout is not None
    try:
        ports = json.loads(sender.stdout.readline())
        der = identity.certificate_der

        def stage(name: str, take: Callable[[], int]) -> Stage:
            return Stage(name, lambda: _both_sides(sender.pid, size_bytes, take))

        yield [
            stage("wire: TCP socket", lambda: _take_socket(ports["tcp"], tls=False)),
            stage("wire + TLS: ssl socket, AES-GCM", lambda: _take_socket(ports["ssl"], tls=True)),
            stage("gRPC stream, raw bytes", lambda: _take_grpc(ports["grpc"], None, raw=True)),
            stage("gRPC stream, raw bytes, TLS", lambda: _take_grpc(ports["grpcs"], der, raw=True)),
            stage("gRPC stream, our message", lambda: _take_grpc(ports["grpc"], None, raw=False)),
            stage(
                "gRPC stream, our message, TLS", lambda: _take_grpc(ports["grpcs"], der, raw=False)
            ),
        ]
    finally:
        sender.terminate()
        sender.wait()


def _both_sides(sender: int, size_bytes: int, take: Callable[[], int]) -> Took:
    came = list[int]()
    begun = cpu_seconds(sender)
    seconds, taking = timed(lambda: came.append(take()))
    assert came == [size_bytes], f"{came[0]} bytes came"
    return Took(seconds, cpu_seconds(sender) - begun, taking)


def _take_socket(port: int, *, tls: bool) -> int:
    with contextlib.ExitStack() as stack:
        connection = stack.enter_context(socket.create_connection((HOST, port)))
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            connection = stack.enter_context(context.wrap_socket(connection))
        buffer, came = bytearray(CHUNK_BYTES), 0
        while count := connection.recv_into(buffer):
            came += count
        return came


def _take_grpc(port: int, certificate_der: bytes | None, *, raw: bool) -> int:
    return asyncio.run(_take_stream(port, certificate_der, raw=raw))


async def _take_stream(port: int, certificate_der: bytes | None, *, raw: bool) -> int:
    """Over a channel with the options that downloads use."""
    channel, came = peer_channel(Endpoint(HOST, port), certificate_der), 0
    try:
        if raw:
            raw_method: RawMethod = channel.unary_stream(f"/{SERVICE}/Raw")
            async for data in raw_method(b"", timeout=CALL_SECONDS):
                came += len(data)
        else:
            method: MessageMethod = channel.unary_stream(
                f"/{SERVICE}/Message", response_deserializer=FetchFileResponse.FromString
            )
            async for message in method(b"", timeout=CALL_SECONDS):
                came += len(message.data)
    finally:
        await channel.close()
    return came
