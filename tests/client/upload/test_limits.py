"""Whatever readers do, the source stays within its bounds and is as before when they are gone."""

import asyncio
import contextlib
import logging
import os
import resource
import ssl
from collections.abc import AsyncGenerator, AsyncIterator
from datetime import timedelta
from pathlib import Path

import grpc
import h2.connection
import pytest
from h2.events import ResponseReceived, TrailersReceived
from h2.settings import SettingCodes, Settings
from tests.support.grants import NOW
from tests.support.libraries import until
from tests.support.sources.sharing import (
    PEER_ID,
    Source,
    a_source,
    first_chunk,
    refusal_of,
    rest_of,
)

from p2p.v1.peer_pb2 import ProveIdentityRequest
from p2p.v1.peer_pb2_grpc import PeerServiceStub
from p2p_client.config import Address
from p2p_client.errors import LocalRefusal
from p2p_client.models import Digest, Endpoint
from p2p_client.net.channels import peer_channel
from p2p_client.net.status import read_refusal
from p2p_client.upload.serve import UploadServer
from p2p_client.upload.shown.contents import Contents

KIB, MIB = 1 << 10, 1 << 20
SIZE_BYTES = 64 * MIB


@pytest.fixture
def share(tmp_path: Path) -> Path:
    share = tmp_path / "share"
    share.mkdir()
    with (share / "big").open("wb") as stream:
        stream.truncate(SIZE_BYTES)
    (share / "small").write_bytes(b"small")
    return share


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def files_open(share: Path) -> int:
    """How often the shared files are open in this process."""
    links = [f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd")]
    targets = [os.readlink(link) for link in links if os.path.islink(link)]
    return sum(target.startswith(f"{share}/") for target in targets)


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


async def test_more_streams_than_slots_are_refused_and_served_when_one_is_free(
    share: Path,
) -> None:
    async with a_source(share, max_uploads=2) as source:
        digest = source.digest("share/big")
        calls = [source.fetch(digest, user=user) for user in ("a", "b")]
        for call in calls:
            await first_chunk(call)
        assert source.server.active_uploads == 2
        refused = await refusal_of(source.fetch(digest, user="c"))
        assert refused == ("RESOURCE_EXHAUSTED", "TOO_MANY_STREAMS")

        calls[0].cancel()
        await until(lambda: source.server.active_uploads == 1)
        await first_chunk(source.fetch(digest, user="c"))


async def test_one_user_cannot_take_all_slots(share: Path) -> None:
    async with a_source(share, max_uploads=4) as source:
        digest = source.digest("share/big")
        for _ in range(2):
            await first_chunk(source.fetch(digest, user="greedy"))
        refused = await refusal_of(source.fetch(digest, user="greedy"))

        assert refused == ("RESOURCE_EXHAUSTED", "TOO_MANY_STREAMS")
        await first_chunk(source.fetch(digest, user="modest"))


async def test_a_reader_that_stops_reading_loses_its_slot_and_costs_little_memory(
    share: Path,
) -> None:
    async with a_source(share, idle_timeout_seconds=0.5) as source:
        digest = source.digest("share/big")
        assert len(await source.fetch_all(digest)) == SIZE_BYTES  # warm: buffers, threads
        before = resident_bytes()
        calls = [source.fetch(digest, user=str(number)) for number in range(8)]
        for call in calls:
            await first_chunk(call)
        assert source.server.active_uploads == 8

        await until(lambda: source.server.active_uploads == 0)
        await until(lambda: files_open(share) == 0)
        # What flow control lets through of each stream lies in our own client's buffers, too.
        assert resident_bytes() - before < 8 * 32 * MIB
        for call in calls:
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await rest_of(call)
            assert error.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            assert read_refusal(error.value).reason == "STREAM_IDLE"


async def test_cancelling_two_hundred_streams_leaves_nothing_behind(
    share: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    async with a_source(share) as source:
        digest = source.digest("share/big")
        await first_chunk(warm := source.fetch(digest))
        warm.cancel()
        await until(lambda: source.server.active_uploads == 0)
        before = open_descriptors()

        for number in range(200):
            call = source.fetch(digest, chunk_bytes=(16 << number % 7) * KIB)
            if number % 4:
                await first_chunk(call)
            await asyncio.sleep(0.002 * (number % 3))
            call.cancel()
        await until(lambda: source.server.active_uploads == 0)
        await until(lambda: files_open(share) == 0)
        await until(lambda: open_descriptors() <= before)

        assert len(await source.fetch_all(digest, limit=MIB)) == MIB
    assert [record.getMessage() for record in caplog.records] == []


async def test_a_host_that_lets_nothing_be_sent_does_not_use_up_all_calls(share: Path) -> None:
    async with a_source(share) as source:
        async with contextlib.AsyncExitStack() as stack:
            asked = [
                await stack.enter_async_context(calls_from("127.0.0.2", source.port, 128, window=0))
                for _ in range(4)
            ]
            async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
                refused = {tasks.create_task(until_one_is_refused(each)) for each in asked}
                await asyncio.wait(refused, return_when=asyncio.FIRST_COMPLETED)
                for task in refused:
                    task.cancel()

            assert await source.fetch_all(source.digest("share/small")) == b"small"
        async with asyncio.timeout(30):
            while await status_of_a_call("127.0.0.2", source.port) != OK:
                pass


OK, RESOURCE_EXHAUSTED = "0", "8"


@contextlib.asynccontextmanager
async def calls_from(
    host: str, port: int, count: int, *, window: int
) -> AsyncIterator[AsyncGenerator[str, None]]:
    """So many calls over one connection from this address, as many bytes of each answer let
    through; the statuses with which they end, as they come."""
    tls = ssl.create_default_context()
    tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    tls.set_alpn_protocols(["h2"])
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls, local_addr=(host, 0))
    connection = h2.connection.H2Connection()
    connection.local_settings = Settings(initial_values={SettingCodes.INITIAL_WINDOW_SIZE: window})
    connection.initiate_connection()
    writer.write(connection.data_to_send())
    connection.receive_data(await reader.read(1 << 16))
    encoded = ProveIdentityRequest(nonce=bytes(32)).SerializeToString()
    for _ in range(count):
        stream_id = connection.get_next_available_stream_id()
        headers = [(":method", "POST"), (":scheme", "https"), (":authority", "x")]
        headers += [(":path", "/p2p.v1.PeerService/ProveIdentity")]
        headers += [("te", "trailers"), ("content-type", "application/grpc")]
        connection.send_headers(stream_id, headers)
        message = b"\0" + len(encoded).to_bytes(4, "big") + encoded
        connection.send_data(stream_id, message, end_stream=True)
    writer.write(connection.data_to_send())
    await writer.drain()
    try:
        async with contextlib.aclosing(statuses(reader, connection)) as ended:
            yield ended
    finally:
        writer.transport.abort()


async def statuses(
    reader: asyncio.StreamReader, connection: h2.connection.H2Connection
) -> AsyncGenerator[str, None]:
    while arrived := await reader.read(1 << 16):
        for event in connection.receive_data(arrived):
            if isinstance(event, ResponseReceived | TrailersReceived):
                for name, value in event.headers or ():
                    if name == b"grpc-status":
                        yield value.decode()
    raise ConnectionError("the source ended the connection")


async def until_one_is_refused(ended: AsyncGenerator[str, None]) -> None:
    async for status in ended:
        if status == RESOURCE_EXHAUSTED:
            return


async def status_of_a_call(host: str, port: int) -> str:
    async with calls_from(host, port, 1, window=64 * KIB) as ended:
        return await anext(ended)


async def test_a_connection_that_breaks_frees_its_streams(share: Path) -> None:
    async with a_source(share) as source:
        endpoint = Endpoint("127.0.0.1", source.port)
        async with peer_channel(endpoint, source.identity.certificate_der) as channel:
            stub = PeerServiceStub(channel)
            for user in ("a", "b", "c"):
                call = source.fetch(source.digest("share/big"), user=user, stub=stub)
                await first_chunk(call)
            assert source.server.active_uploads == 3

        await until(lambda: source.server.active_uploads == 0)
        await until(lambda: files_open(share) == 0)


async def test_stopping_refuses_new_streams_and_lets_the_running_end(share: Path) -> None:
    async with a_source(share) as source, asyncio.TaskGroup() as tasks:
        digest = source.digest("share/big")
        call = source.fetch(digest)
        received = len(await first_chunk(call))
        stopping = tasks.create_task(source.server.stop(20))
        await asyncio.sleep(0)

        refused = await refusal_of(source.fetch(digest, user="late"))
        assert refused == ("UNAVAILABLE", "SHUTTING_DOWN")
        received += len(await rest_of(call))
        assert received == SIZE_BYTES
        async with asyncio.timeout(5):
            await stopping


async def test_stopping_cuts_what_does_not_end_within_the_grace(share: Path) -> None:
    async with a_source(share) as source:
        call = source.fetch(source.digest("share/big"))
        await first_chunk(call)
        async with asyncio.timeout(5):
            await source.server.stop(0.1)

        with pytest.raises(grpc.aio.AioRpcError):
            await rest_of(call)
        await until(lambda: files_open(share) == 0)


@pytest.fixture
async def source(share: Path) -> AsyncIterator[Source]:
    async with a_source(share) as source:
        yield source


async def test_a_port_that_is_taken_is_refused(source: Source) -> None:
    second = UploadServer(
        Contents(source.shared.library, source.partials),
        source.identity,
        PEER_ID,
        insecure=False,
        max_uploads=1,
        idle_timeout_seconds=1,
        clock=lambda: NOW,
    )
    with pytest.raises(LocalRefusal, match="taken"):
        await second.start(Address("127.0.0.1", source.port))
    await second.stop(0)


async def test_oversized_requests_and_metadata_are_refused_and_others_served(
    source: Source,
) -> None:
    small = source.digest("share/small")
    for digest, grant in (("0" * 10_000_000, None), (small, "x" * 1_000_000)):
        with pytest.raises(grpc.aio.AioRpcError) as error:
            async for _ in source.fetch(Digest(digest), grant=grant):
                pass
        assert error.value.code() is not grpc.StatusCode.UNKNOWN
        assert await source.fetch_all(small) == b"small"


async def test_a_fault_of_ours_is_told_without_anything_from_inside(
    source: Source, caplog: pytest.LogCaptureFixture
) -> None:
    digest = source.digest("share/small")

    def broken_clock() -> timedelta:
        raise OSError("/home/alice/secret")

    source.now = broken_clock  # type: ignore[method-assign,assignment]
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await source.fetch_all(digest)

    assert error.value.code() is grpc.StatusCode.INTERNAL
    assert read_refusal(error.value).reason == "INTERNAL"
    assert "secret" not in str(error.value)
    assert "/home/alice/secret" in caplog.text
