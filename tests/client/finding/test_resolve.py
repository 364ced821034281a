"""TARGET means one content, or the error says which ones it could mean."""

from datetime import UTC, datetime

import pytest

from p2p_client.errors import Ambiguous, NotFound, UsageError
from p2p_client.finding.resolve import Content, resolve
from p2p_client.models import (
    Digest,
    ListedPeer,
    ListedResource,
    ManifestDigest,
    PeerId,
    Query,
    Resource,
)

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def listed(user: str, path: str, content: str) -> ListedResource:
    digest = content * 64
    return ListedResource(
        Resource(path, 5, Digest(digest), ManifestDigest(digest), NOON),
        ListedPeer(PeerId(f"peer-of-{user}"), user, (), NOON, 1, 5),
    )


class Catalog:
    """The directory's answers, from a list; it takes the criteria as Query documents them."""

    def __init__(self, *resources: ListedResource) -> None:
        self.resources = resources

    async def search(self, query: Query) -> list[ListedResource]:
        return [
            item
            for item in self.resources
            if query.path in ("", item.resource.path)
            and query.name in ("", item.resource.name)
            and query.owner.lower() in ("", item.peer.user.lower())
            and item.resource.digest.startswith(query.digest_prefix)
        ]

    async def is_online(self, user: str) -> bool:
        return any(item.peer.user.lower() == user.lower() for item in self.resources)

    async def resolve(self, target: str, owner: str | None = None) -> Content:
        return await resolve(target, owner, self.search, self.is_online)


TWO_TESTS = Catalog(
    listed("alice", "docs/test.txt", "a"),
    listed("bob", "test.txt", "b"),
    listed("carol", "x/test.txt", "b"),
    listed("bob", "only.txt", "c"),
    listed("bob", "odd:name", "d"),
    listed("dave", "alice:only.txt", "e"),
)


@pytest.mark.parametrize(
    ("target", "owner", "content"),
    [
        ("b3:" + "a" * 64, None, "a"),
        ("B3:" + "C" * 8, None, "c"),
        ("alice:docs/test.txt", None, "a"),
        ("ALICE:test.txt", None, "a"),
        ("docs/test.txt", None, "a"),
        ("test.txt", None, "b"),  # a full path comes before a basename
        ("only.txt", None, "c"),
        ("test.txt", "alice", "a"),
        ("test.txt", "carol", "b"),
        ("odd:name", None, "d"),  # nobody is called odd
    ],
)
async def test_a_target_means_one_content(target: str, owner: str | None, content: str) -> None:
    assert (await TWO_TESTS.resolve(target, owner)).digest == content * 64


async def test_owners_of_the_same_content_are_one_choice() -> None:
    content = await TWO_TESTS.resolve("b3:" + "b" * 10)

    assert [item.peer.user for item in content.owners] == ["bob", "carol"]


async def test_different_contents_are_named_ready_to_paste() -> None:
    catalog = Catalog(listed("alice", "docs/t.txt", "a"), listed("bob", "u/t.txt", "b"))

    with pytest.raises(Ambiguous) as refused:
        await catalog.resolve("t.txt")

    assert refused.value.candidates == ("alice:docs/t.txt", "bob:u/t.txt")
    for target, content in zip(refused.value.candidates, "ab", strict=True):
        assert (await catalog.resolve(target)).digest == content * 64


async def test_one_users_two_machines_with_different_files_are_told_apart_by_digest() -> None:
    catalog = Catalog(listed("alice", "t.txt", "a"), listed("alice", "t.txt", "b"))

    with pytest.raises(Ambiguous) as refused:
        await catalog.resolve("t.txt")

    assert refused.value.candidates == ("b3:" + "a" * 64, "b3:" + "b" * 64)


async def test_a_user_called_b3_is_an_owner_like_others() -> None:
    catalog = Catalog(listed("b3", "u/t.txt", "a"), listed("b3", "deadbeef", "b"))

    assert (await catalog.resolve("b3:u/t.txt")).digest == "a" * 64


async def test_a_path_that_looks_like_a_digest_is_offered_by_its_digest() -> None:
    catalog = Catalog(listed("b3", "deadbeef", "a"), listed("bob", "deadbeef", "b"))

    with pytest.raises(Ambiguous) as refused:
        await catalog.resolve("deadbeef")

    assert refused.value.candidates == ("b3:" + "a" * 64, "bob:deadbeef")


@pytest.mark.parametrize("target", ["b3:", "b3:1234567", "b3:xyz", "b3:" + "a" * 65, ""])
async def test_what_is_no_digest_is_a_usage_error(target: str) -> None:
    with pytest.raises(UsageError):
        await TWO_TESTS.resolve(target)


@pytest.mark.parametrize(
    ("target", "owner", "says"),
    [
        ("nope.txt", None, "nobody online"),
        ("only.txt", "alice", "but bob does"),
        ("nope.txt", "alice", "alice shares no"),
        ("alice:only.txt", None, "nobody online"),  # alice exists, so the rest is her path
        ("b3:" + "f" * 64, None, "nobody online"),
    ],
)
async def test_what_nobody_shares_is_not_found(target: str, owner: str | None, says: str) -> None:
    with pytest.raises(NotFound, match=says):
        await TWO_TESTS.resolve(target, owner)
