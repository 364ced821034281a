"""Our downloader keeps to the vectors of packed contents and of piece bitmaps: a source that says
nothing else replays the bytes of each to it."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import grpc
import grpc.aio
import pytest
from blake3 import blake3
from tools.generate_vectors import FOLDER

from p2p.v1 import peer_pb2
from p2p_client.content.manifest import PieceIndex
from p2p_client.content.piece_map import PieceMap
from p2p_client.download.partial.watching import watch_pieces
from p2p_client.download.picker.pieces import span, stripes
from p2p_client.download.picker.spans import block_length
from p2p_client.download.tree.lanes.packed import Asked, PackedSource
from p2p_client.errors import SourceMisbehaved
from p2p_client.models import Digest, Endpoint, Holding, ManifestDigest, PeerId, Source
from p2p_client.net.channels import PeerChannels
from p2p_client.transfer.pace import Pace

PATIENCE_SECONDS = 30.0
PACKED = json.loads((FOLDER / "packed.json").read_text())
PIECES = json.loads((FOLDER / "pieces.json").read_text())

Case = dict[str, Any]


def each(found: list[Case]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", found, ids=[case["name"] for case in found])


@asynccontextmanager
async def replaying(method: str, messages: Sequence[str]) -> AsyncIterator[Source]:
    """A source whose answer to that method is these bytes, whatever it is asked."""

    async def answer(request: bytes, context: Any) -> AsyncIterator[bytes]:
        for message in messages:
            yield bytes.fromhex(message)

    server = grpc.aio.server()
    method_handler: Any = grpc.unary_stream_rpc_method_handler(answer)
    service = "p2p.v1.PeerService"
    handler = grpc.method_handlers_generic_handler(service, {method: method_handler})
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        endpoints = (Endpoint("127.0.0.1", port),)
        expires_at = datetime(2100, 1, 1, tzinfo=UTC)
        yield Source(PeerId("replaying-source"), "ann", endpoints, b"", "a.b.c", expires_at)
    finally:
        await server.stop(None)


@pytest.fixture
async def channels() -> AsyncIterator[PeerChannels]:
    channels = PeerChannels(insecure=True)
    yield channels
    await channels.close()


def test_the_packed_request() -> None:
    digests = [bytes.fromhex(asked["digest"]) for asked in PACKED["asked"]]
    request = peer_pb2.FetchPackedRequest(digests=digests, wait_in_queue=True)

    assert request.SerializeToString(deterministic=True).hex() == PACKED["request"]


@each(PACKED["cases"])
async def test_packed(case: Case, channels: PeerChannels) -> None:
    wanted = [Asked(bytes.fromhex(at["digest"]), at["size_bytes"]) for at in PACKED["asked"]]
    outcomes: list[str] = []
    end = "OK"
    async with replaying("FetchPacked", case["messages"]) as source:
        packed = PackedSource(source, channels, PATIENCE_SECONDS, Pace(None))
        try:
            async with aclosing(packed.fetch(wanted)) as messages:
                async for came in messages:
                    for content in came:
                        outcomes.append(outcome(content, wanted[len(outcomes)]))
        except SourceMisbehaved:
            end = "misbehaved"

    assert (outcomes, end) == (case["outcomes"], case["end"])


def outcome(content: bytes | str, asked: Asked) -> str:
    if isinstance(content, bytes):
        return "good" if blake3(content).digest() == asked.digest else "wrong"
    return {"UNKNOWN": "unknown", "WRONG_SIZE": "wrong"}.get(content, content)


@each(PIECES["cases"])
async def test_pieces(case: Case, channels: PeerChannels) -> None:
    held, told, end = 0, [], "OK"
    async with replaying("WatchPieces", case["messages"]) as source:
        holding = Holding(Digest("00" * 32), source, ManifestDigest("00" * 32), 0, partial=True)
        watch = watch_pieces(holding, channels, case["piece_count"], PATIENCE_SECONDS)
        try:
            async with asyncio.timeout(PATIENCE_SECONDS), aclosing(watch) as messages:
                async for pieces in messages:
                    held |= pieces
                    told.append([at for at in range(case["piece_count"]) if held >> at & 1])
        except SourceMisbehaved:
            end = "misbehaved"

    assert (told, end) == (case["held"], case["end"])


@pytest.mark.parametrize("case", PIECES["bitmaps"], ids=lambda case: case["bitmap"] or "empty")
def test_bitmaps(case: Case) -> None:
    held = PieceMap(case["piece_count"])
    for piece in case["held"]:
        held.add(PieceIndex(piece))

    assert held.to_bytes().hex() == case["bitmap"]


def test_shares() -> None:
    for case in PIECES["shares"]:
        count, rank, ranks = case["piece_count"], case["rank"], case["ranks"]
        wanted = sum(span(first, stop) for first, stop in case["ranges"])
        assert block_length(count, ranks) == case["block"]
        assert stripes(case["block"], rank, ranks, count) == wanted
