"""Downloads from sources that have a part of the content: what they say, have, and do not have."""

import asyncio
import contextlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.downloads.downloads import MIB, Downloads, some_bytes
from tests.support.libraries import until
from tests.support.sources.fake import Behaviour, FakeDirectory, FakeSource, running

from p2p_client.content.manifest import Manifest, PieceIndex
from p2p_client.content.piece_map import PieceMap
from p2p_client.download.partial.exhibit import Exhibit, OpenReader
from p2p_client.errors import TransferFailed
from p2p_client.models import Digest, PeerId

CONTENT = some_bytes(12 * MIB + 77)
PIECES = 13


def partial(user: str, pieces: set[int], **wrong: object) -> FakeSource:
    return FakeSource(user, CONTENT, behaviour=Behaviour(held=set(pieces), **wrong))  # type: ignore[arg-type]


def pieces_from(source: FakeSource) -> set[int]:
    return {offset // MIB for offset, _ in source.served}


async def test_partial_sources_that_have_everything_between_them_are_enough(
    downloads: Downloads, tmp_path: Path
) -> None:
    parts = [partial("alice", set(range(7))), partial("bob", set(range(5, PIECES)))]
    async with running(*parts) as directory:
        finished = await downloads.fetch(directory, parts[0].digest, tmp_path / "target")

    assert (tmp_path / "target").read_bytes() == CONTENT
    assert set(finished.sources) == {"alice", "bob"}
    assert finished.fetched_bytes == len(CONTENT)
    assert downloads.failures == []


async def test_a_whole_source_gives_what_the_partial_one_does_not_have(
    downloads: Downloads, tmp_path: Path
) -> None:
    alice = FakeSource("alice", CONTENT, behaviour=Behaviour(bytes_per_second=2 * MIB))
    bob = partial("bob", set(range(10)))
    downloads.idle_timeout_seconds = 20  # a machine that stumbles does not make bob a stalled one
    async with running(alice, bob) as directory:
        await downloads.fetch(directory, alice.digest, tmp_path / "target")

    assert (tmp_path / "target").read_bytes() == CONTENT
    assert alice.served_bytes + bob.served_bytes == len(CONTENT)
    assert {10, 11, 12} <= pieces_from(alice)
    assert len(pieces_from(bob)) >= 5, downloads.events


async def test_pieces_are_followed_as_the_source_comes_to_have_them(
    downloads: Downloads, tmp_path: Path
) -> None:
    bob = partial("bob", {0})
    async with running(bob) as directory, asyncio.TaskGroup() as tasks:
        fetching = tasks.create_task(downloads.fetch(directory, bob.digest, tmp_path / "target"))
        for piece in range(1, PIECES):
            await until(lambda: len(pieces_from(bob)) == piece)  # noqa: B023
            bob.gain(piece)
        await fetching

    assert (tmp_path / "target").read_bytes() == CONTENT
    assert bob.watchers == 1


async def test_a_source_that_begins_anew_is_followed_anew(
    downloads: Downloads, tmp_path: Path
) -> None:
    trickle = Behaviour(bytes_per_second=64 << 10, chunk_bytes=8 << 10)
    alice = FakeSource("alice", CONTENT, behaviour=trickle)
    bob = partial("bob", {0, 1})
    async with running(alice, bob) as directory, asyncio.TaskGroup() as tasks:
        fetching = tasks.create_task(downloads.fetch(directory, bob.digest, tmp_path / "target"))
        await until(lambda: bob.served_bytes == 2 * MIB)
        bob.lose()
        await until(lambda: bob.watchers == 2)
        bob.gain(*range(PIECES))
        await fetching

    assert (tmp_path / "target").read_bytes() == CONTENT
    assert len(pieces_from(bob)) >= PIECES - 1
    assert downloads.failures == []


async def test_what_a_source_does_not_have_after_all_comes_from_another(
    downloads: Downloads, tmp_path: Path
) -> None:
    liar = partial("liar", {0, 1}, claimed=frozenset(range(PIECES)))
    async with running(liar, FakeSource("alice", CONTENT)) as directory:
        finished = await downloads.fetch(directory, liar.digest, tmp_path / "target")

    assert (tmp_path / "target").read_bytes() == CONTENT
    assert finished.fetched_bytes == len(CONTENT)


@pytest.mark.slow
async def test_a_source_that_has_nothing_of_what_it_says_is_a_failure_with_that_reason(
    downloads: Downloads, tmp_path: Path
) -> None:
    liar = partial("liar", set(), claimed=frozenset(range(PIECES)))
    downloads.patience_seconds = 0.1
    async with running(liar) as directory:
        with pytest.raises(TransferFailed, match="PIECES_MISSING"):
            await downloads.fetch(directory, liar.digest, tmp_path / "target")

    assert downloads.failures == [("liar", "PIECES_MISSING")]


@pytest.mark.slow
async def test_partial_sources_that_lack_a_piece_keep_the_rest_for_later(
    downloads: Downloads, tmp_path: Path
) -> None:
    bob = partial("bob", set(range(PIECES - 1)))
    downloads.patience_seconds = 0.1
    async with running(bob) as directory:
        with pytest.raises(TransferFailed, match="verified and kept"):
            await downloads.fetch(directory, bob.digest, tmp_path / "target")
        bob.gain(PIECES - 1)
        finished = await downloads.fetch(directory, bob.digest, tmp_path / "target")

    assert (tmp_path / "target").read_bytes() == CONTENT
    assert finished.resumed_bytes == (PIECES - 1) * MIB


async def test_a_partial_source_that_serves_a_bad_piece_is_asked_no_more(
    downloads: Downloads, tmp_path: Path
) -> None:
    liar = partial("liar", set(range(6)), corrupt_pieces=frozenset(range(6)))
    alice = FakeSource("alice", CONTENT, behaviour=Behaviour(bytes_per_second=40 * MIB))
    async with running(liar, alice) as directory:
        finished = await downloads.fetch(directory, liar.digest, tmp_path / "target")

    assert (tmp_path / "target").read_bytes() == CONTENT
    assert downloads.failures == [("liar", "BAD_PIECE")]
    assert finished.sources == ("alice",)
    assert liar.served_bytes <= 2 * MIB


@pytest.mark.parametrize("bitmap", [b"", b"\xff\xff\xff", b"\xff\xff"])
async def test_a_source_that_names_pieces_that_are_none_is_asked_no_more(
    downloads: Downloads, tmp_path: Path, bitmap: bytes
) -> None:
    liar = partial("liar", set(range(6)), bitmap=bitmap)
    alice = FakeSource("alice", CONTENT, behaviour=Behaviour(bytes_per_second=20 * MIB))
    async with running(liar, alice) as directory:
        await downloads.fetch(directory, liar.digest, tmp_path / "target")

    assert (tmp_path / "target").read_bytes() == CONTENT
    assert downloads.failures == [("liar", "BAD_PIECES")]
    assert liar.served == []


@pytest.mark.parametrize("babble", [(), (0,), tuple(range(PIECES)), (0,) * 50_000])
async def test_a_source_that_tells_its_pieces_without_end_is_asked_no_more(
    downloads: Downloads, tmp_path: Path, babble: tuple[int, ...]
) -> None:
    liar = partial("liar", {0}, babble=babble, stall_after_bytes=0)
    async with running(liar) as directory:
        downloads.patience_seconds = 0.1
        with pytest.raises(TransferFailed, match="over and over"):
            await downloads.fetch(directory, liar.digest, tmp_path / "target")

    assert ("liar", "TOO_MUCH") in downloads.failures
    assert liar.watchers == 1


async def test_a_source_that_cannot_tell_its_pieces_is_not_used(
    downloads: Downloads, tmp_path: Path
) -> None:
    old = partial("old", set(range(6)), refuse_watch="UNIMPLEMENTED")
    async with running(old, FakeSource("alice", CONTENT)) as directory:
        await downloads.fetch(directory, old.digest, tmp_path / "target")

    assert (tmp_path / "target").read_bytes() == CONTENT
    assert old.served == []
    assert downloads.failures == []


async def test_a_source_with_too_many_watchers_is_asked_as_if_it_had_all(
    downloads: Downloads, tmp_path: Path
) -> None:
    busy = partial("busy", set(range(PIECES)), refuse_watch="OVERLOADED")
    async with running(busy) as directory:
        await downloads.fetch(directory, busy.digest, tmp_path / "target")

    assert (tmp_path / "target").read_bytes() == CONTENT


async def test_a_partial_source_that_dies_costs_only_what_was_in_flight(
    downloads: Downloads, tmp_path: Path
) -> None:
    bob = partial("bob", set(range(PIECES)), die_after_bytes=3 * MIB)
    alice = FakeSource("alice", CONTENT, behaviour=Behaviour(bytes_per_second=30 * MIB))
    async with running(bob, alice) as directory:
        finished = await downloads.fetch(directory, bob.digest, tmp_path / "target")

    assert (tmp_path / "target").read_bytes() == CONTENT
    assert finished.fetched_bytes <= len(CONTENT) + 2 * MIB


async def test_a_whole_source_is_never_asked_for_its_pieces(
    downloads: Downloads, tmp_path: Path
) -> None:
    alice, bob = FakeSource("alice", CONTENT), partial("bob", {3})
    async with running(alice, bob) as directory:
        await downloads.fetch(directory, alice.digest, tmp_path / "target")

    assert alice.watchers == 0


# -- what we show of ourselves


class Shown:
    """An exhibit that remembers what it was told."""

    def __init__(self, held: PieceMap, reader: int) -> None:
        self.peer_id: PeerId | None = PeerId("me")
        self.held: list[PieceIndex] = []
        self.published: Path | None = None
        self.is_closed = self.is_doubtful = False
        self.reader = reader

    def hold(self, index: PieceIndex) -> None:
        assert not self.is_closed
        self.held.append(index)

    def close(self, *, is_doubtful: bool = False) -> None:
        self.is_closed = True
        self.is_doubtful = self.is_doubtful or is_doubtful

    async def publish(self, path: Path) -> None:
        self.published = path


def shown_to(shown: list[Shown], stack: contextlib.ExitStack) -> Callable[..., Exhibit]:
    def show(_: Digest, manifest: Manifest, held: PieceMap, open_reader: OpenReader) -> Exhibit:
        reader = open_reader()
        stack.callback(os.close, reader)
        shown.append(Shown(held, reader))
        return shown[-1]

    return show


async def fetched(
    downloads: Downloads, directory: FakeDirectory, digest: Digest, target: Path
) -> list[Shown]:
    """Fetches, or fails; what was shown of it meanwhile."""
    shown: list[Shown] = []
    with contextlib.ExitStack() as stack, contextlib.suppress(TransferFailed):
        await downloads.downloader(directory).fetch(
            digest,
            target,
            overwrite=False,
            on_event=downloads.events.append,
            open_exhibit=shown_to(shown, stack),
        )
    return shown


async def test_every_piece_is_shown_once_it_is_verified(
    downloads: Downloads, tmp_path: Path
) -> None:
    alice = FakeSource("alice", CONTENT)
    async with running(alice) as directory:
        (shown,) = await fetched(downloads, directory, alice.digest, tmp_path / "target")

    assert sorted(shown.held) == list(range(PIECES))
    assert shown.published == tmp_path / "target"


async def test_a_download_that_fails_is_shown_no_more(downloads: Downloads, tmp_path: Path) -> None:
    downloads.patience_seconds = 0.1
    alice = FakeSource("alice", CONTENT, behaviour=Behaviour(corrupt_pieces=frozenset({5})))
    async with running(alice) as directory:
        (shown,) = await fetched(downloads, directory, alice.digest, tmp_path / "target")

    assert shown.is_closed
    assert not shown.is_doubtful
    assert shown.published is None


async def test_pieces_of_a_content_that_turns_out_wrong_are_withdrawn(
    downloads: Downloads, tmp_path: Path
) -> None:
    truth = FakeSource("truth", CONTENT)
    liars = [
        FakeSource(user, some_bytes(12 * MIB, seed=9), asked_for=truth.digest)
        for user in ("liar-1", "liar-2")
    ]
    async with running(truth, *liars) as directory:
        *false, true = await fetched(downloads, directory, truth.digest, tmp_path / "target")

    assert (tmp_path / "target").read_bytes() == CONTENT
    assert len(false[0].held) == 12
    assert all(one.is_doubtful for one in false)
    assert not true.is_closed
    assert true.published == tmp_path / "target"
