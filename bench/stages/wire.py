"""Stages over loopback, between two processes: plain and TLS sockets, plain and TLS gRPC.

This process takes; a second one (`sender.py`) sends the same chunk again and again. Neither touches
a disk.
"""

import contextlib
import json
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.stages.calls import take_content, take_messages, take_raw
from bench.stages.sender import HOST
from bench.stages.stage import CHUNK_BYTES, Stage, Took, timed
from bench.support.processes import Failed, cpu_seconds
from p2p_client.net.identity import load_or_create
from p2p_client.transfer.memory import keep_freed_memory

ROOT = Path(__file__).resolve().parents[2]


@contextlib.contextmanager
def stages(size_bytes: int, key_file: Path) -> Iterator[list[Stage]]:
    """With the sender running. Its key is one of ours, so TLS is what peers speak."""
    keep_freed_memory()  # as sharers and downloaders do; here it means the whole of `make bench`
    identity = load_or_create(key_file)
    command = [sys.executable, "-m", "bench.stages.sender", str(size_bytes), str(key_file)]
    sender = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert sender.stdout is not None
    try:
        said = sender.stdout.readline()
        if not said:
            raise Failed("the sender of bench/stages did not start")
        ports = json.loads(said)
        der = identity.certificate_der

        def stage(name: str, take: Callable[[], int]) -> Stage:
            return Stage(name, lambda: _both_sides(sender.pid, size_bytes, take))

        yield [
            stage("wire: TCP socket", lambda: _take_socket(ports["tcp"], tls=False)),
            stage("wire + TLS: ssl socket, AES-GCM", lambda: _take_socket(ports["ssl"], tls=True)),
            stage("gRPC, bytes as they are", lambda: take_raw(ports["grpc"], None)),
            stage("gRPC, bytes as they are, TLS", lambda: take_raw(ports["grpcs"], der)),
            stage("gRPC, our message", lambda: take_messages(ports["grpc"], None)),
            stage("gRPC, our message, TLS", lambda: take_messages(ports["grpcs"], der)),
            stage("the same, our reader", lambda: take_content(ports["grpc"], None)),
            stage("the same, our reader, TLS", lambda: take_content(ports["grpcs"], der)),
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
