"""The index of watched criteria finds what holding each of them against a resource finds."""

from hypothesis import example, given
from hypothesis import strategies as st

from p2p_server.directory.models import Criteria, Digest, Resource
from p2p_server.directory.query import fold
from p2p_server.directory.watching.matching import Topics, fulfils

PARTS = st.sampled_from(["a", "ab", "abc", "holiday", "Sun set", "ß", "日本", "x.mp4", "zebra"])
PATHS = st.lists(PARTS, min_size=1, max_size=4).map("/".join)
OWNERS = st.sampled_from(["alice", "bob"])
DIGESTS = st.sampled_from(["a" * 64, "ab" * 32, "f" * 64]).map(Digest)
TYPES = st.sampled_from(["", "image/png", "image/gif", "video/mp4"])

RESOURCES = st.builds(
    Resource,
    path=PATHS,
    size_bytes=st.sampled_from([0, 5, 10]),
    digest=DIGESTS,
    manifest_digest=DIGESTS,
    modified_at=st.just(0.0),
    media_type=TYPES,
)
CRITERIA = st.builds(
    Criteria,
    words=st.lists(PARTS.map(fold).map(lambda w: w.split()[0]), max_size=2).map(tuple),
    glob=st.sampled_from(["", "*.mp4", "**/abc/*", "*", "?b", "holiday/**", "*ß*"]).map(fold),
    path=st.just("") | PATHS,
    name=st.just("") | PARTS,
    owner=st.sampled_from(["", "alice", "bob"]),
    digest_prefix=st.sampled_from(["", "a" * 8, "abababab", "a" * 64]),
    min_size_bytes=st.sampled_from([None, 0, 6]),
    max_size_bytes=st.sampled_from([None, 5]),
    media_type=st.sampled_from(["", "image/", "image/png"]),
)


@given(st.lists(CRITERIA, max_size=12), st.sets(st.integers(0, 11)), RESOURCES, OWNERS)
@example([Criteria(glob="**")], set(), Resource("a", 0, Digest("a" * 64), Digest("a" * 64), 0), "a")
def test_the_index_agrees_with_looking_at_all(
    watched: list[Criteria], dropped: set[int], resource: Resource, owner: str
) -> None:
    topics = Topics()
    for criteria in watched:
        topics.add(criteria)
    for at in dropped & set(range(len(watched))):
        topics.discard(watched[at])
    left = {c for c in watched if c not in {watched[at] for at in dropped if at < len(watched)}}
    path = fold(resource.path)

    found = topics.fulfilled(resource, path, owner)

    assert found == {c for c in left if fulfils(c, resource, path, owner)}
    assert topics.concern(owner) == any(c.owner in {"", owner} for c in left)
    assert len(topics) == len(left)


def test_a_resource_is_held_against_few_of_many_watched() -> None:
    topics = Topics()
    for number in range(2_000):
        topics.add(Criteria(words=(f"word{number:04}",)))
    resource = Resource("a/word0007.txt", 1, Digest("a" * 64), Digest("b" * 64), 0.0)

    candidates = list(topics._candidates(resource, resource.path, "alice"))

    assert Criteria(words=("word0007",)) in candidates
    assert len(candidates) < 100


def test_slow_patterns_are_watched_in_bounded_time() -> None:
    topics = Topics()
    topics.add(Criteria(glob="*a" * 15 + "b"))
    resource = Resource("a" * 1_000, 1, Digest("a" * 64), Digest("b" * 64), 0.0)

    for _ in range(100):  # what backtracks would not come back from the first
        assert not topics.fulfilled(resource, resource.path, "alice")
