"""Targets that mean many files: whose, which, and when nothing is guessed."""

from collections.abc import AsyncGenerator, Sequence
from datetime import UTC, datetime

import pytest
from blake3 import blake3

from p2p_client.download.tree.plan import Tree
from p2p_client.errors import Ambiguous, NotFound
from p2p_client.finding.targets import is_tree_target
from p2p_client.finding.trees import find_tree
from p2p_client.models import (
    Digest,
    ListedPeer,
    ListedResource,
    ManifestDigest,
    PeerId,
    Query,
    Resource,
)
from p2p_server.directory.query import fold, glob_matcher

WHEN = datetime(2026, 1, 1, tzinfo=UTC)


class Directory:
    """Answers queries for globs and owners as the real one does, two rows a page."""

    def __init__(self, *rows: tuple[str, str, str], peer: str = "") -> None:
        self.rows = [self._row(*row) for row in rows]
        self.queries: list[Query] = []

    def _row(self, owner: str, path: str, content: str) -> ListedResource:
        user, _, machine = owner.partition("@")
        digest = blake3(content.encode()).hexdigest()
        resource = Resource(path, len(content), Digest(digest), ManifestDigest(digest), WHEN)
        peer = ListedPeer(PeerId(f"peer-{user}-{machine}"), user, (), WHEN, 1, 1)
        return ListedResource(resource, peer)

    async def pages(self, query: Query) -> AsyncGenerator[Sequence[ListedResource], None]:
        self.queries.append(query)
        fits = glob_matcher(fold(query.glob)) if query.glob else lambda _: True
        found = [
            row
            for row in self.rows
            if fits(fold(row.resource.path)) and query.owner.lower() in ("", row.peer.user)
        ]
        for at in range(0, len(found), 2):
            yield found[at : at + 2]

    async def is_online(self, user: str) -> bool:
        return any(row.peer.user == user for row in self.rows)

    async def find(self, target: str, owner: str | None = None) -> Tree | None:
        return await find_tree(target, owner, self.pages, self.is_online)


def places(tree: Tree | None) -> list[str]:
    assert tree is not None
    return [tree.place(file) for file in tree.files]


ALICE = (
    ("alice", "photos/2024/a.jpg", "a"),
    ("alice", "photos/2024/trip/b.jpg", "b"),
    ("alice", "photos/2023/c.jpg", "c"),
    ("alice", "photos/2024.txt", "d"),
    ("alice", "PHOTOS/2024/e.jpg", "e"),
)


@pytest.mark.parametrize("target", ["a/", "alice:photos/", "*.csv", "alice:x?/y", "b3:ab*"])
def test_a_slash_at_the_end_or_a_wildcard_means_many(target: str) -> None:
    assert is_tree_target(target)


@pytest.mark.parametrize("target", ["a", "alice:a/b", "b3:0123456789abcdef", ""])
def test_all_else_means_one(target: str) -> None:
    assert not is_tree_target(target)


async def test_a_folder_keeps_its_paths_from_its_last_name_on() -> None:
    tree = await Directory(*ALICE).find("alice:photos/2024/")

    assert places(tree) == ["2024/a.jpg", "2024/trip/b.jpg"]
    assert tree is not None
    assert tree.top == "2024"


async def test_a_glob_keeps_whole_paths() -> None:
    tree = await Directory(*ALICE).find("alice:photos/*/?.jpg")

    assert places(tree) == ["photos/2024/a.jpg", "photos/2023/c.jpg", "PHOTOS/2024/e.jpg"]


async def test_a_folder_with_a_wildcard_means_all_below_such_folders() -> None:
    tree = await Directory(*ALICE).find("alice:photos/202?/")

    assert places(tree) == [
        "photos/2024/a.jpg",
        "photos/2024/trip/b.jpg",
        "photos/2023/c.jpg",
        "PHOTOS/2024/e.jpg",
    ]


async def test_a_folder_of_that_very_name_comes_before_wildcards() -> None:
    directory = Directory(("alice", "a*/x", "1"), ("alice", "ab/y", "2"))

    assert places(await directory.find("alice:a*/")) == ["a*/x"]


async def test_a_file_of_that_very_name_is_no_tree() -> None:
    directory = Directory(("alice", "lists/*.csv", "1"), ("alice", "lists/b.csv", "2"))

    assert await directory.find("alice:*.csv") is None


async def test_a_slash_alone_means_all_of_an_owner() -> None:
    assert len(places(await Directory(*ALICE).find("alice:/"))) == len(ALICE)


async def test_without_an_owner_it_must_be_clear_whose() -> None:
    directory = Directory(*ALICE, ("bob", "photos/2024/z.jpg", "z"))

    with pytest.raises(Ambiguous) as refused:
        await directory.find("photos/2024/")

    assert refused.value.candidates == ("alice:photos/2024/", "bob:photos/2024/")
    assert places(await directory.find("photos/2024/", owner="bob")) == ["2024/z.jpg"]


async def test_the_same_tree_of_two_owners_is_one_with_both_as_sources() -> None:
    directory = Directory(("bob", "t/a", "1"), ("alice", "t/a", "1"))

    tree = await directory.find("t/")

    assert tree is not None
    assert {peer.user for peer in tree.files[0].peers} == {"alice", "bob"}


async def test_two_machines_of_one_owner_make_one_tree() -> None:
    directory = Directory(("alice@1", "t/a", "1"), ("alice@2", "t/a", "1"), ("alice@2", "t/b", "2"))

    tree = await directory.find("alice:t/")

    assert places(tree) == ["t/a", "t/b"]
    assert tree is not None
    assert len(tree.files[0].peers) == 2


async def test_two_states_of_one_file_are_not_guessed_between() -> None:
    directory = Directory(("alice@1", "t/a", "1"), ("alice@2", "t/a", "2"))

    with pytest.raises(Ambiguous) as refused:
        await directory.find("alice:t/")

    assert len(refused.value.candidates) == 2


async def test_nothing_there_is_not_found() -> None:
    with pytest.raises(NotFound, match="alice shares no folder 'x/'"):
        await Directory(*ALICE).find("alice:x/")


async def test_a_colon_may_belong_to_the_path() -> None:
    directory = Directory(("alice", "a:b/c", "1"))

    assert places(await directory.find("a:b/")) == ["a:b/c"]


async def test_a_folder_whose_name_is_too_long_for_a_glob_is_found_by_what_is_above() -> None:
    deep = "/".join("x" * 100 for _ in range(8))
    directory = Directory(("alice", f"{deep}/f", "1"), ("alice", f"{deep}-other/f", "2"))

    assert places(await directory.find(f"alice:{deep}/")) == [f"{'x' * 100}/f"]
    assert len(directory.queries[0].glob.encode()) <= 512
