"""A report finds a file that rotted in silence; a false one, or a flood of them, does no harm."""

import asyncio
import os
from pathlib import Path

import grpc
import pytest
from tests.support.libraries import until
from tests.support.rot import rot
from tests.support.sources.sharing import PEER_ID, Source, a_source, refusal_of

from p2p.v1 import peer_pb2
from p2p_client.content.manifest import Manifest
from p2p_client.library.disk.hash import Hashed
from p2p_client.library.events import Withdrawn
from p2p_client.upload.reports import limits
from p2p_client.upload.reports.limits import ReportLimits

MIB = 1 << 20
CONTENT = os.urandom(3 * MIB + 5)


def report(
    source: Source,
    digest: str,
    manifest_digest: str,
    piece: int,
    *,
    grant: str | None = None,
    user: str = "bob",
) -> "grpc.aio.UnaryUnaryCall[peer_pb2.ReportBadPieceRequest, peer_pb2.ReportBadPieceResponse]":
    request = peer_pb2.ReportBadPieceRequest(
        digest=digest, manifest_digest=manifest_digest, piece_index=piece
    )
    return source.stub.ReportBadPiece(request, metadata=source.with_grant(grant, user), timeout=20)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "share" / "f"
    file.parent.mkdir(parents=True)
    file.write_bytes(CONTENT)
    return file


def rotten(file: Path, offset: int) -> Hashed:
    return rot(file, offset, file.parent.parent / "state" / "cache.db")


async def test_a_file_that_rotted_in_silence_is_withdrawn_and_listed_as_what_it_is(
    file: Path,
) -> None:
    believed = rotten(file, 2 * MIB + 7)
    manifest: Manifest = believed.manifest
    async with a_source(file.parent) as source:
        assert source.digest("share/f") == believed.digest  # nobody has noticed
        assert await source.fetch_all(believed.digest) != CONTENT

        await report(source, believed.digest, manifest.digest(), 2)

        assert source.shared.told(Withdrawn)
        await until(lambda: "share/f" in source.shared.paths)
        now = source.digest("share/f")
        assert now != believed.digest
        assert await source.fetch_all(now) == file.read_bytes()
        gone = await refusal_of(source.fetch(believed.digest))
        assert gone == ("NOT_FOUND", "CONTENT_UNKNOWN")
    async with a_source(file.parent) as source:  # the cache does not bring the old word back
        assert source.digest("share/f") == now


async def test_a_report_of_another_piece_than_the_rotten_one_finds_nothing(file: Path) -> None:
    believed = rotten(file, 2 * MIB + 7)
    async with a_source(file.parent) as source:
        await report(source, believed.digest, believed.manifest.digest(), 0)

        assert source.digest("share/f") == believed.digest
        assert not source.shared.told(Withdrawn)


async def test_who_does_not_wait_for_the_answer_is_heard_all_the_same(file: Path) -> None:
    believed = rotten(file, 5)
    async with a_source(file.parent) as source:
        # As when the call is cut: the one that waits is cancelled, the reading goes on.
        doubting = source.shared.library.doubt(believed.digest, believed.manifest, 0)  # type: ignore[arg-type]
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(doubting)
            await asyncio.sleep(0)
            task.cancel()

        await until(lambda: source.shared.told(Withdrawn))


async def test_a_false_report_does_no_harm(file: Path) -> None:
    async with a_source(file.parent) as source:
        digest = source.digest("share/f")
        manifest = source.shared.resources["share/f"].manifest_digest
        for piece in range(4):
            await report(source, digest, manifest, piece)

        assert not source.shared.told(Withdrawn)
        assert source.digest("share/f") == digest
        assert await source.fetch_all(digest) == CONTENT


async def test_of_two_files_only_the_rotten_one_is_withdrawn(file: Path) -> None:
    believed = rotten(file, 0)
    (file.parent / "good").write_bytes(CONTENT)
    async with a_source(file.parent) as source:
        await report(source, believed.digest, believed.manifest.digest(), 0)

        await until(lambda: {"share/f", "share/good"} <= source.shared.paths)
        assert source.digest("share/good") == believed.digest
        assert source.digest("share/f") != believed.digest
        assert await source.fetch_all(believed.digest) == CONTENT


async def test_reports_that_make_no_sense_are_refused(file: Path) -> None:
    async with a_source(file.parent) as source:
        digest = source.digest("share/f")
        manifest = source.shared.resources["share/f"].manifest_digest
        other = "0" * 64
        signer = source.signer
        cases = {
            ("INVALID_ARGUMENT", "FIELD_INVALID"): [
                report(source, "nonsense", manifest, 0, user="a"),
                report(source, digest, "", 0, user="a"),
            ],
            ("NOT_FOUND", "CONTENT_UNKNOWN"): [
                report(source, other, manifest, 0, user="b"),
                report(source, digest, other, 0, user="b"),
            ],
            ("OUT_OF_RANGE", "RANGE_INVALID"): [
                report(source, digest, manifest, 4, user="c"),
                report(source, digest, manifest, -1, user="c"),
                report(source, digest, manifest, (1 << 31) - 1, user="c"),
            ],
            ("UNAUTHENTICATED", "GRANT_MISSING"): [report(source, digest, manifest, 0, grant="")],
            ("PERMISSION_DENIED", "GRANT_MISMATCH"): [
                report(source, digest, manifest, 0, grant=signer.grant(PEER_ID, digests=[other]))
            ],
        }
        for expected, calls in cases.items():
            for call in calls:
                assert await refusal_of(call) == expected


async def test_a_flood_of_reports_is_refused_and_others_are_heard(file: Path) -> None:
    believed = rotten(file, 0)
    async with a_source(file.parent) as source:
        digest, manifest = believed.digest, believed.manifest.digest()
        flood = [report(source, digest, manifest, 1, user="flood") for _ in range(50)]
        answers = await asyncio.gather(*flood, return_exceptions=True)
        refused = [answer for answer in answers if isinstance(answer, grpc.aio.AioRpcError)]
        assert len(refused) == 50 - limits.BURST_OF_ONE
        assert await refusal_of(report(source, digest, manifest, 0, user="flood")) == (
            "RESOURCE_EXHAUSTED",
            "OVERLOADED",
        )

        await report(source, digest, manifest, 0, user="honest")
        await until(lambda: source.shared.told(Withdrawn))


# -- how many are looked into


def test_one_user_may_report_a_few_pieces_and_later_one_at_a_time() -> None:
    few = ReportLimits(0.0)
    assert [few.take("a", 0.0) for _ in range(6)] == [True] * 4 + [False] * 2
    assert few.take("b", 0.0)
    assert not few.take("a", 14.0)
    assert few.take("a", 15.0)
    assert not few.take("a", 15.0)
    assert [few.take("a", 1e6) for _ in range(6)] == [True] * 4 + [False] * 2


def test_many_users_together_are_bounded_too() -> None:
    many = ReportLimits(0.0)
    taken = sum(many.take(f"user{number}", 0.0) for number in range(10_000))

    assert taken == limits.BURST
    assert sum(many.take(f"user{number}", 10.0) for number in range(10_000)) == 10
