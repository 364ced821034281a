"""Those that wait for a slot, over real gRPC: told their place, served in turn, gone when gone."""

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import grpc
import pytest
from tests.support.libraries import until
from tests.support.sources.sharing import (
    Call,
    Source,
    a_source,
    first_chunk,
    next_place,
    refusal_of,
    rest_of,
)

from p2p.v1 import peer_pb2
from p2p.v1.peer_pb2_grpc import PeerServiceStub
from p2p_client.models import Endpoint
from p2p_client.net.channels import peer_channel
from p2p_client.net.status import read_refusal
from p2p_client.upload.slots import queue, slots

KIB, MIB = 1 << 10, 1 << 20
# Far more than the network's buffers hold, so that a reader who waits keeps its slot.
CONTENT = os.urandom(MIB) * 48


@pytest.fixture
def share(tmp_path: Path) -> Path:
    share = tmp_path / "share"
    share.mkdir()
    (share / "big").write_bytes(CONTENT)
    (share / "small").write_bytes(b"small")
    return share


@pytest.fixture
async def source(share: Path) -> AsyncIterator[Source]:
    """Two slots, one a user."""
    async with a_source(share, max_uploads=2, idle_timeout_seconds=60) as source:
        yield source


async def fill(source: Source, *users: str) -> list[Call]:
    """Streams of these users that keep their slots until they are read or cancelled."""
    calls = [source.fetch(source.digest("share/big"), user=user) for user in users]
    for call in calls:
        assert await first_chunk(call)
    return calls


async def reason_of(call: Call) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await rest_of(call)
    return read_refusal(error.value).reason


async def first_answer(call: Call) -> str:
    """`served`, `queued`, or the code and reason with which it is refused."""
    try:
        message = await call.read()
    except grpc.aio.AioRpcError as error:
        return f"{error.code().name} {read_refusal(error).reason}".strip()
    assert isinstance(message, peer_pb2.FetchFileResponse)
    return "queued" if message.HasField("queue") else "served"


async def test_one_who_waits_is_told_its_place_and_served_in_its_turn(source: Source) -> None:
    digest = source.digest("share/small")
    running = await fill(source, "a", "b")
    first = source.fetch(digest, user="c", waits=True)
    assert (place := await next_place(first)) is not None
    assert (place.position, place.waiting_count) == (0, 1)
    second = source.fetch(digest, user="d", waits=True)
    assert (place := await next_place(second)) is not None
    assert (place.position, place.waiting_count) == (1, 2)
    assert source.server.waiting_uploads == 2

    running[0].cancel()
    assert await rest_of(first) == b"small"
    assert await rest_of(second) == b"small"
    await until(lambda: source.server.waiting_uploads == 0)


async def test_a_change_of_place_is_told(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "TELL_SECONDS", 60.0)
    digest = source.digest("share/small")
    await fill(source, "a", "b")
    first = source.fetch(digest, user="c", waits=True)
    await next_place(first)
    second = source.fetch(digest, user="d", waits=True)
    assert (place := await next_place(second)) is not None
    assert place.position == 1

    first.cancel()
    assert (place := await next_place(second)) is not None
    assert (place.position, place.waiting_count) == (0, 1)


async def test_with_a_free_slot_nobody_hears_of_a_queue(source: Source) -> None:
    call = source.fetch(source.digest("share/small"), waits=True)
    messages = [message async for message in call]

    assert not any(message.HasField("queue") for message in messages)
    assert b"".join(message.data for message in messages) == b"small"


async def test_while_nothing_changes_the_place_is_told_again(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slots, "TELL_SECONDS", 0.05)
    await fill(source, "a", "b")
    call = source.fetch(source.digest("share/small"), user="c", waits=True)

    places = [await next_place(call) for _ in range(5)]
    assert [place.position for place in places if place] == [0] * 5


async def test_who_does_not_wait_is_refused_at_once_and_overtakes_nobody(source: Source) -> None:
    running = await fill(source, "a", "b")
    waits = source.fetch(source.digest("share/small"), user="c", waits=True)
    await next_place(waits)

    refused = await refusal_of(source.fetch(source.digest("share/small"), user="d"))
    assert refused == ("RESOURCE_EXHAUSTED", "TOO_MANY_STREAMS")
    running[0].cancel()
    assert await rest_of(waits) == b"small"


async def test_what_cannot_be_served_is_not_waited_for(source: Source) -> None:
    await fill(source, "a", "b")

    unknown = source.fetch("0" * 64, user="c", waits=True)
    assert await refusal_of(unknown) == ("NOT_FOUND", "CONTENT_UNKNOWN")
    outside = source.fetch(source.digest("share/small"), 6, user="c", waits=True)
    assert await refusal_of(outside) == ("OUT_OF_RANGE", "RANGE_INVALID")


async def test_one_who_goes_while_it_waits_leaves_the_queue(source: Source) -> None:
    digest = source.digest("share/small")
    await fill(source, "a", "b")
    cancelled = source.fetch(digest, user="c", waits=True)
    await next_place(cancelled)
    endpoint = Endpoint("127.0.0.1", source.port)
    async with peer_channel(endpoint, source.identity.certificate_der) as channel:
        cut = source.fetch(digest, user="d", waits=True, stub=PeerServiceStub(channel))
        await next_place(cut)
        assert source.server.waiting_uploads == 2
        cancelled.cancel()
        await until(lambda: source.server.waiting_uploads == 1)

    await until(lambda: source.server.waiting_uploads == 0)


async def test_the_queue_has_an_end(source: Source) -> None:
    digest = source.digest("share/small")
    await fill(source, "a", "b")
    calls = [
        source.fetch(digest, user="greedy", waits=True) for _ in range(queue.MOST_WAITING_OF_ONE)
    ]
    for call in calls:
        await next_place(call)

    one_more = source.fetch(digest, user="greedy", waits=True)
    assert await refusal_of(one_more) == ("RESOURCE_EXHAUSTED", "TOO_MANY_STREAMS")
    other = source.fetch(digest, user="modest", waits=True)
    assert (place := await next_place(other)) is not None
    assert place.position <= 1  # behind one call of the other user, not behind all of them


async def test_in_a_full_queue_a_newcomer_takes_the_place_of_the_greediest(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(source, "a", "b")
    digest = source.digest("share/small")
    calls = []
    users = [f"user{n}" for n in range(queue.MOST_WAITING // queue.MOST_WAITING_OF_ONE)]
    async with AsyncExitStack() as stack:
        for user in users:  # a connection carries a hundred streams or so
            endpoint = Endpoint("127.0.0.1", source.port)
            channel = peer_channel(endpoint, source.identity.certificate_der)
            stub = PeerServiceStub(await stack.enter_async_context(channel))
            calls += [
                source.fetch(digest, user=user, waits=True, stub=stub)
                for _ in range(queue.MOST_WAITING_OF_ONE)
            ]
        for call in calls:
            await next_place(call)
        newcomer = source.fetch(digest, user="new", waits=True)

        assert await next_place(newcomer) is not None
        assert source.server.waiting_uploads == queue.MOST_WAITING
        async with asyncio.TaskGroup() as tasks:
            reading = [tasks.create_task(reason_of(call)) for call in calls]
            done, rest = await asyncio.wait(reading, return_when=asyncio.FIRST_COMPLETED)
            for task in rest:
                task.cancel()
        assert [task.result() for task in done] == ["TOO_MANY_STREAMS"]


async def test_an_idle_reader_keeps_its_slot_until_others_wait_for_it(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slots, "HURRIED_SECONDS", 0.3)
    idle = await fill(source, "a", "b")
    await asyncio.sleep(0.5)
    assert source.server.active_uploads == 2

    waits = source.fetch(source.digest("share/small"), user="c", waits=True)
    assert await next_place(waits) is not None
    assert await rest_of(waits) == b"small"
    assert await reason_of(idle[0]) == "STREAM_IDLE"


async def test_a_long_stream_lets_others_go_first_and_goes_on(
    share: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "TURN_SECONDS", 0.0)
    async with a_source(share, max_uploads=1) as source, asyncio.TaskGroup() as tasks:
        digest = source.digest("share/big")
        places: Counter[str] = Counter()

        async def read(user: str) -> bytes:
            received = bytearray()
            async for message in source.fetch(digest, user=user, waits=True):
                places[user] += message.HasField("queue")
                received += message.data
            return bytes(received)

        readers = {user: tasks.create_task(read(user)) for user in ("a", "b", "c")}

    assert all(reader.result() == CONTENT for reader in readers.values())
    assert all(places[user] > 3 for user in readers)


async def test_a_long_stream_that_cannot_wait_ends_when_its_turn_is_over(
    share: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "TURN_SECONDS", 0.0)
    async with a_source(share, max_uploads=1) as source:
        (long,) = await fill(source, "a")
        waits = source.fetch(source.digest("share/small"), user="b", waits=True)
        await next_place(waits)

        assert await reason_of(long) == "TOO_MANY_STREAMS"
        assert await rest_of(waits) == b"small"


async def test_stopping_sends_away_who_waits_and_lets_the_running_end(source: Source) -> None:
    running = await fill(source, "a", "b")
    waits = source.fetch(source.digest("share/small"), user="c", waits=True)
    await next_place(waits)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(source.server.stop(20))
        assert await reason_of(waits) == "SHUTTING_DOWN"
        for call in running:
            await rest_of(call)


async def test_at_a_limit_few_streams_run_and_the_others_wait(share: Path) -> None:
    async with a_source(share, max_uploads=64, limit_bytes_per_second=16e6) as source:
        digest = source.digest("share/big")
        calls = [source.fetch(digest, user=user, waits=True) for user in "abcdef"]
        places = [await next_place(call) for call in calls]

        assert sum(place is not None for place in places) >= 3
        assert source.server.active_uploads <= 3


async def test_a_thousand_streams_of_one_user_do_not_keep_another_out(share: Path) -> None:
    async with a_source(share, max_uploads=8) as source, AsyncExitStack() as stack:
        digest, endpoint = source.digest("share/big"), Endpoint("127.0.0.1", source.port)
        calls = []
        for number in range(10):
            channel = peer_channel(endpoint, source.identity.certificate_der)
            stub = PeerServiceStub(await stack.enter_async_context(channel))
            calls += [
                source.fetch(digest, user="flood", waits=number % 2 == 0, stub=stub)
                for _ in range(100)
            ]
        answers = Counter(await asyncio.gather(*map(first_answer, calls)))
        assert answers["served"] == 4
        assert answers["queued"] == queue.MOST_WAITING_OF_ONE
        assert all(
            answer in ("served", "queued") or answer.startswith("RESOURCE_EXHAUSTED")
            for answer in answers
        )

        small = source.digest("share/small")
        for user in "abc":
            assert await rest_of(source.fetch(small, user=user, waits=True)) == b"small"
        assert source.server.active_uploads == 4
        assert source.server.waiting_uploads <= queue.MOST_WAITING_OF_ONE
        for call in calls:
            call.cancel()
        await until(lambda: source.server.active_uploads == 0)
        await until(lambda: source.server.waiting_uploads == 0)


def test_every_message_of_the_queue_fits_its_contract() -> None:
    """5 s at the longest between two, with time to spare for the way."""
    assert slots.TELL_SECONDS + 2 * slots.TICK_SECONDS < 5
