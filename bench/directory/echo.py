"""A bare grpcio aio server that answers every call with an empty message: the measure for ours.

Usage: python -m bench.directory.echo CERTIFICATE KEY; prints its port. TLS as the directory has it.
"""

import asyncio
import sys
from pathlib import Path
from typing import Any

import grpc.aio
from google.protobuf.empty_pb2 import Empty


class Anything(grpc.GenericRpcHandler):
    def service(self, call: Any) -> Any:
        return grpc.unary_unary_rpc_method_handler(
            answer,
            request_deserializer=Empty.FromString,
            response_serializer=Empty.SerializeToString,
        )


async def answer(request: Empty, context: Any) -> Empty:
    return Empty()


async def serve(certificate: bytes, key: bytes) -> None:
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Anything(),))
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(key, certificate)]))
    await server.start()
    print(port, flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]).read_bytes(), Path(sys.argv[2]).read_bytes()))
