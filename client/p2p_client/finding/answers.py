"""What the directory answers to questions, page after page. How a call is made is the caller's."""

import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Protocol, TypeVar

from p2p_client.errors import DirectoryRefused, UsageError
from p2p_client.models import ListedPeer, ListedResource, Query
from p2p_client.net.directory import DirectoryClient

PAGE_SIZE = 1_000
MOST_EMPTY_PAGES = 16  # a directory that lies might page for ever

T = TypeVar("T")


class Call(Protocol):
    """Makes one call in our session."""

    async def __call__(self, work: Callable[[DirectoryClient], Awaitable[T]], /) -> T: ...


class Answers:
    def __init__(self, call: Call) -> None:
        self._call = call

    async def pages(
        self, query: Query, limit: int = sys.maxsize
    ) -> AsyncIterator[list[ListedResource]]:
        """Pages of what a query finds, in order, until `limit` resources came or there are no more.

        Raises: UsageError for a query that no directory takes (a word too long); DirectoryError.
        """
        token, left, empty = "", limit, 0
        while left > 0 and empty < MOST_EMPTY_PAGES:
            page, token = await self._page(query, min(PAGE_SIZE, left), token)
            yield page
            left -= len(page)
            empty = 0 if page else empty + 1
            if not token:
                break

    async def _page(self, query: Query, size: int, token: str) -> tuple[list[ListedResource], str]:
        try:
            return await self._call(lambda directory: directory.query(query, size, token))
        except DirectoryRefused as error:
            if error.reason == "FIELD_INVALID":  # what was asked, not who asks
                raise UsageError(str(error)) from error
            raise

    async def peers(self, user: str = "") -> list[ListedPeer]:
        """Who is online and shares, by user; of one user where named. Raises: DirectoryError."""
        online: list[ListedPeer] = []
        token = ""
        while True:
            page, token = await self._call(partial(_list_peers, user, token))
            online += page
            if not token:
                return online


async def _list_peers(
    user: str, token: str, directory: DirectoryClient
) -> tuple[list[ListedPeer], str]:
    return await directory.list_peers(user, token)
