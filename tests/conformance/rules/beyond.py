"""Rules for who shares about what v1 has beyond whole files: packed contents, pieces, reports, the
queue. A source may leave out each of them; then it says UNIMPLEMENTED, and keeps the rule."""

import contextlib
import time
from collections.abc import Sequence
from typing import Any

import grpc
import grpc.aio
from blake3 import blake3
from tests.conformance.rules.book import rule
from tests.conformance.rules.serving import (
    CONTENT,
    MALFORMED,
    OUT_OF_RANGE,
    UNKNOWN,
    fetch,
    sharing_one,
)
from tests.conformance.rules.world import CALL_SECONDS, Sharing, World, ended, status_of, until
from tools.vectors.base import MIB, content
from tools.vectors.transfers import REASONS, bitmap

from p2p.v1 import peer_pb2 as pb

SMALL = {"a": b"first", "b": b"", "c": content(700_000), "d": content(700_001), "e": b"last"}
LARGE = content(MIB + 1)
MISSING = "UNAUTHENTICATED / GRANT_MISSING"
FULL = "RESOURCE_EXHAUSTED / TOO_MANY_STREAMS"


def is_absent(status: str) -> bool:
    return status.startswith("UNIMPLEMENTED")


async def all_of(call: Any) -> tuple[list[Any], str]:
    """The messages of a stream, and how it ended."""
    messages: list[Any] = []

    class Noting:
        """The stream, for `ended`, which knows chunks only."""

        async def __aiter__(self) -> Any:
            async for message in call:
                messages.append(message)
                yield pb.FetchFileResponse()

    return messages, (await ended(Noting())).status


async def packed(
    sharing: Sharing, digests: Sequence[bytes], metadata: Any
) -> tuple[list[Any], str]:
    """What came of each digest, in order, or nothing where it came otherwise."""
    request = pb.FetchPackedRequest(digests=digests, wait_in_queue=True)
    messages, status = await all_of(sharing.stub.FetchPacked(request, metadata=metadata))
    contents = [content for message in messages for content in message.contents]
    for message in messages:
        size = sum(len(content.data) for content in message.contents)
        assert size <= MIB, f"{size} bytes in one message"
    assert [at.index for at in contents] == list(range(len(contents))), "not in order from 0 on"
    return contents, status


@rule("share", "packs small contents in the order asked for, or does not know FetchPacked")
async def packs(world: World) -> None:
    files = {**SMALL, "large": LARGE}
    sharing = await world.share(await world.directory(), files)
    wanted = [*SMALL.values(), LARGE, b"unknown"]
    digests = [blake3(data).digest() for data in wanted]

    contents, status = await packed(sharing, digests, sharing.everything())

    if is_absent(status):
        return
    assert status == "OK", status
    assert len(contents) == len(wanted), f"{len(contents)} of {len(wanted)} came"
    *small, large, unknown = contents
    assert [at.data for at in small] == list(SMALL.values()), "other bytes"
    assert not any(at.reason for at in small), "bytes, and a reason why not"
    for at, reason in ((large, "TOO_LARGE"), (unknown, "CONTENT_UNKNOWN")):
        assert (at.data, at.reason) == (b"", REASONS[reason]), f"{reason} was due"


@rule("share", "judges the grant for each packed content in its place")
async def packed_grants(world: World) -> None:
    sharing = await world.share(await world.directory(), {"a": b"first", "e": b"last"})
    digests = [blake3(data).digest() for data in (b"first", b"last")]
    one = sharing.grant(digests[1].hex())

    contents, status = await packed(sharing, digests, one)

    if is_absent(status):
        return
    assert status == "OK", status
    assert contents[0].reason == REASONS["GRANT_MISMATCH"], "it was sent without a grant"
    assert (contents[0].data, contents[1].data) == (b"", b"last"), "other bytes"
    assert (await packed(sharing, digests, ()))[1] == MISSING
    many = [number.to_bytes(32, "big") for number in range(5_001)]
    status = (await packed(sharing, many, sharing.everything()))[1]
    assert status == "RESOURCE_EXHAUSTED / TOO_LARGE", f"5,001 digests: {status}"
    status = (await packed(sharing, [digests[0][:-1]], sharing.everything()))[1]
    assert status == MALFORMED, f"a digest of 31 bytes: {status}"


@rule("share", "tells that it holds all pieces, and ends; or does not know WatchPieces")
async def tells_pieces(world: World) -> None:
    sharing, digest = await sharing_one(world)
    manifest_digest = sharing.resource("a.bin").manifest_digest

    def watch(manifest_digest: str, metadata: Any) -> Any:
        request = pb.WatchPiecesRequest(digest=digest, manifest_digest=manifest_digest)
        return sharing.stub.WatchPieces(request, metadata=metadata)

    messages, status = await all_of(watch(manifest_digest, sharing.grant(digest)))

    if is_absent(status):
        return
    assert status == "OK", status
    wanted = [pb.WatchPiecesResponse(bitmap=bitmap(range(3), 3))]
    assert messages == wanted, f"it told {messages}"
    assert (await ended(watch(manifest_digest, ()))).status == MISSING
    other = blake3(b"other").hexdigest()
    assert (await ended(watch(other, sharing.grant(digest)))).status == UNKNOWN


@rule("share", "believes its disk and not who reports a bad piece, or does not know reports")
async def false_reports(world: World) -> None:
    directory = await world.directory()
    sharing = await world.share(directory, {"a.bin": CONTENT})
    resource = sharing.resource("a.bin")
    grant = sharing.grant(resource.digest)
    announced = directory.calls["Announce"]

    async def report(piece_index: int, manifest_digest: str = resource.manifest_digest) -> str:
        request = pb.ReportBadPieceRequest(
            digest=resource.digest, manifest_digest=manifest_digest, piece_index=piece_index
        )
        return (await ended(sharing.stub.ReportBadPiece(request, metadata=grant))).status

    status = await report(1)
    if is_absent(status):
        return
    assert status == "OK", status
    for wrong in (3, -1):
        status = await report(wrong)
        assert status == OUT_OF_RANGE, f"piece {wrong} of 3: {status}"
    status = await report(0, blake3(b"other").hexdigest())
    assert status == UNKNOWN, status
    assert (await ended(fetch(sharing, resource.digest, grant))).data == CONTENT
    assert directory.calls["Announce"] == announced, "it announced something"


@rule("share", "has no more streams than it tells, and lets who waits have the next")
async def slots(world: World) -> None:
    directory = await world.directory(heartbeat_seconds=0.5)
    sharing = await world.share(directory, {"a.bin": content(16 * MIB)})
    digest = sharing.resource("a.bin").digest
    grant = sharing.grant(digest)
    await until(lambda: directory.most_uploads > 0, "its heartbeats do not tell `max_uploads`")
    running: list[Any] = []
    while (status := await with_slot(call := fetch(sharing, digest, grant))) == "OK":
        running.append(call)
        assert len(running) <= directory.most_uploads, "more streams than it tells"
    assert status == FULL, status
    request = pb.FetchFileRequest(digest=digest, wait_in_queue=True)
    waiting = sharing.stub.FetchFile(request, metadata=grant, timeout=CALL_SECONDS)
    with contextlib.suppress(grpc.aio.AioRpcError):  # it need not have a queue
        first = await waiting.read()
        assert first.HasField("queue"), "it neither waits nor is refused"
        assert not first.data, "bytes beside a place in the queue"
        running.pop().cancel()
        while (message := await waiting.read()).HasField("queue"):
            assert not message.data, "bytes beside a place in the queue"
        assert message.data, "the slot came without bytes"

    for call in (waiting, *running):
        call.cancel()

    deadline = time.monotonic() + CALL_SECONDS
    while (status := await with_slot(call := fetch(sharing, digest, grant))) != "OK":
        assert time.monotonic() < deadline, f"no slot again: {status}"
    call.cancel()


async def with_slot(call: Any) -> str:
    """Takes one chunk, and no more for now; OK, or how the call ended."""
    try:
        return "OK" if (await call.read()).data else "neither a slot nor refused"
    except grpc.aio.AioRpcError as error:
        return status_of(error)
