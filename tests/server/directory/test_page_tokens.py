"""A page token opens for the request it was given out for, and for nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p_server.directory.errors import PageTokenInvalid
from p2p_server.directory.models import Criteria, Digest, Order, PeerId, SortKey
from p2p_server.directory.page_tokens import PageTokens

TOKENS = PageTokens(b"k" * 32)
ANYTHING = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
ROWS = st.integers(0, 2**63 - 1)
KEYS = st.builds(SortKey, st.one_of(ANYTHING, ROWS), ANYTHING, ROWS)
CRITERIA = st.builds(
    Criteria,
    words=st.lists(ANYTHING, max_size=2).map(tuple),
    glob=ANYTHING,
    owner=ANYTHING,
    min_size_bytes=st.none() | ROWS,
    order=st.sampled_from(Order),
)


@given(CRITERIA, KEYS)
def test_a_query_token_gives_back_its_key(criteria: Criteria, key: SortKey) -> None:
    assert TOKENS.query_after(criteria, TOKENS.for_query(criteria, key)) == key


@given(ANYTHING, ANYTHING)
def test_a_peers_token_gives_back_its_key(user: str, peer_id: str) -> None:
    key = (user, PeerId(peer_id))

    assert TOKENS.peers_after(user, TOKENS.for_peers(user, key)) == key


@given(st.lists(ANYTHING.map(Digest), max_size=5), st.integers(0, 999), ANYTHING.map(PeerId))
def test_a_locate_token_gives_back_its_key(
    digests: list[Digest], place: int, peer_id: PeerId
) -> None:
    token = TOKENS.for_locate(digests, (place, peer_id))

    assert TOKENS.locate_after(digests, token) == (place, peer_id)


def test_the_empty_token_is_the_first_page() -> None:
    assert TOKENS.query_after(Criteria(), "") is None
    assert TOKENS.peers_after("", "") is None
    assert TOKENS.locate_after([], "") is None


@given(CRITERIA, CRITERIA, KEYS)
def test_a_token_is_refused_for_other_criteria(
    asked: Criteria, other: Criteria, key: SortKey
) -> None:
    token = TOKENS.for_query(asked, key)

    if other != asked:
        with pytest.raises(PageTokenInvalid):
            TOKENS.query_after(other, token)


@given(KEYS, st.data())
def test_a_token_with_one_character_changed_is_refused(key: SortKey, data: st.DataObject) -> None:
    token = TOKENS.for_query(Criteria(), key)
    at = data.draw(st.integers(0, len(token) - 1))
    character = data.draw(st.sampled_from("ABCxyz019-_=+/ é\0").filter(lambda c: c != token[at]))

    with pytest.raises(PageTokenInvalid):
        TOKENS.query_after(Criteria(), token[:at] + character + token[at + 1 :])


@given(ANYTHING.filter(bool))
def test_a_made_up_token_is_refused(token: str) -> None:
    with pytest.raises(PageTokenInvalid):
        TOKENS.query_after(Criteria(), token)


@pytest.mark.parametrize("token", ["A" * 100_000, "====", "AAAA", "\ud800", "a" * 5])
def test_odd_tokens_are_refused(token: str) -> None:
    with pytest.raises(PageTokenInvalid):
        TOKENS.query_after(Criteria(), token)


def test_a_token_of_another_call_or_directory_is_refused() -> None:
    key = ("ann", PeerId("p" * 16))

    with pytest.raises(PageTokenInvalid):
        TOKENS.query_after(Criteria(), TOKENS.for_peers("ann", key))
    with pytest.raises(PageTokenInvalid):
        PageTokens(b"x" * 32).peers_after("ann", TOKENS.for_peers("ann", key))
    with pytest.raises(PageTokenInvalid):
        TOKENS.locate_after(
            [Digest("a"), Digest("b")], TOKENS.for_locate([Digest("a")], (0, key[1]))
        )
