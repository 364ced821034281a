"""Sources that lie, stall, die and refuse: the right file, or an error that names them."""

import asyncio
import os
from pathlib import Path

import pytest
from tests.support.downloads.downloads import MIB, Downloads, some_bytes
from tests.support.libraries import until
from tests.support.sources.fake import Behaviour, FakeSource, digest_of, running

from p2p_client.config import Settings
from p2p_client.content.manifest import Manifest
from p2p_client.download.download import Downloader
from p2p_client.download.sources.sources import Sources
from p2p_client.download.tally import Tally
from p2p_client.errors import DirectoryUnreachable, TransferFailed
from p2p_client.models import Digest
from p2p_client.transfer.pace import Pace

pytestmark = pytest.mark.slow

CONTENT = some_bytes(12 * MIB + 777)
DIGEST, MANIFEST = digest_of(CONTENT)
PACE = 30 * MIB

BAD = {
    "stalls": (Behaviour(stall_after_bytes=3 * MIB), "STALLED"),
    "stalls at once": (Behaviour(stall_after_bytes=0), "STALLED"),
    "sends empty chunks": (Behaviour(empty_chunks_after_bytes=2 * MIB), "STALLED"),
    "corrupts a piece": (Behaviour(corrupt_pieces=frozenset({1})), "BAD_PIECE"),
    "corrupts all": (Behaviour(corrupt_pieces=frozenset(range(13))), "BAD_PIECE"),
    "ends early": (Behaviour(truncate_bytes=100), "TOO_LITTLE_DATA"),
    "sends a little too much": (Behaviour(surplus_bytes=100), "TOO_MUCH_DATA"),
    "sends for ever": (Behaviour(surplus_bytes=1 << 40), "TOO_MUCH_DATA"),
    "dies": (Behaviour(die_after_bytes=3 * MIB), "UNREACHABLE"),
    "changes": (Behaviour(fail_after_bytes=3 * MIB), "CONTENT_CHANGED"),
    "is busy": (Behaviour(refuse="TOO_MANY_STREAMS"), "TOO_MANY_STREAMS"),
    "knows no grant": (Behaviour(refuse="GRANT_EXPIRED"), "GRANT_EXPIRED"),
    "has it not": (Behaviour(refuse="CONTENT_UNKNOWN"), "CONTENT_UNKNOWN"),
    "cannot read": (Behaviour(refuse="CONTENT_UNREADABLE"), "CONTENT_UNREADABLE"),
    "breaks inside": (Behaviour(refuse="INTERNAL"), "INTERNAL"),
    "has no manifest": (
        Behaviour(refuse="CONTENT_UNKNOWN", refuse_manifest="CONTENT_UNKNOWN"),
        "CONTENT_UNKNOWN",
    ),
}


def copy_of(behaviour: Behaviour) -> Behaviour:
    return Behaviour(**vars(behaviour))


@pytest.mark.parametrize("how", BAD)
async def test_beside_a_good_source_a_bad_one_only_costs_time(
    downloads: Downloads, tmp_path: Path, how: str
) -> None:
    behaviour, _ = BAD[how]
    bad = FakeSource("bad", CONTENT, behaviour=copy_of(behaviour))
    good = FakeSource("good", CONTENT, behaviour=Behaviour(bytes_per_second=PACE))
    async with running(bad, good) as directory:
        finished = await downloads.fetch(directory, DIGEST, tmp_path / "target")

    assert (tmp_path / "target").read_bytes() == CONTENT
    assert os.listdir(tmp_path) == ["target"]
    assert "good" in finished.sources
    assert finished.seconds < 30


@pytest.mark.parametrize("how", [how for how in BAD if BAD[how][1] != "TOO_MUCH_DATA"])
async def test_alone_a_bad_source_is_named_with_its_reason(
    downloads: Downloads, tmp_path: Path, how: str
) -> None:
    behaviour, reason = BAD[how]
    bad = FakeSource("bad", CONTENT, behaviour=copy_of(behaviour))
    async with running(bad) as directory:
        with pytest.raises(TransferFailed) as caught:
            await downloads.fetch(directory, DIGEST, tmp_path / "target")

    assert ("bad", reason) in downloads.failures
    assert len(downloads.failures) == len(set(downloads.failures))
    assert "bad at 127.0.0.1" in str(caught.value)
    assert not (tmp_path / "target").exists()
    if bad.served_bytes <= MIB or how == "corrupts all":
        assert os.listdir(tmp_path) == []
    elif "ends early" not in how:
        assert "run the same command again" in str(caught.value)


@pytest.mark.parametrize("surplus_bytes", [100, 1 << 40])
async def test_a_source_that_sends_more_than_asked_for_is_cut_off(
    downloads: Downloads, tmp_path: Path, surplus_bytes: int
) -> None:
    bad = FakeSource("bad", CONTENT, behaviour=Behaviour(surplus_bytes=surplus_bytes))
    async with running(bad) as directory:
        finished = await downloads.fetch(directory, DIGEST, tmp_path / "target")

    assert finished.fetched_bytes <= len(CONTENT) + MIB
    assert (tmp_path / "target").read_bytes() == CONTENT


async def test_nine_evil_sources_and_a_good_one(downloads: Downloads, tmp_path: Path) -> None:
    evil = [
        FakeSource(f"evil-{number}", CONTENT, behaviour=copy_of(behaviour))
        for number, (behaviour, _) in enumerate(list(BAD.values())[:9])
    ]
    good = FakeSource("good", CONTENT, behaviour=Behaviour(bytes_per_second=PACE))
    async with running(*evil, good) as directory:
        finished = await downloads.fetch(directory, DIGEST, tmp_path / "target")

    assert (tmp_path / "target").read_bytes() == CONTENT
    assert finished.fetched_bytes < 1.5 * len(CONTENT) + 18 * MIB


async def test_nine_corrupting_sources_are_each_asked_once(
    downloads: Downloads, tmp_path: Path
) -> None:
    evil = [
        FakeSource(
            f"evil-{number}", CONTENT, behaviour=Behaviour(corrupt_pieces=frozenset(range(13)))
        )
        for number in range(9)
    ]
    good = FakeSource("good", CONTENT, behaviour=Behaviour(bytes_per_second=PACE))
    async with running(*evil, good) as directory:
        finished = await downloads.fetch(directory, DIGEST, tmp_path / "target")

    assert (tmp_path / "target").read_bytes() == CONTENT
    assert finished.sources == ("good",)
    assert all(len({offset for offset, _ in source.served if offset == 0}) <= 1 for source in evil)


def a_liar(user: str, seed: int = 7, size_bytes: int = len(CONTENT)) -> FakeSource:
    """Its pieces fit its manifest, but are not those of the content that it claims to have."""
    return FakeSource(user, some_bytes(size_bytes, seed), asked_for=DIGEST)


async def test_lying_manifests_with_lying_pieces_are_found_out_and_others_tried(
    downloads: Downloads, tmp_path: Path
) -> None:
    liars = [a_liar(f"liar-{number}") for number in range(3)]
    good = FakeSource("good", CONTENT)
    async with running(*liars, good) as directory:
        finished = await downloads.fetch(directory, DIGEST, tmp_path / "target")

    assert (tmp_path / "target").read_bytes() == CONTENT
    assert finished.sources == ("good",)
    assert {("liar-0", "WRONG_CONTENT"), ("liar-1", "WRONG_CONTENT")} <= set(downloads.failures)
    assert all(user != "good" for user, _ in downloads.failures)
    assert os.listdir(tmp_path) == ["target"]


async def test_a_liar_that_lists_ever_new_manifests_is_not_always_tried_first(
    downloads: Downloads, tmp_path: Path
) -> None:
    good = FakeSource("good", CONTENT)
    lies = [
        lie
        for lie in (a_liar("liar", seed) for seed in range(20))
        if lie.manifest.digest() < good.manifest.digest()
    ]
    async with running(*lies[:2], good) as directory:
        directory.sources = [lies[0], good]
        tally = Tally(downloads.events.append)
        pace = Pace(None)
        sources = Sources(DIGEST, directory.locate, downloads.channels, 1.0, pace, tally)
        await sources.locate()
        first, _ = sources.groups()
        sources.ban_group(first)
        directory.sources = [lies[1], good]
        await sources.locate()

    assert [source.user for group in sources.groups() for source in group.sources] == [
        "good",
        "liar",
    ]


async def test_only_liars_leave_nothing_behind(downloads: Downloads, tmp_path: Path) -> None:
    liars = [a_liar("liar-0", 7), a_liar("liar-1", 8, 5 * MIB), a_liar("liar-2", 9, 20 * MIB)]
    async with running(*liars) as directory:
        with pytest.raises(TransferFailed, match="not this content"):
            await downloads.fetch(directory, DIGEST, tmp_path / "target")

    assert os.listdir(tmp_path) == []
    assert all(source.served_bytes == len(source.content) for source in liars)


async def test_what_a_lie_had_right_is_not_fetched_again(
    downloads: Downloads, tmp_path: Path
) -> None:
    half_true = CONTENT[: 6 * MIB] + some_bytes(len(CONTENT) - 6 * MIB, 5)
    liars = [FakeSource(f"liar-{n}", half_true, asked_for=DIGEST) for n in range(2)]
    good = FakeSource("good", CONTENT)
    async with running(*liars, good) as directory:
        await downloads.fetch(directory, DIGEST, tmp_path / "target")

    assert (tmp_path / "target").read_bytes() == CONTENT
    assert good.served_bytes == len(CONTENT) - 6 * MIB


@pytest.mark.parametrize("size_bytes", [1 << 50, (1 << 63) - 1])
async def test_an_absurd_size_does_not_fill_the_disk_or_stop_the_download(
    downloads: Downloads, tmp_path: Path, size_bytes: int
) -> None:
    piece_size = MIB
    while size_bytes > piece_size << 16:
        piece_size *= 2
    manifest = Manifest(size_bytes, piece_size, bytes(32) * -(-size_bytes // piece_size))
    liars = [
        FakeSource(f"liar-{number}", b"", DIGEST, Behaviour(manifest=manifest))
        for number in range(2)
    ]
    good = FakeSource("good", CONTENT)
    async with running(*liars, good) as directory:
        await downloads.fetch(directory, DIGEST, tmp_path / "target")

    assert (tmp_path / "target").read_bytes() == CONTENT
    assert os.listdir(tmp_path) == ["target"]


async def test_a_manifest_other_than_the_listed_one_bans_its_source(
    downloads: Downloads, tmp_path: Path
) -> None:
    bad = FakeSource("bad", CONTENT)
    good = FakeSource("good", CONTENT, behaviour=Behaviour(bytes_per_second=PACE))
    async with running(bad, good) as directory:
        listed = [bad.holding(), good.holding()]
        bad.behaviour.manifest = digest_of(some_bytes(len(CONTENT), seed=3))[1]

        async def locate(digest: Digest) -> list[object]:
            return list(listed)

        directory.locate = locate  # type: ignore[method-assign, assignment]  # lists the truth
        await downloads.fetch(directory, DIGEST, tmp_path / "target")

    assert ("bad", "BAD_MANIFEST") in downloads.failures
    assert bad.served_bytes == 0


async def test_a_size_listed_wrong_bans_only_who_listed_it(
    downloads: Downloads, tmp_path: Path
) -> None:
    bad = FakeSource("bad", CONTENT, behaviour=Behaviour(listed_size_bytes=5))
    good = FakeSource("good", CONTENT)
    async with running(bad, good) as directory:
        finished = await downloads.fetch(directory, DIGEST, tmp_path / "target")

    assert ("bad", "BAD_MANIFEST") in downloads.failures
    assert finished.sources == ("good",)


async def test_a_manifest_that_does_not_come_is_asked_of_the_next(
    downloads: Downloads, tmp_path: Path
) -> None:
    downloads.idle_timeout_seconds = 120
    slow = FakeSource("slow", CONTENT, behaviour=Behaviour(stall_manifest=True))
    good = FakeSource("good", CONTENT)
    async with running(slow, good) as directory:
        finished = await downloads.fetch(directory, DIGEST, tmp_path / "target")

    assert finished.seconds < 60


async def test_a_source_that_stalls_is_not_waited_for_when_another_is_idle(
    downloads: Downloads, tmp_path: Path
) -> None:
    downloads.idle_timeout_seconds = 120
    bad = FakeSource("bad", CONTENT, behaviour=Behaviour(stall_after_bytes=2 * MIB))
    good = FakeSource("good", CONTENT)
    async with running(bad, good) as directory:
        finished = await downloads.fetch(directory, DIGEST, tmp_path / "target")

    assert finished.seconds < 60
    assert finished.fetched_bytes <= len(CONTENT) + 2 * MIB


async def test_a_source_that_comes_back_under_another_address_goes_on(
    downloads: Downloads, tmp_path: Path
) -> None:
    downloads.patience_seconds = 10
    alice = FakeSource("alice", CONTENT, behaviour=Behaviour(die_after_bytes=5 * MIB))
    async with running(alice) as directory:

        async def come_back() -> None:
            await alice.dead.wait()
            await asyncio.sleep(0.3)
            await alice.start()

        async with asyncio.TaskGroup() as group:
            group.create_task(come_back())
            finished = await downloads.fetch(directory, DIGEST, tmp_path / "target")

    assert (tmp_path / "target").read_bytes() == CONTENT
    # Of what was under way when it died a few pieces may be lost, no more.
    assert finished.fetched_bytes <= len(CONTENT) + 2 * MIB
    assert alice.served_bytes <= len(CONTENT) + 18 * MIB


async def test_a_directory_that_goes_away_does_not_disturb_a_transfer(
    downloads: Downloads, tmp_path: Path
) -> None:
    behaviour = Behaviour(bytes_per_second=8 * MIB, fail_after_bytes=None)
    alice = FakeSource("alice", CONTENT, behaviour=behaviour)
    stale = FakeSource("stale", CONTENT, behaviour=Behaviour(refuse="GRANT_EXPIRED"))
    async with running(alice, stale) as directory, asyncio.TaskGroup() as group:
        fetching = group.create_task(downloads.fetch(directory, DIGEST, tmp_path / "target"))
        await until(lambda: directory.calls)
        directory.is_away = True
        await fetching

    assert directory.calls > 1
    assert (tmp_path / "target").read_bytes() == CONTENT


async def test_a_directory_that_is_away_from_the_start_is_the_error(
    downloads: Downloads, tmp_path: Path
) -> None:
    async with running() as directory:
        directory.is_away = True
        with pytest.raises(DirectoryUnreachable):
            await downloads.fetch(directory, DIGEST, tmp_path / "target")

    assert os.listdir(tmp_path) == []


async def test_a_refreshed_grant_is_used(downloads: Downloads, tmp_path: Path) -> None:
    downloads.patience_seconds = 5
    alice = FakeSource("alice", CONTENT, behaviour=Behaviour(refuse="GRANT_EXPIRED"))
    async with running(alice) as directory, asyncio.TaskGroup() as group:
        fetching = group.create_task(downloads.fetch(directory, DIGEST, tmp_path / "target"))
        await until(lambda: alice.grants)
        alice.behaviour.refuse = None
        await fetching

    assert alice.grants[0] == "Bearer grant-1"
    assert alice.grants[-1] != "Bearer grant-1"


async def test_a_lone_source_that_trickles_is_given_up_and_told_as_what_it_is(
    downloads: Downloads, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("p2p_client.download.sources.waiting.TRICKLE_SECONDS", 0.5)
    slow = Behaviour(bytes_per_second=1_000, chunk_bytes=100)
    downloads.idle_timeout_seconds = 30.0  # it is never silent
    async with running(FakeSource("slow", CONTENT, behaviour=slow)) as directory:
        with pytest.raises(TransferFailed, match=r"slow at .*: it sent only [\d,]+ bytes in"):
            await downloads.fetch(directory, DIGEST, tmp_path / "target")

    assert ("slow", "STALLED") in downloads.failures


async def test_one_that_we_hold_back_ourselves_is_not_given_up_for_it(
    downloads: Downloads, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("p2p_client.download.sources.waiting.TRICKLE_SECONDS", 0.1)
    content = some_bytes(3_000)
    digest, _ = digest_of(content)
    settings = Settings(limit_down_bytes_per_second=16_384, idle_timeout_seconds=30.0)
    slow = Behaviour(bytes_per_second=3_000, chunk_bytes=100)
    async with running(FakeSource("slow", content, behaviour=slow)) as directory:
        downloader = Downloader(directory.locate, downloads.channels, settings)
        await downloader.fetch(
            digest, tmp_path / "target", overwrite=False, on_event=downloads.events.append
        )

    assert not downloads.failures
