"""Rules for who downloads from sources that are busy, or hold a part only."""

import asyncio
from typing import Any

import grpc
from tests.conformance.rules.book import rule
from tests.conformance.rules.getting import CONTENT, fetches
from tests.conformance.rules.source import PlayedSource, refuse
from tests.conformance.rules.world import World
from tools.vectors.base import MIB
from tools.vectors.transfers import bitmap

from p2p.v1 import peer_pb2

PIECE_COUNT = -(-len(CONTENT) // MIB)
SILENCE_SECONDS = 0.5


def waits(position: int, waiting_count: int, seconds: int | None = None) -> Any:
    status = peer_pb2.QueueStatus(position=position, waiting_count=waiting_count)
    if seconds is not None:
        status.expected_wait.FromSeconds(seconds)
    return peer_pb2.FetchFileResponse(queue=status)


class BusySource(PlayedSource):
    """Has no slot for a while, neither at first nor in the middle of a range."""

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self.calls = 0

    async def _before(self, request: Any, end: int, context: Any) -> None:
        self.calls += 1
        if not request.wait_in_queue:
            if self.calls < 3:
                await refuse(context, grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_STREAMS")
            return
        for status in (waits(2, 3, 5), waits(4, 7), waits(0, 1, 0), waits(-1, 1 << 30, 1 << 33)):
            await context.write(status)

    async def _between(self, request: Any, context: Any) -> None:
        if request.wait_in_queue:
            await context.write(waits(1, 2))
            await context.write(waits(0, 1))
        elif self.calls == 3:
            await refuse(context, grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_STREAMS")


class FullSource(PlayedSource):
    """Never has a slot."""

    def __init__(self, content: bytes, *, has_queue: bool) -> None:
        super().__init__(content, user="full")
        self._has_queue = has_queue

    async def _before(self, request: Any, end: int, context: Any) -> None:
        while self._has_queue and request.wait_in_queue:
            await context.write(waits(7, 8))
            await asyncio.sleep(SILENCE_SECONDS)
        await refuse(context, grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_STREAMS")


class PartialSource(PlayedSource):
    """Holds these pieces and no others, says so where it is asked, and keeps to it."""

    def __init__(self, content: bytes, user: str, held: set[int]) -> None:
        super().__init__(content, user=user)
        self.held = held
        self.asked_for: set[int] = set()

    async def _before(self, request: Any, end: int, context: Any) -> None:
        touched = set(range(request.read_offset // MIB, -(-end // MIB)))
        self.asked_for |= touched
        if touched - self.held:
            await refuse(context, grpc.StatusCode.FAILED_PRECONDITION, "PIECES_MISSING")

    async def WatchPieces(self, request: Any, context: Any) -> None:  # type: ignore[override]  # the stub allows only generators
        bits = bitmap(self.held, PIECE_COUNT)
        await context.write(peer_pb2.WatchPiecesResponse(bitmap=bits))
        await asyncio.Event().wait()


@rule("get", "waits where no slot is free: in the queue, or by asking again")
async def waits_for_a_slot(world: World) -> None:
    directory = await world.directory()
    source = await world.play(BusySource(CONTENT))

    await fetches(world, directory, directory.list_source(source, "a.bin"))


@rule("get", "goes to another source where one only lets it wait")
async def does_not_wait(world: World) -> None:
    directory = await world.directory()
    full = await world.play(FullSource(CONTENT, has_queue=True))
    honest = await world.source(CONTENT, user="zoe")
    digest = directory.list_source(full, "a.bin")
    directory.list_source(honest, "a.bin")

    await fetches(world, directory, digest)

    assert not full.bytes_sent


@rule("get", "takes PIECES_MISSING for no lie, and the piece from another source")
async def pieces_missing(world: World) -> None:
    directory = await world.directory()
    sparse = await world.play(PartialSource(CONTENT, "sparse", {0}))
    whole = await world.source(CONTENT, user="zoe")
    digest = directory.list_source(sparse, "a.bin")  # listed as a whole one, which it is no more
    directory.list_source(whole, "a.bin")

    await fetches(world, directory, digest)


@rule("get", "asks a partial source for nothing that it does not say to hold")
async def partial_beside_whole(world: World) -> None:
    directory = await world.directory()
    sparse = await world.play(PartialSource(CONTENT, "sparse", {1}))
    whole = await world.source(CONTENT, user="zoe")
    directory.partial_peers.add(sparse.peer_id)
    directory.list_source(sparse, "a.bin")

    await fetches(world, directory, directory.list_source(whole, "a.bin"))

    assert sparse.asked_for <= sparse.held, f"it asked for {sorted(sparse.asked_for)}"


@rule("get", "puts a whole together from partial sources, or leaves them alone")
async def partials_alone(world: World) -> None:
    directory = await world.directory()
    partials = [
        await world.play(PartialSource(CONTENT, "even", {0, 2})),
        await world.play(PartialSource(CONTENT, "odd", {1})),
    ]
    full = await world.play(FullSource(CONTENT, has_queue=False))
    for source in partials:
        directory.partial_peers.add(source.peer_id)
        directory.list_source(source, "a.bin")
    digest = directory.list_source(full, "a.bin")

    ended = await world.get(directory, digest, "-o", "a.bin")

    if ended.status:
        assert not (world.work / "a.bin").exists(), "a file is there"
        assert not any(source.asked_for for source in partials), "it asked, and gave up"
    else:
        assert (world.work / "a.bin").read_bytes() == CONTENT, "other bytes are in the file"
    for source in partials:
        assert source.asked_for <= source.held, f"it asked for {sorted(source.asked_for)}"
