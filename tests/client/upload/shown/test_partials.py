"""Contents that are still being downloaded, as others fetch them: verified pieces and no others."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import grpc.aio
import pytest
from tests.support.downloads.downloads import MIB, some_bytes
from tests.support.libraries import until
from tests.support.sources.fake import digest_of
from tests.support.sources.sharing import (
    Source,
    WatchCall,
    a_source,
    first_chunk,
    refusal_of,
    rest_of,
)

from p2p.v1 import peer_pb2
from p2p_client.content.manifest import PieceIndex
from p2p_client.content.piece_map import PieceMap
from p2p_client.upload.shown.partials import Partial
from p2p_client.upload.shown.telling import MOST_WATCHERS, MOST_WATCHERS_OF_ONE

CONTENT = some_bytes(4 * MIB + 5)
DIGEST, MANIFEST = digest_of(CONTENT)
WHOLE = some_bytes(2 * MIB, seed=3)


@pytest.fixture
async def source(tmp_path: Path) -> AsyncIterator[Source]:
    share = tmp_path / "share"
    share.mkdir()
    (share / "whole").write_bytes(WHOLE)
    async with a_source(share) as source:
        yield source
        source.partials.close_all()


def reader_of(tmp_path: Path, content: bytes = CONTENT) -> Callable[[], int]:
    part = tmp_path / "part"
    part.write_bytes(content)
    return lambda: os.open(part, os.O_RDONLY)


def shown(source: Source, tmp_path: Path, *pieces: int, content: bytes = CONTENT) -> Partial:
    held = PieceMap(MANIFEST.piece_count)
    for piece in pieces:
        held.add(PieceIndex(piece))
    return source.partials.show(DIGEST, MANIFEST, held, reader_of(tmp_path, content))


def listed(source: Source) -> list[str]:
    return [partial.digest for partial in source.shared.catalog.partials]


async def test_held_pieces_are_served_and_no_others(source: Source, tmp_path: Path) -> None:
    partial = shown(source, tmp_path, 1, 2)

    assert await source.fetch_all(DIGEST, MIB, 2 * MIB) == CONTENT[MIB : 3 * MIB]
    for offset, limit in ((0, 0), (0, 1), (MIB - 1, 2), (3 * MIB - 1, 2), (4 * MIB, 0)):
        refused = await refusal_of(source.fetch(DIGEST, offset, limit))
        assert refused == ("FAILED_PRECONDITION", "PIECES_MISSING")

    partial.hold(PieceIndex(4))
    assert await source.fetch_all(DIGEST, 4 * MIB) == CONTENT[4 * MIB :]
    assert await source.fetch_all(DIGEST, len(CONTENT)) == b""


async def test_a_piece_that_is_not_held_cannot_be_read_however_it_is_asked_for(
    source: Source, tmp_path: Path
) -> None:
    content = shown(source, tmp_path, 1).open()
    with content:
        assert await content.read(MIB, 10) == CONTENT[MIB : MIB + 10]
        with pytest.raises(Exception, match="piece 2 is not held"):
            await content.read(2 * MIB - 1, 2)


async def test_a_range_past_the_end_is_out_of_range_as_of_a_file(
    source: Source, tmp_path: Path
) -> None:
    shown(source, tmp_path, 0)

    assert (await refusal_of(source.fetch(DIGEST, len(CONTENT) + 1)))[1] == "RANGE_INVALID"
    assert (await refusal_of(source.fetch(DIGEST, -1)))[1] == "RANGE_INVALID"


async def test_its_manifest_is_served(source: Source, tmp_path: Path) -> None:
    shown(source, tmp_path)

    sent = (await source.manifest(DIGEST)).manifest

    assert sent.piece_digests == MANIFEST.piece_digests
    assert sent.size_bytes == len(CONTENT)


async def test_it_is_listed_as_long_as_it_is_shown(source: Source, tmp_path: Path) -> None:
    partial = shown(source, tmp_path)
    assert listed(source) == [DIGEST]

    source.partials.close(partial)
    source.partials.close(partial)

    assert listed(source) == []
    assert (await refusal_of(source.fetch(DIGEST)))[1] == "CONTENT_UNKNOWN"
    assert (await refusal_of(source.manifest(DIGEST)))[1] == "CONTENT_UNKNOWN"


async def test_of_two_downloads_of_one_content_the_second_is_shown_after_the_first(
    source: Source, tmp_path: Path
) -> None:
    first, second = shown(source, tmp_path, 0), shown(source, tmp_path, 1)
    assert await source.fetch_all(DIGEST, 0, 3) == CONTENT[:3]

    source.partials.close(first)

    assert await source.fetch_all(DIGEST, MIB, 3) == CONTENT[MIB : MIB + 3]
    assert listed(source) == [DIGEST]
    source.partials.close(second)
    assert listed(source) == []


async def test_a_stream_that_runs_goes_on_when_it_is_shown_no_more(
    source: Source, tmp_path: Path
) -> None:
    partial = shown(source, tmp_path, 0, 1, 2)
    call = source.fetch(DIGEST, 0, 3 * MIB, chunk_bytes=64 << 10)
    received = await first_chunk(call)

    source.partials.close(partial)
    received += await rest_of(call)

    assert received == CONTENT[: 3 * MIB]


async def test_a_stream_ends_when_what_it_reads_is_in_doubt(source: Source, tmp_path: Path) -> None:
    partial = shown(source, tmp_path, *range(5))
    content = partial.open()
    await content.read(0, 10)

    source.partials.close(partial, is_doubtful=True)

    with content, pytest.raises(Exception, match="in doubt"):
        await content.read(10, 10)


def report(source: Source, piece: int) -> Awaitable[object]:
    request = peer_pb2.ReportBadPieceRequest(
        digest=DIGEST, manifest_digest=MANIFEST.digest(), piece_index=piece
    )
    return source.stub.ReportBadPiece(request, metadata=source.with_grant(None), timeout=30)


async def test_a_complete_file_that_is_written_to_before_it_is_listed_is_shown_no_more(
    source: Source, tmp_path: Path
) -> None:
    partial = shown(source, tmp_path, *range(5))
    partial.settle()
    assert await source.fetch_all(DIGEST, 0, MIB) == CONTENT[:MIB]

    with (tmp_path / "part").open("r+b") as file:
        file.write(b"another beginning")

    refused = await refusal_of(source.fetch(DIGEST, 0, MIB))
    assert refused == ("ABORTED", "CONTENT_CHANGED")
    assert listed(source) == []
    assert await refusal_of(source.fetch(DIGEST, 0, MIB)) == ("NOT_FOUND", "CONTENT_UNKNOWN")


async def test_a_piece_that_rotted_on_the_disk_is_found_when_it_is_reported(
    source: Source, tmp_path: Path
) -> None:
    rotten = CONTENT[: 2 * MIB] + b"rot" + CONTENT[2 * MIB + 3 :]
    shown(source, tmp_path, 1, 2, content=rotten)

    for harmless in (0, 1):
        await report(source, harmless)
    assert listed(source) == [DIGEST]
    await report(source, 2)

    assert listed(source) == []
    assert (await refusal_of(source.fetch(DIGEST, MIB, 1)))[1] == "CONTENT_UNKNOWN"
    assert (await refusal_of(report(source, 1)))[1] == "CONTENT_UNKNOWN"


# -- WatchPieces


async def next_pieces(call: WatchCall) -> peer_pb2.WatchPiecesResponse:
    message = await call.read()
    assert isinstance(message, peer_pb2.WatchPiecesResponse)
    return message


async def test_pieces_are_told_as_they_come_and_the_end_is_all_of_them(
    source: Source, tmp_path: Path
) -> None:
    partial = shown(source, tmp_path, 1)
    call = source.watch(DIGEST, MANIFEST.digest())

    assert (await next_pieces(call)).bitmap == b"\x02"
    added: list[int] = []
    for piece in (4, 0, 2, 3):
        partial.hold(PieceIndex(piece))
        partial.hold(PieceIndex(piece))
    while len(added) < 4:
        message = await next_pieces(call)
        assert not message.bitmap
        added += message.added_pieces

    assert added == [4, 0, 2, 3]
    assert await call.read() is grpc.aio.EOF


async def test_a_whole_file_is_told_at_once(source: Source) -> None:
    digest = source.digest("share/whole")
    manifest = digest_of(WHOLE)[1]

    messages = [message async for message in source.watch(digest, manifest.digest())]

    assert [message.bitmap for message in messages] == [b"\x03"]


@pytest.mark.parametrize("known", [True, False])
async def test_another_manifest_or_content_is_unknown(
    source: Source, tmp_path: Path, known: bool
) -> None:
    shown(source, tmp_path, 1)
    digest = source.digest("share/whole") if known else "a" * 64

    for asked in (digest, DIGEST):
        refused = await refusal_of(source.watch(asked, "b" * 64))
        assert refused == ("NOT_FOUND", "CONTENT_UNKNOWN")


async def test_a_malformed_manifest_digest_is_named(source: Source, tmp_path: Path) -> None:
    shown(source, tmp_path, 1)

    refused = await refusal_of(source.watch(DIGEST, "xyz"))

    assert refused == ("INVALID_ARGUMENT", "FIELD_INVALID")


async def test_who_watches_hears_when_it_is_shared_no_longer(
    source: Source, tmp_path: Path
) -> None:
    partial = shown(source, tmp_path, 1)
    call = source.watch(DIGEST, MANIFEST.digest())
    await next_pieces(call)

    source.partials.close(partial)

    assert await refusal_of(call.read()) == ("NOT_FOUND", "CONTENT_UNKNOWN")


async def test_too_many_watchers_are_told_to_go_on_without(source: Source, tmp_path: Path) -> None:
    shown(source, tmp_path, 1)
    calls = [source.watch(DIGEST, MANIFEST.digest(), f"u{at % 8}") for at in range(MOST_WATCHERS)]
    for call in calls:
        await next_pieces(call)

    refused = await refusal_of(source.watch(DIGEST, MANIFEST.digest()))
    assert refused == ("RESOURCE_EXHAUSTED", "OVERLOADED")

    for call in calls:
        call.cancel()
    await until(lambda: source.server.watchers == 0)
    assert (await next_pieces(source.watch(DIGEST, MANIFEST.digest()))).bitmap == b"\x02"


async def test_one_user_cannot_take_all_the_room_to_watch(source: Source, tmp_path: Path) -> None:
    shown(source, tmp_path, 1)
    calls = [source.watch(DIGEST, MANIFEST.digest(), "greedy") for _ in range(MOST_WATCHERS_OF_ONE)]
    for call in calls:
        await next_pieces(call)

    refused = await refusal_of(source.watch(DIGEST, MANIFEST.digest(), "greedy"))
    assert refused == ("RESOURCE_EXHAUSTED", "OVERLOADED")
    assert (await next_pieces(source.watch(DIGEST, MANIFEST.digest(), "bob"))).bitmap == b"\x02"
    for call in calls:
        call.cancel()


async def test_what_was_sent_is_counted(source: Source, tmp_path: Path) -> None:
    shown(source, tmp_path, 0, 1)

    await source.fetch_all(DIGEST, 0, 2 * MIB)
    await source.fetch_all(source.digest("share/whole"), 5, 10)

    assert source.server.uploaded_bytes == 2 * MIB + 10
