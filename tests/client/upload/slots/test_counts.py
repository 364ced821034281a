"""How often what was sent: within bounds, whatever is asked for."""

from hypothesis import given
from hypothesis import strategies as st

from p2p_client.models import Digest
from p2p_client.upload.slots.counts import MOST_CELLS, SentCounts, Wish, wish_of

MIB = 1 << 20
DIGEST = Digest("d" * 64)


@given(st.integers(0, 1 << 45), st.data())
def test_counts_of_any_content_stay_within_bounds(size_bytes: int, data: st.DataObject) -> None:
    offset = data.draw(st.integers(0, size_bytes))
    end = data.draw(st.integers(offset, size_bytes))
    wish = wish_of(DIGEST, size_bytes, offset, end)
    counts = SentCounts()

    counts.add(wish)
    assert counts.rarity(wish) == (1 if wish.cells else 0)
    assert len(wish.cells) <= MOST_CELLS
    counts.take_back(wish)
    assert counts.rarity(wish) == 0


def test_counts_of_contents_asked_for_long_ago_are_forgotten() -> None:
    counts = SentCounts()
    for number in range(1_000):
        counts.add(Wish(Digest(f"{number:064}"), 0, 1, 1, MIB))

    assert counts.rarity(Wish(Digest(f"{0:064}"), 0, 1, 1, MIB)) == 0
    assert counts.rarity(Wish(Digest(f"{999:064}"), 0, 1, 1, MIB)) == 1
