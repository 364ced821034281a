"""Chunks as they go on the wire, without a copy in protobuf's memory on the way.

A FetchFileResponse that holds nothing but `data` is its tag, the length, and the bytes. protobuf
would copy them into a message and out of it again. Whatever else a stream sends is left to it.
"""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import grpc
import grpc.aio

from p2p.v1.peer_pb2 import DESCRIPTOR, FetchFileRequest, FetchFileResponse
from p2p.v1.peer_pb2_grpc import PeerServiceServicer, add_PeerServiceServicer_to_server

_SERVICE = DESCRIPTOR.services_by_name["PeerService"].full_name
_DATA_TAG = b"\x0a"  # field 1, length-delimited


def encode_chunk(data: bytes) -> bytes:
    """What `FetchFileResponse(data=data).SerializeToString()` is; nothing of nothing."""
    if not data:
        return b""
    length, left = bytearray(), len(data)
    while left > 0x7F:
        length.append(left & 0x7F | 0x80)
        left >>= 7
    length.append(left)
    return b"".join((_DATA_TAG, length, data))


def add_to_server(servicer: PeerServiceServicer, server: grpc.aio.Server) -> None:
    """As the generated function does; only FetchFile may send encoded chunks beside messages."""
    fetch_file = grpc.unary_stream_rpc_method_handler(
        servicer.FetchFile,
        request_deserializer=FetchFileRequest.FromString,
        response_serializer=_serialized,
    )
    generated = _Generated()
    add_PeerServiceServicer_to_server(servicer, cast(grpc.aio.Server, generated))
    handlers = generated.handlers | {"FetchFile": fetch_file}
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


def _serialized(response: bytes | FetchFileResponse) -> bytes:
    return response if isinstance(response, bytes) else response.SerializeToString()
