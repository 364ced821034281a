"""Pages of answers: the next one asked for in time, and none for ever."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

import pytest

from p2p_client.errors import DirectoryRefused, NotFound, UsageError
from p2p_client.finding.answers import MOST_EMPTY_PAGES, PAGE_SIZE, Answers
from p2p_client.finding.finder import Finder
from p2p_client.models import (
    Digest,
    ListedPeer,
    ListedResource,
    ManifestDigest,
    PeerId,
    Query,
    Resource,
)

WHEN = datetime(2026, 1, 1, tzinfo=UTC)
ANNA = ListedPeer(PeerId("peer-of-anna-0123"), "anna", (), WHEN, 1, 1)
T = TypeVar("T")


def row(path: str) -> ListedResource:
    digest = "ab" * 32
    return ListedResource(Resource(path, 1, Digest(digest), ManifestDigest(digest), WHEN), ANNA)


class Directory:
    """Answers queries with these pages; `asked` and `decoded` tell when which was."""

    def __init__(self, *pages: list[ListedResource], refusal: Exception | None = None) -> None:
        self.pages = pages
        self.refusal = refusal
        self.told: list[str] = []

    async def call(self, work: Callable[[Any], Awaitable[T]]) -> T:
        return await work(self)

    async def query(
        self, query: Query, page_size: int, token: str
    ) -> tuple[Callable[[], list[ListedResource]], str]:
        assert page_size == PAGE_SIZE
        number = int(token or 0)
        self.told.append(f"asked for {number}")
        if self.refusal is not None and number == len(self.pages):
            raise self.refusal

        def decode() -> list[ListedResource]:
            self.told.append(f"decoded {number}")
            return self.pages[number % len(self.pages)]

        more = number + 1 < len(self.pages) or self.refusal is not None or not self.pages[-1]
        return decode, str(number + 1) if more else ""

    async def list_peers(self, user: str, token: str) -> tuple[list[ListedPeer], str]:
        self.told.append("listed peers")
        return [], "more"


async def test_the_next_page_is_asked_for_before_the_last_one_is_used() -> None:
    directory = Directory([row("tree/a")], [row("tree/b")], [row("tree/c")])
    seen: list[list[str]] = []
    async with asyncio.TaskGroup() as tasks:
        async for page in Answers(directory.call).all_pages(Query(), tasks):
            seen.append([found.resource.path for found in page])
            await asyncio.sleep(0)
            if len(seen) < 3:
                assert f"asked for {len(seen)}" in directory.told

    assert seen == [["tree/a"], ["tree/b"], ["tree/c"]]
    assert len(directory.told) == 6


async def test_a_tree_is_found_over_all_its_pages() -> None:
    directory = Directory([row("tree/a")], [row("tree/b")], [row("tree/c")])

    tree = await Finder(directory.call).find_tree("anna:tree/")

    assert tree is not None
    assert [file.path for file in tree.files] == ["tree/a", "tree/b", "tree/c"]


@pytest.mark.parametrize(
    ("refusal", "told"),
    [
        (DirectoryRefused("full", code="UNAVAILABLE", reason="BUSY"), DirectoryRefused),
        (DirectoryRefused("no", code="INVALID_ARGUMENT", reason="FIELD_INVALID"), UsageError),
    ],
)
async def test_a_refusal_of_a_later_page_comes_as_it_is(
    refusal: Exception, told: type[Exception]
) -> None:
    directory = Directory([row("tree/a")], refusal=refusal)

    with pytest.raises(told):
        await Finder(directory.call).find_tree("anna:tree/")


async def test_a_directory_that_pages_for_ever_is_left() -> None:
    directory = Directory([])

    with pytest.raises(NotFound):
        await Finder(directory.call).find_tree("tree/")

    assert sum(told.startswith("decoded") for told in directory.told) == MOST_EMPTY_PAGES


async def test_one_that_lists_peers_for_ever_too() -> None:
    directory = Directory([])

    assert await Answers(directory.call).peers() == []
    assert len(directory.told) == MOST_EMPTY_PAGES
