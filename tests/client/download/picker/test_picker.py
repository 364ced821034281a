"""The policies: groups, runs of pieces, lengths of ranges."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p_client.content.manifest import PieceIndex
from p2p_client.content.piece_map import PieceMap
from p2p_client.download.picker.groups import groups_of
from p2p_client.download.picker.pieces import (
    first_from,
    held_pieces,
    length_of_run,
    length_of_tail,
    missing_pieces,
    span,
    without,
)
from p2p_client.download.picker.rarity import Rarity
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


def test_banned_and_unreachable_ones_are_left_out() -> None:
    groups = groups_of(
        [holding("a", "x"), holding("c", "z", endpoints=())], banned={ManifestDigest("x")}
    )

    assert groups == []


def test_whole_sources_weigh_more_than_any_number_of_partial_ones() -> None:
    partial = [holding(peer, "x", partial=True) for peer in "abcd"]
    groups = groups_of([*partial, holding("e", "y", partial=True), holding("e", "y")])

    assert [group.manifest_digest for group in groups] == ["y", "x"]
    assert [held.partial for held in groups[0].holdings] == [False]


def test_who_has_lied_does_not_come_first_again_with_a_new_manifest() -> None:
    listed = [holding("liar", "x"), holding("liar2", "x"), holding("honest", "y")]
    assert [group.manifest_digest for group in groups_of(listed)] == ["x", "y"]

    groups = groups_of(listed, suspects={PeerId("liar"), PeerId("liar2")})

    assert [group.manifest_digest for group in groups] == ["y", "x"]


def test_whole_sources_come_first_in_a_group() -> None:
    (group,) = groups_of([holding("a", "x", partial=True), holding("b", "x")])

    assert [held.source.user for held in group.holdings] == ["b", "a"]


def test_a_peer_listed_twice_counts_once() -> None:
    (group,) = groups_of([holding("a", "x"), holding("a", "x")])

    assert len(group.holdings) == 1


SETS = st.sets(st.integers(0, 80))


def bits(pieces: set[int]) -> int:
    return sum(1 << piece for piece in pieces)


@given(SETS, st.integers(0, 90), st.integers(1, 90))
def test_runs_in_a_set_of_pieces_are_what_counting_says(
    pieces: set[int], at: int, most: int
) -> None:
    ahead = next((n for n in range(most) if at + n not in pieces), most)
    behind = next((n for n in range(min(most, at)) if at - 1 - n not in pieces), min(most, at))

    assert length_of_run(bits(pieces), at, most) == ahead
    assert length_of_tail(bits(pieces), at, most) == behind


@given(SETS.filter(bool), st.integers(0, 90))
def test_the_first_piece_is_looked_for_all_around(pieces: set[int], at: int) -> None:
    wanted = min((piece for piece in pieces if piece >= at), default=min(pieces))

    assert first_from(bits(pieces), at) == wanted


@given(SETS, SETS)
def test_sets_of_pieces_take_away_as_sets_do(pieces: set[int], others: set[int]) -> None:
    assert without(bits(pieces), bits(others)) == bits(pieces - others)


@given(st.integers(0, 60), st.data())
def test_what_is_missing_is_all_that_is_not_held(piece_count: int, data: st.DataObject) -> None:
    held = PieceMap(piece_count)
    for index in data.draw(st.sets(st.integers(0, max(0, piece_count - 1)), max_size=piece_count)):
        held.add(PieceIndex(index))

    assert missing_pieces(held) == bits(set(held.missing()))
    assert missing_pieces(held) | held_pieces(held) == span(0, piece_count)


@given(st.lists(SETS, max_size=9), st.data())
def test_rarity_is_the_number_of_holders(holders: list[set[int]], data: st.DataObject) -> None:
    rarity = Rarity()
    for pieces in holders:
        rarity.add(bits(pieces))
    gone = data.draw(st.sets(st.sampled_from(range(len(holders))))) if holders else set()
    for index in gone:
        rarity.remove(bits(holders[index]))
    left = [pieces for index, pieces in enumerate(holders) if index not in gone]
    counts = {piece: sum(piece in pieces for pieces in left) for piece in range(81)}
    asked = data.draw(SETS.filter(bool))
    fewest = min(counts[piece] for piece in asked)

    assert rarity.held == bits(set().union(*left))
    assert rarity.rarest(bits(asked)) == bits({piece for piece in asked if counts[piece] == fewest})


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
