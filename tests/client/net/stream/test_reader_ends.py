"""How the thread of a call ends: always, quietly, and never without telling whoever waits."""

import asyncio
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.certificates import peer_key_pair
from tests.support.downloads.downloads import some_bytes
from tests.support.sources.raw import OK_TRAILERS, RawCall, message, raw_source

from p2p_client.models import Endpoint
from p2p_client.net.stream import reader as reader_module
from p2p_client.net.stream.reader import Reader, Request
from p2p_client.net.stream.streams import Streams
from p2p_client.net.stream.wire import ConnectionGone

CONTENT = some_bytes(100_000)


@pytest.fixture
def streams() -> Iterator[Streams]:
    streams = Streams(8 << 20)
    yield streams
    streams.close()


def opened(streams: Streams, endpoint: Endpoint, certificate: bytes | None = None) -> Reader:
    request = Request("/p2p.v1.PeerService/FetchFile", (), b"", 1 << 20)
    return streams.open(endpoint, certificate, request, 5)


async def send_for_ever(call: RawCall) -> None:
    await call.headers()
    while True:
        await call.data(message(CONTENT))


def stream_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "p2p-stream"]


async def until_no_thread_is_left() -> None:
    async with asyncio.timeout(5):
        for thread in stream_threads():
            await asyncio.to_thread(thread.join, 5)
    assert not stream_threads()


async def test_a_call_that_is_cancelled_while_much_waits_to_be_taken_leaves_no_thread(
    streams: Streams,
) -> None:
    async with raw_source(send_for_ever) as endpoint:
        reader = opened(streams, endpoint)
        await anext(aiter(reader))
        await asyncio.sleep(0.5)  # the thread is as far ahead as it may be
        assert stream_threads()
        reader.cancel()
        await until_no_thread_is_left()


async def test_a_call_over_tls_that_is_cancelled_ends_quietly(
    streams: Streams, tmp_path: Path
) -> None:
    pair = peer_key_pair()
    (tmp_path / "pair").write_bytes(pair.key_pem + pair.certificate_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "pair")
    context.set_alpn_protocols(["h2"])

    # What a thread raises would fail this test: see the filters for warnings.
    async with raw_source(send_for_ever, context) as endpoint:
        for _ in range(30):
            reader = opened(streams, endpoint, pair.certificate_der)
            count = 0
            async for _news in reader:
                if (count := count + 1) == 3:
                    break
            reader.cancel()
        await until_no_thread_is_left()


async def test_a_thread_that_fails_in_an_unforeseen_way_tells_whoever_waits(
    streams: Streams, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_memory(size_bytes: int) -> memoryview:
        raise MemoryError

    async def answer(call: RawCall) -> None:
        await call.headers()
        await call.data(message(CONTENT))
        await call.trailers(*OK_TRAILERS)

    monkeypatch.setattr(reader_module, "new_block", no_memory)
    async with raw_source(answer) as endpoint, asyncio.timeout(3):
        with pytest.raises(ConnectionGone, match="MemoryError"):
            async for _ in opened(streams, endpoint):
                pass
        await until_no_thread_is_left()


async def test_a_slow_taker_is_not_sent_more_than_it_asked_for(streams: Streams) -> None:
    sent = 0

    async def answer(call: RawCall) -> None:
        nonlocal sent
        await call.headers()
        while True:
            await call.data(message(CONTENT[:10_000]))
            sent += 10_000

    request = Request("/p2p.v1.PeerService/FetchFile", (), b"", 1 << 20, most_ahead_bytes=40_000)
    async with raw_source(answer) as endpoint:
        reader = streams.open(endpoint, None, request, 5)
        for _ in range(200):
            before = sent
            await asyncio.sleep(0.02)
        reader.cancel()

    assert sent == before
    assert sent < 1 << 20  # four small blocks, one that fills, and the window; else 4 MiB
