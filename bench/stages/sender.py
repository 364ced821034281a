"""The sending side of `wire.py`: four ports, each of which sends so many bytes to whoever asks.

Usage: python -m bench.stages.sender BYTES KEY_FILE
Prints its ports as one JSON object; ends when it is told to.
"""

import asyncio
import json
import socket
import ssl
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from bench.stages.stage import CHUNK_BYTES, chunk
from p2p.v1.peer_pb2 import FetchFileResponse
from p2p_client.net.identity import Identity, load_or_create
from p2p_client.transfer.memory import keep_freed_memory
from p2p_client.upload.serve import OPTIONS

HOST = "127.0.0.1"
SERVICE = "bench"
Context = grpc.aio.ServicerContext[Any, Any]


def listen(count: int, context: ssl.SSLContext | None) -> int:
    """A socket that sends `count` chunks on each connection, one at a time; returns its port."""
    server = socket.create_server((HOST, 0))

    def serve() -> None:
        data = chunk()
        while True:
            connection, _ = server.accept()
            if context is not None:
                connection = context.wrap_socket(connection, server_side=True)
            with connection:
                for _ in range(count):
                    connection.sendall(data)

    threading.Thread(target=serve, daemon=True).start()
    return int(server.getsockname()[1])


def handlers(count: int) -> grpc.GenericRpcHandler:
    """`Raw` sends bytes, `Message` the message of FetchFile, made anew for each chunk."""
    data = chunk()

    async def send_raw(request: bytes, context: Context) -> None:
        for _ in range(count):
            await context.write(data)

    async def send_message(request: bytes, context: Context) -> None:
        for _ in range(count):
            await context.write(FetchFileResponse(data=data))

    raw: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_stream_rpc_method_handler(send_raw)
    message: grpc.RpcMethodHandler[bytes, FetchFileResponse]
    message = grpc.unary_stream_rpc_method_handler(
        send_message, response_serializer=FetchFileResponse.SerializeToString
    )
    return grpc.method_handlers_generic_handler(SERVICE, {"Raw": raw, "Message": message})


async def serve_grpc(count: int, identity: Identity | None) -> tuple[grpc.aio.Server, int]:
    """A server with the options of a sharing peer; in plaintext without an identity."""
    server = grpc.aio.server(options=OPTIONS)
    server.add_generic_rpc_handlers((handlers(count),))
    if identity is None:
        port = server.add_insecure_port(f"{HOST}:0")
    else:
        pair = (identity.key_pem, identity.certificate_pem)
        port = server.add_secure_port(f"{HOST}:0", grpc.ssl_server_credentials([pair]))
    await server.start()
    return server, port


async def main(count: int, key_file: Path) -> None:
    keep_freed_memory()  # as a sharer does
    identity = load_or_create(key_file)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile() as pair:
        pair.write(identity.key_pem + identity.certificate_pem)
        pair.flush()
        context.load_cert_chain(pair.name)
    plain, port = await serve_grpc(count, None)
    secure, secure_port = await serve_grpc(count, identity)
    ports = {"tcp": listen(count, None), "ssl": listen(count, context)}
    print(json.dumps(ports | {"grpc": port, "grpcs": secure_port}), flush=True)
    await asyncio.gather(plain.wait_for_termination(), secure.wait_for_termination())


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) // CHUNK_BYTES, Path(sys.argv[2])))
