"""The taking side of gRPC streams: the library with bytes as they are, the library with our message
in generated classes, and our own reader, which is what downloads use."""

import asyncio

import grpc.aio

from bench.stages.sender import HOST, SERVICE
from p2p.v1.peer_pb2 import FetchFileResponse
from p2p_client.models import Endpoint
from p2p_client.net.channels import WINDOW_BYTES, peer_channel
from p2p_client.net.stream.blocks import BLOCK_BYTES
from p2p_client.net.stream.call_status import CallStatus
from p2p_client.net.stream.reader import Request
from p2p_client.net.stream.streams import Streams

CALL_SECONDS = 120.0

RawMethod = grpc.aio.UnaryStreamMultiCallable[bytes, bytes]
MessageMethod = grpc.aio.UnaryStreamMultiCallable[bytes, FetchFileResponse]


def take_raw(port: int, certificate_der: bytes | None) -> int:
    """How many bytes came, as with the others."""

    async def take() -> int:
        async with peer_channel(Endpoint(HOST, port), certificate_der) as channel:
            method: RawMethod = channel.unary_stream(f"/{SERVICE}/Raw")
            came = 0
            async for data in method(b"", timeout=CALL_SECONDS):
                came += len(data)
            return came

    return asyncio.run(take())


def take_messages(port: int, certificate_der: bytes | None) -> int:
    async def take() -> int:
        came = 0
        async with peer_channel(Endpoint(HOST, port), certificate_der) as channel:
            method: MessageMethod = channel.unary_stream(
                f"/{SERVICE}/Message", response_deserializer=FetchFileResponse.FromString
            )
            async for message in method(b"", timeout=CALL_SECONDS):
                came += len(message.data)
        return came

    return asyncio.run(take())


def take_content(port: int, certificate_der: bytes | None) -> int:
    request = Request(f"/{SERVICE}/Message", (), b"", BLOCK_BYTES)

    async def take() -> int:
        streams, came = Streams(WINDOW_BYTES), 0
        try:
            async for news in streams.open(
                Endpoint(HOST, port), certificate_der, request, CALL_SECONDS
            ):
                if isinstance(news, memoryview):
                    came += len(news)
                elif isinstance(news, CallStatus):
                    assert news.code == 0, news
        finally:
            streams.close()
        return came

    return asyncio.run(take())
