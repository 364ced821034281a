"""Chunks as they go on the wire, without a copy in protobuf's memory on the way.

A FetchFileResponse that holds nothing but `data` is its tag, the length, and the bytes. protobuf
would copy them into a message and out of it again; so they are read from the disk to behind their
head. Whatever else a stream sends is left to protobuf.
"""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import grpc
import grpc.aio

from p2p.v1.peer_pb2 import DESCRIPTOR, FetchFileRequest, FetchFileResponse
from p2p.v1.peer_pb2_grpc import PeerServiceServicer, add_PeerServiceServicer_to_server

_SERVICE = DESCRIPTOR.services_by_name["PeerService"].full_name
_DATA_TAG = b"\x0a"  # field 1, length-delimited


def head_of_chunk(data_bytes: int) -> bytes:
    """What stands before so many bytes of data, at least one, in an encoded FetchFileResponse."""
    head, left = bytearray(_DATA_TAG), data_bytes
    while left > 0x7F:
        head.append(left & 0x7F | 0x80)
        left >>= 7
    head.append(left)
    return bytes(head)


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
