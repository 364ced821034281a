"""What the directory answers to questions, page after page. How a call is made is the caller's."""

import asyncio
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Protocol, TypeVar

from p2p_client.errors import DirectoryRefused, PeerError, UsageError
from p2p_client.models import ListedPeer, ListedResource, Query
from p2p_client.net.directory import DirectoryClient

PAGE_SIZE = 1_000
MOST_EMPTY_PAGES = 16  # a directory that lies might page for ever
MOST_PEERS = 1_000_000

T = TypeVar("T")
Page = tuple[Callable[[], list[ListedResource]], str]
"""What decodes it, and the token of the next one."""


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
            decode, token = await self._page(query, min(PAGE_SIZE, left), token)
            page = decode()
            yield page
            left -= len(page)
            empty = 0 if page else empty + 1
            if not token:
                break

    async def all_pages(
        self, query: Query, tasks: asyncio.TaskGroup
    ) -> AsyncGenerator[list[ListedResource], None]:
        """All pages of what a query finds, each looked at while the next one is on its way.

        Close it when done early. Raises as `pages` does.
        """
        empty, token = 0, ""
        asking = tasks.create_task(self._page_or_error(query, token))
        try:
            while True:
                answer = await asking
                if isinstance(answer, PeerError):
                    raise answer
                decode, token = answer
                if token:
                    asking = tasks.create_task(self._page_or_error(query, token))
                page = await asyncio.to_thread(decode)
                yield page
                empty = 0 if page else empty + 1
                if not token or empty >= MOST_EMPTY_PAGES:
                    return
        finally:
            asking.cancel()

    async def _page_or_error(self, query: Query, token: str) -> Page | PeerError:
        try:
            return await self._page(query, PAGE_SIZE, token)
        except PeerError as error:
            return error  # told by whoever waits for the page, not by the group of tasks

    async def _page(self, query: Query, size: int, token: str) -> Page:
        try:
            return await self._call(lambda directory: directory.query(query, size, token))
        except DirectoryRefused as error:
            if error.reason == "FIELD_INVALID":  # what was asked, not who asks
                raise UsageError(str(error)) from error
            raise

    async def peers(self, user: str = "") -> list[ListedPeer]:
        """Who is online and shares, by user; of one user where named. Raises: DirectoryError."""
        online: list[ListedPeer] = []
        token, empty = "", 0
        while empty < MOST_EMPTY_PAGES and len(online) < MOST_PEERS:
            page, token = await self._call(partial(_list_peers, user, token))
            online += page
            empty = 0 if page else empty + 1
            if not token:
                break
        return online


async def _list_peers(
    user: str, token: str, directory: DirectoryClient
) -> tuple[list[ListedPeer], str]:
    return await directory.list_peers(user, token)
