"""A piece map is a set of indices; a plain set is its specification."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p_client.content.manifest import PieceIndex
from p2p_client.content.piece_map import PieceMap

counts = st.integers(min_value=0, max_value=70)


@given(
    counts.flatmap(
        lambda n: st.tuples(
            st.just(n),
            st.lists(st.tuples(st.booleans(), st.integers(0, n - 1))) if n else st.just([]),
        )
    )
)
def test_it_agrees_with_a_set(case: tuple[int, list[tuple[bool, int]]]) -> None:
    piece_count, steps = case
    pieces, model = PieceMap(piece_count), set[int]()

    for add, index in steps:
        if add:
            pieces.add(PieceIndex(index))
            model.add(index)
        else:
            pieces.discard(PieceIndex(index))
            model.discard(index)

    assert {index for index in range(piece_count) if pieces.has(PieceIndex(index))} == model
    assert list(pieces.missing()) == sorted(set(range(piece_count)) - model)
    assert pieces.held_count == len(model)
    assert pieces.is_complete == (len(model) == piece_count)
    again = PieceMap.from_bytes(piece_count, pieces.to_bytes())
    assert list(again.missing()) == list(pieces.missing())
    assert again.held_count == pieces.held_count


@pytest.mark.parametrize("bits", [b"", b"\x00\x00\x00", b"\x00\x04"])
def test_other_bytes_are_refused(bits: bytes) -> None:
    with pytest.raises(ValueError):
        PieceMap.from_bytes(10, bits)


@pytest.mark.parametrize("index", [-1, 10, 1 << 40])
def test_an_index_out_of_range_is_refused(index: int) -> None:
    with pytest.raises(IndexError):
        PieceMap(10).add(PieceIndex(index))
