"""Sources that speak HTTP/2 well, badly and not at all: content, or one error that says why."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from tests.support.certificates import peer_key_pair
from tests.support.downloads.downloads import some_bytes
from tests.support.sources.raw import OK_TRAILERS, RawCall, message, raw_source

from p2p.v1.peer_pb2 import FetchFileResponse, QueueStatus
from p2p_client.models import Endpoint
from p2p_client.net.stream.call_status import CallStatus
from p2p_client.net.stream.messages import MessageTooLarge, StreamBroken
from p2p_client.net.stream.reader import Reader, Request, Stalled
from p2p_client.net.stream.streams import Streams
from p2p_client.net.stream.wire import ConnectionGone

WINDOW_BYTES = 1 << 18
CONTENT = some_bytes(3_000_000)
GOAWAY, RST_STREAM, PING = 7, 3, 6


@pytest.fixture
def streams() -> Iterator[Streams]:
    streams = Streams(WINDOW_BYTES)
    yield streams
    streams.close()


def request(first_block_bytes: int = 1 << 20) -> Request:
    return Request("/p2p.v1.PeerService/FetchFile", (), b"", first_block_bytes)


def opened(
    streams: Streams, endpoint: Endpoint, idle_seconds: float = 5, certificate: bytes | None = None
) -> Reader:
    return streams.open(endpoint, certificate, request(), idle_seconds)


async def content_of(reader: Reader) -> tuple[bytes, CallStatus]:
    """All that comes, until the status. Raises as the reader does."""
    content = bytearray()
    async with asyncio.timeout(10):
        async for news in reader:
            if isinstance(news, memoryview):
                content += news
            elif isinstance(news, CallStatus):
                return bytes(content), news
    raise AssertionError("it ended without a word")


def goaway(last_stream_id: int, error_code: int) -> bytes:
    payload = last_stream_id.to_bytes(4, "big") + error_code.to_bytes(4, "big")
    return len(payload).to_bytes(3, "big") + bytes((GOAWAY, 0)) + bytes(4) + payload


def ping() -> bytes:
    return (8).to_bytes(3, "big") + bytes((PING, 0)) + bytes(4) + b"12345678"


def reset(stream_id: int) -> bytes:
    return (4).to_bytes(3, "big") + bytes((RST_STREAM, 0)) + stream_id.to_bytes(4, "big") + bytes(4)


async def send_all(call: RawCall) -> None:
    await call.headers()
    for at in range(0, len(CONTENT), 500_000):
        await call.data(message(CONTENT[at : at + 500_000]))
    await call.trailers(*OK_TRAILERS)


async def test_more_than_several_windows_arrive_and_the_connection_is_used_again(
    streams: Streams,
) -> None:
    numbers: list[int] = []

    async def answer(call: RawCall) -> None:
        numbers.append(call.number)
        await send_all(call)

    async with raw_source(answer) as endpoint:
        for _ in range(5):
            content, status = await content_of(opened(streams, endpoint))
            assert content == CONTENT
            assert status.code == 0

    assert numbers == [1] * 5


@pytest.mark.parametrize("cut", [0, 1, 9, 10, 17])
async def test_what_follows_the_end_of_a_call_is_heard_in_the_next_one(
    streams: Streams, cut: int
) -> None:
    numbers: list[int] = []

    async def answer(call: RawCall) -> None:
        numbers.append(call.number)
        if len(numbers) > 1:
            call.writer.write(ping()[cut:])
        await call.headers()
        await call.data(message(CONTENT[:100_000]))
        call.connection.send_headers(call.stream_id, OK_TRAILERS, end_stream=True)
        call.writer.write(call.connection.data_to_send() + ping()[:cut])
        await call.writer.drain()

    async with raw_source(answer) as endpoint:
        for _ in range(3):
            content, status = await content_of(opened(streams, endpoint))
            assert (content, status.code) == (CONTENT[:100_000], 0)

    assert numbers == [1] * 3


async def test_a_kept_connection_that_was_closed_meanwhile_is_made_anew(streams: Streams) -> None:
    has_all, is_closed = asyncio.Event(), asyncio.Event()
    numbers: list[int] = []

    async def answer(call: RawCall) -> None:
        numbers.append(call.number)
        await send_all(call)
        if call.number == 1:
            await has_all.wait()  # closed sooner, with credit unread, it would be reset
            call.writer.close()
            is_closed.set()

    async with raw_source(answer) as endpoint:
        for _ in range(2):
            content, _ = await content_of(opened(streams, endpoint))
            assert content == CONTENT
            has_all.set()
            await is_closed.wait()

    assert numbers == [1, 2]


async def test_what_the_call_says_arrives_at_the_source(streams: Streams) -> None:
    seen: list[dict[str, str]] = []

    async def answer(call: RawCall) -> None:
        seen.append(call.request_headers)
        await send_all(call)

    async with raw_source(answer) as endpoint:
        asked = Request("/p2p.v1.PeerService/FetchFile", (("authorization", "Bearer x"),), b"", 9)
        await content_of(streams.open(endpoint, None, asked, 5))

    assert seen[0][":path"] == "/p2p.v1.PeerService/FetchFile"
    assert seen[0]["authorization"] == "Bearer x"
    assert seen[0]["te"] == "trailers"


async def test_a_source_that_drains_ends_its_streams_well(streams: Streams) -> None:
    async def answer(call: RawCall) -> None:
        await call.headers()
        await call.data(message(CONTENT[:1000]))
        await call.raw(goaway((1 << 31) - 1, 0) + ping())
        await call.data(message(CONTENT[1000:100_000]))
        await call.raw(goaway(call.stream_id, 0))
        await call.trailers(*OK_TRAILERS)

    async with raw_source(answer) as endpoint:
        content, status = await content_of(opened(streams, endpoint))

    assert content == CONTENT[:100_000]
    assert status.code == 0


async def test_a_refusal_without_any_message_is_a_status(streams: Streams) -> None:
    async def answer(call: RawCall) -> None:
        fields = (
            (":status", "200"),
            ("content-type", "application/grpc"),
            ("grpc-status", "5"),
            ("grpc-message", "not %68ere%"),
            ("grpc-status-details-bin", "AAEC"),
        )
        call.connection.send_headers(call.stream_id, list(fields), end_stream=True)
        await call.flush()

    async with raw_source(answer) as endpoint:
        content, status = await content_of(opened(streams, endpoint))

    assert (content, status) == (b"", CallStatus(5, "not here%", b"\0\1\2"))


async def test_a_place_in_the_queue_is_told_and_keeps_the_stream_alive(streams: Streams) -> None:
    async def answer(call: RawCall) -> None:
        await call.headers()
        for position in (2, 1, 0):
            waiting = FetchFileResponse(queue=QueueStatus(position=position, waiting_count=3))
            encoded = waiting.SerializeToString()
            await call.data(b"\0" + len(encoded).to_bytes(4, "big") + encoded)
            await asyncio.sleep(0.25)
        await call.data(message(b"content"))
        await call.trailers(*OK_TRAILERS)

    positions: list[int] = []
    content = b""
    async with raw_source(answer) as endpoint:
        async for news in opened(streams, endpoint, idle_seconds=0.5):
            if isinstance(news, QueueStatus):
                positions.append(news.position)
            elif isinstance(news, memoryview):
                content += bytes(news)

    assert positions == [2, 1, 0]
    assert content == b"content"


async def test_a_slow_source_is_heard_of_before_a_block_is_full(streams: Streams) -> None:
    async def answer(call: RawCall) -> None:
        await call.headers()
        for _ in range(4):
            await call.data(message(b"x" * 100))
            await asyncio.sleep(0.3)
        await call.trailers(*OK_TRAILERS)

    parts: list[int] = []
    async with raw_source(answer) as endpoint:
        async for news in opened(streams, endpoint, idle_seconds=1):
            if isinstance(news, memoryview):
                parts.append(len(news))

    assert sum(parts) == 400
    assert len(parts) >= 2


async def _silent(call: RawCall) -> None:
    await call.headers()
    await asyncio.sleep(60)


async def _empty_chunks(call: RawCall) -> None:
    await call.headers()
    while True:
        await call.data(message(b""))
        await asyncio.sleep(0.02)


async def _closes(call: RawCall) -> None:
    await call.headers()
    await call.data(message(CONTENT[:2_000]))
    call.writer.close()


async def _resets(call: RawCall) -> None:
    await call.headers()
    await call.raw(reset(call.stream_id))


async def _goes_away(call: RawCall) -> None:
    await call.headers()
    await call.raw(goaway(0, 2))


async def _ends_without_a_status(call: RawCall) -> None:
    await call.headers()
    call.connection.send_data(call.stream_id, message(b"x"), end_stream=True)
    await call.flush()


async def _ends_within_a_message(call: RawCall) -> None:
    await call.headers()
    await call.data(message(b"x" * 100)[:50])
    await call.trailers(*OK_TRAILERS)


async def _is_a_web_server(call: RawCall) -> None:
    await call.headers(status=b"404")
    await asyncio.sleep(60)


async def _huge_message(call: RawCall) -> None:
    await call.headers()
    await call.data(b"\0\x7f\xff\xff\xff")
    await asyncio.sleep(60)


async def _huge_headers(call: RawCall) -> None:
    await call.raw((1 << 20).to_bytes(3, "big") + bytes((1, 4)) + call.stream_id.to_bytes(4, "big"))
    await asyncio.sleep(60)


async def _no_http(call: RawCall) -> None:
    await call.raw(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 20)
    await asyncio.sleep(60)


async def _broken_headers(call: RawCall) -> None:
    await call.raw((4).to_bytes(3, "big") + bytes((1, 4)) + bytes((0, 0, 0, 1)) + b"\xff" * 4)
    await asyncio.sleep(60)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (_silent, Stalled),
        (_empty_chunks, Stalled),
        (_closes, ConnectionGone),
        (_resets, ConnectionGone),
        (_goes_away, ConnectionGone),
        (_ends_without_a_status, StreamBroken),
        (_ends_within_a_message, StreamBroken),
        (_is_a_web_server, StreamBroken),
        (_huge_message, MessageTooLarge),
        (_huge_headers, StreamBroken),
        (_no_http, StreamBroken),
        (_broken_headers, StreamBroken),
    ],
)
async def test_a_source_that_breaks_the_rules_is_one_clear_error(
    streams: Streams, answer: Callable[[RawCall], Awaitable[None]], error: type[Exception]
) -> None:
    async with raw_source(answer) as endpoint:
        with pytest.raises(error):
            await content_of(opened(streams, endpoint, idle_seconds=0.5))


async def test_nobody_there_is_said(streams: Streams) -> None:
    with pytest.raises(ConnectionGone, match="refuses the connection"):
        await content_of(opened(streams, Endpoint("127.0.0.1", 1)))


async def test_a_cancelled_call_leaves_no_thread_and_no_connection(streams: Streams) -> None:
    gone = asyncio.Event()

    async def answer(call: RawCall) -> None:
        try:
            await call.headers()
            while True:
                await call.data(message(CONTENT[:100_000]))
        finally:
            gone.set()

    async with raw_source(answer) as endpoint:
        reader = opened(streams, endpoint)
        async for news in reader:
            assert isinstance(news, memoryview)
            break
        reader.cancel()
        reader.cancel()
        async with asyncio.timeout(5):
            await gone.wait()


async def test_a_reader_that_takes_nothing_stops_the_source(streams: Streams) -> None:
    sent = 0

    async def answer(call: RawCall) -> None:
        nonlocal sent
        await call.headers()
        while True:
            await call.data(message(CONTENT[:100_000]))
            sent += 100_000

    async with raw_source(answer) as endpoint:
        reader = opened(streams, endpoint)
        await asyncio.sleep(1)
        before = sent
        await asyncio.sleep(0.3)
        reader.cancel()

    assert sent == before
    assert sent < 24 << 20  # a few blocks, the window, and what sockets hold


def server_context(folder: Path) -> tuple[ssl.SSLContext, bytes]:
    pair = peer_key_pair()
    (folder / "pair").write_bytes(pair.key_pem + pair.certificate_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "pair")
    context.set_alpn_protocols(["h2"])
    return context, pair.certificate_der


async def test_over_tls_only_the_expected_certificate_is_believed(
    streams: Streams, tmp_path: Path
) -> None:
    context, certificate = server_context(tmp_path)
    async with raw_source(send_all, context) as endpoint:
        content, _ = await content_of(opened(streams, endpoint, certificate=certificate))
        assert content == CONTENT
        other = peer_key_pair().certificate_der
        with pytest.raises(ConnectionGone, match="another certificate"):
            await content_of(opened(streams, endpoint, certificate=other))


async def test_a_source_without_tls_is_not_spoken_to_in_plaintext(streams: Streams) -> None:
    async with raw_source(send_all) as endpoint:
        certificate = peer_key_pair().certificate_der
        with pytest.raises(ConnectionGone):
            await content_of(opened(streams, endpoint, certificate=certificate))
