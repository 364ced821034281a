"""A source spoken frame by frame: what no gRPC library would send can be sent."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import h2.config
import h2.connection
import h2.events
import h2.exceptions

from p2p.v1.peer_pb2 import FetchFileResponse
from p2p_client.models import Endpoint

OK_TRAILERS = ((b"grpc-status", b"0"),)


def message(data: bytes) -> bytes:
    encoded = FetchFileResponse(data=data).SerializeToString()
    return b"\0" + len(encoded).to_bytes(4, "big") + encoded


@dataclass
class RawCall:
    """One request, on one connection."""

    number: int  # of the connection, from 1
    stream_id: int
    request_headers: dict[str, str]
    connection: h2.connection.H2Connection
    writer: asyncio.StreamWriter
    window_opened: asyncio.Event = field(default_factory=asyncio.Event)

    async def headers(self, *more: tuple[bytes, bytes], status: bytes = b"200") -> None:
        head = [(b":status", status), (b"content-type", b"application/grpc"), *more]
        self.connection.send_headers(self.stream_id, head)
        await self.flush()

    async def data(self, payload: bytes) -> None:
        """Within what flow control allows, waiting for it."""
        while payload:
            window = self.connection.local_flow_control_window(self.stream_id)
            most = min(window, self.connection.max_outbound_frame_size)
            if not most:
                self.window_opened.clear()
                await self.window_opened.wait()
                continue
            self.connection.send_data(self.stream_id, payload[:most])
            payload = payload[most:]
            await self.flush()

    async def trailers(self, *fields: tuple[bytes, bytes]) -> None:
        self.connection.send_headers(self.stream_id, list(fields), end_stream=True)
        await self.flush()

    async def raw(self, frames: bytes) -> None:
        self.writer.write(frames)
        await self.writer.drain()

    async def flush(self) -> None:
        self.writer.write(self.connection.data_to_send())
        await self.writer.drain()


Answer = Callable[[RawCall], Awaitable[None]]


@asynccontextmanager
async def raw_source(answer: Answer, tls: ssl.SSLContext | None = None) -> AsyncIterator[Endpoint]:
    """Answers every call so; a connection lives until its client goes."""
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        try:
            with suppress(ConnectionError, asyncio.CancelledError, ssl.SSLError):
                await _serve(answer, connections, reader, writer)
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    try:
        yield Endpoint("127.0.0.1", server.sockets[0].getsockname()[1])
    finally:
        server.close()


async def _serve(
    answer: Answer, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    config = h2.config.H2Configuration(client_side=False)
    connection = h2.connection.H2Connection(config)
    connection.initiate_connection()
    writer.write(connection.data_to_send())
    calls: dict[int, RawCall] = {}
    async with asyncio.TaskGroup() as answers:
        try:
            while read := await reader.read(65_536):
                try:
                    events = connection.receive_data(read)
                except h2.exceptions.ProtocolError:
                    return
                for event in events:
                    match event:
                        case h2.events.RequestReceived():
                            headers = {
                                _text(name): _text(value) for name, value in event.headers or ()
                            }
                            call = RawCall(
                                number, event.stream_id or 0, headers, connection, writer
                            )
                            calls[call.stream_id] = call
                            answers.create_task(_answered(answer, call))
                        case h2.events.WindowUpdated():
                            for call in calls.values():
                                call.window_opened.set()
                writer.write(connection.data_to_send())
        finally:
            raise asyncio.CancelledError


async def _answered(answer: Answer, call: RawCall) -> None:
    with suppress(ConnectionError):
        await answer(call)


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
