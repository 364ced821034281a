"""Questions to the directory, as a program asks them: search, watch, and what a TARGET means.

How a call is made, and in which session, is the caller's.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing

from p2p_client.content.digest import parse_prefix
from p2p_client.download.tree.plan import Tree
from p2p_client.errors import NotFound, PeerError
from p2p_client.finding.answers import PAGE_SIZE, Answers, Call
from p2p_client.finding.resolve import Content, contents_of, resolve
from p2p_client.finding.trees import find_tree
from p2p_client.finding.watching import watch
from p2p_client.models import Happened, ListedPeer, ListedResource, Query, WatchEvent
from p2p_client.net.directory.watch import OpenWatch

MOST_MATCHES_TO_CHOOSE_FROM = 10_000

Pages = AsyncGenerator[Sequence[ListedResource], None]


class Finder:
    """What a peer can ask. Each method makes its calls with `call`."""

    def __init__(self, call: Call) -> None:
        self._ask = call
        self._answers = Answers(call)

    async def search(
        self, query: Query | str = "", *, limit: int = PAGE_SIZE
    ) -> list[ListedResource]:
        """The first `limit` resources that fit; a string is taken as words of the path.

        Raises: UsageError for a query that no directory takes (a word too long); DirectoryError.
        """
        wanted = Query(text=query) if isinstance(query, str) else query
        found: list[ListedResource] = []
        async for page in self._answers.pages(wanted, limit):
            found += page
        return found[:limit]

    async def peers(self, user: str = "") -> list[ListedPeer]:
        """Who is online and shares, by user; of one user where named. Raises: DirectoryError."""
        return await self._answers.peers(user)

    async def watch(
        self, query: Query | str = "", *, only_new: bool = False, with_peers: bool = True
    ) -> AsyncGenerator[WatchEvent, None]:
        """What becomes of the resources that fit, and which peers come and go, until left.

        First what is there now (unless `only_new`), then CAUGHT_UP, then each change as it happens.
        Goes on by itself after a lost connection or a restart of the directory; STARTED_ANEW says
        that something may be missing, and all that is there follows again. Leave it with `break`
        inside `contextlib.aclosing`, or cancel its task.

        Raises: UsageError for a query that no directory takes; DirectoryError where the watch
        cannot begin, or cannot go on for good.
        """
        wanted = Query(text=query) if isinstance(query, str) else query

        def open_at(token: str) -> Awaitable[OpenWatch]:
            return self._ask(
                lambda directory: directory.watch(
                    wanted, token, only_new=only_new, with_peers=with_peers
                )
            )

        async with aclosing(watch(open_at)) as events:
            async for event in events:
                yield event

    async def appears(self, target: str, *, owner: str | None = None) -> Content:
        """Waits until somebody online shares what a TARGET means; the one content it is then.

        Raises: UsageError; Ambiguous; DirectoryError as `watch` does.
        """
        last_part = target.rpartition("/")[2].rpartition(":")[2]
        prefix = parse_prefix(target)
        about = Query(digest_prefix=prefix) if prefix else Query(text=last_part)
        async with aclosing(self.watch(about, only_new=True, with_peers=False)) as events:
            async for event in events:  # the first says that the watch is on
                if event.kind is Happened.GONE:
                    continue
                try:
                    return await self.resolve(target, owner=owner)
                except NotFound:
                    continue
        raise AssertionError("a watch never ends by itself")

    async def resolve(self, target: str, *, owner: str | None = None) -> Content:
        """The one content that a TARGET means. Raises: UsageError, NotFound, Ambiguous."""
        return await resolve(target, owner, self._matches, self._is_online)

    async def find_tree(
        self,
        target: str,
        *,
        owner: str | None = None,
        through: Callable[[Pages], Pages] = lambda pages: pages,
    ) -> Tree | None:
        """The files that `OWNER:FOLDER/` or a glob means; None: it is the very name of one file.

        Args:
            through: what all pages of the list pass on their way.

        Raises: UsageError, NotFound, Ambiguous, LocalRefusal for absurdly many.
        """
        async with asyncio.TaskGroup() as asking:

            def pages(query: Query) -> Pages:
                return through(self._answers.all_pages(query, asking))

            try:
                return await find_tree(target, owner, pages, self._is_online)
            except PeerError as error:
                refusal = error
        raise refusal  # as it is, not in a group

    async def choices(self, name: str) -> list[Content]:
        """Every different content with this path or basename, for a person to choose from."""
        query = Query(path=name) if "/" in name else Query(name=name)
        return contents_of(await self._matches(query))

    async def _matches(self, query: Query) -> list[ListedResource]:
        return await self.search(query, limit=MOST_MATCHES_TO_CHOOSE_FROM)

    async def _is_online(self, user: str) -> bool:
        return bool(await self.peers(user))
