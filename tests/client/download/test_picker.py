"""The policies: groups, runs of pieces, lengths of ranges."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p_client.content.piece_map import PieceMap
from p2p_client.download.picker.groups import groups_of
from p2p_client.download.picker.runs import Runs, missing_runs
from p2p_client.download.picker.spans import range_length, tail_length
from p2p_client.models import Digest, Endpoint, Holding, ManifestDigest, PeerId, Source

AT = (Endpoint("192.0.2.1", 5000),)


def holding(
    peer: str, manifest: str, *, partial: bool = False, endpoints: tuple[Endpoint, ...] = AT
) -> Holding:
    expires_at = datetime(2030, 1, 1, tzinfo=UTC)
    source = Source(PeerId(peer), peer, endpoints, b"", "", expires_at)
    return Holding(Digest("d" * 64), source, ManifestDigest(manifest), 10, partial)


def test_the_group_with_the_most_sources_comes_first() -> None:
    groups = groups_of([holding("a", "x"), holding("b", "y"), holding("c", "y")])

    assert [group.manifest_digest for group in groups] == ["y", "x"]


def test_what_was_verified_before_goes_on_with_its_own_manifest() -> None:
    groups = groups_of(
        [holding("a", "x"), holding("b", "y"), holding("c", "y")], preferred=ManifestDigest("x")
    )

    assert [group.manifest_digest for group in groups] == ["x", "y"]


def test_banned_partial_and_unreachable_ones_are_left_out() -> None:
    groups = groups_of(
        [holding("a", "x"), holding("b", "y", partial=True), holding("c", "z", endpoints=())],
        banned={ManifestDigest("x")},
    )

    assert groups == []


def test_a_peer_listed_twice_counts_once() -> None:
    (group,) = groups_of([holding("a", "x"), holding("a", "x")])

    assert len(group.holdings) == 1


@given(st.integers(0, 60), st.data())
def test_runs_are_the_set_of_their_pieces(piece_count: int, data: st.DataObject) -> None:
    pieces = st.integers(0, max(0, piece_count - 1))
    held = PieceMap(piece_count)
    for index in data.draw(st.sets(pieces, max_size=piece_count)):
        held.add(index)  # type: ignore[arg-type]  # PieceIndex is an int

    runs = Runs(missing_runs(held))
    taken: list[int] = []
    while runs:
        first, stop = runs.take(data.draw(st.integers(1, 7)))
        taken += range(first, stop)

    assert taken == list(held.missing())
    for index in data.draw(st.permutations(taken)):
        runs.give(index, index + 1)
    assert list(runs) == list(missing_runs(held))
    assert runs.total == len(taken)


def test_a_piece_cannot_be_free_twice() -> None:
    runs = Runs([(3, 6)])

    for first, stop in ((2, 4), (5, 7), (4, 5), (0, 9)):
        with pytest.raises(ValueError):
            runs.give(first, stop)


@given(st.integers(1, 70_000), st.integers(1, 16), st.integers(1, 50))
def test_a_range_is_never_empty_nor_longer_than_what_is_free(
    free: int, streams: int, sources: int
) -> None:
    assert 1 <= range_length(free, streams, sources) <= free


@pytest.mark.parametrize(
    ("free", "streams", "sources", "length"),
    [(1000, 4, 1, 1000), (1000, 4, 4, 64), (100, 4, 4, 16), (10, 4, 4, 4), (2, 4, 4, 2)],
)
def test_ranges_shrink_towards_the_end(free: int, streams: int, sources: int, length: int) -> None:
    assert range_length(free, streams, sources) == length


@given(st.integers(1, 10_000), st.floats(0, 1000), st.none() | st.floats(0, 1000))
def test_a_tail_is_never_empty_nor_all_too_long(
    remaining: int, victim: float, thief: float | None
) -> None:
    assert 1 <= tail_length(remaining, victim, thief) <= remaining


def test_a_tail_is_cut_so_that_both_end_together() -> None:
    assert tail_length(100, victim_rate=1, thief_rate=9) == 90
    assert tail_length(100, victim_rate=5, thief_rate=None) == 50
    assert tail_length(100, victim_rate=0, thief_rate=1) == 100
