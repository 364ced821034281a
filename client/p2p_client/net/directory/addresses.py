"""Where the directory is asked: the addresses that it has, and the connection in use.

Tries each address in turn and stays with the one that answers. What is asked is `client.py`'s.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

from p2p_client.config import Address
from p2p_client.errors import DirectoryRefused, DirectoryUnreachable
from p2p_client.net.directory.link import Link, open_link
from p2p_client.net.trust import KnownDirectories

T = TypeVar("T")


class Addresses:
    """
    Args:
        addresses: all of the same directory; at least one.
        known: where its key is on record, or will be.
        pinned: fingerprint that it must have, before anything on record.
        insecure: whether its network is without TLS.
        seconds: how long opening a connection may take.
    """

    def __init__(
        self,
        addresses: Sequence[Address],
        *,
        known: KnownDirectories,
        pinned: str | None,
        insecure: bool,
        seconds: float,
    ) -> None:
        self._addresses = tuple(addresses)
        self._known = known
        self._pinned = pinned
        self._insecure = insecure
        self._seconds = seconds
        self._preferred = 0
        self._link: Link | None = None
        self._opening = asyncio.Lock()

    def __str__(self) -> str:
        return ", ".join(map(str, self._addresses))

    async def close(self) -> None:
        """Ends the connection and the calls over it."""
        link, self._link = self._link, None
        if link is not None:
            await link.channel.close()

    async def anywhere(self, work: Callable[[Link], Awaitable[T]]) -> T:
        """Does it at the first address that answers, beginning with the one that did last.

        Only for work that may be repeated: an address may have got a call whose answer was lost.
        All of the directory's calls are such. An instance that is cut off from its database is
        passed over like one that does not answer: others may not be.
        """
        failures: list[DirectoryUnreachable] = []
        unwell: DirectoryRefused | None = None
        for _ in self._addresses:
            try:
                async with self._borrowed() as link:
                    return await work(link)
            except DirectoryUnreachable as error:
                failures.append(error)
            except DirectoryRefused as error:
                if error.reason != "STORE_UNAVAILABLE":
                    raise
                unwell = error
            self._preferred = (self._preferred + 1) % len(self._addresses)
        if unwell is not None:
            raise unwell
        reasons = {error.reason for error in failures}
        raise DirectoryUnreachable(
            "; ".join(dict.fromkeys(map(str, failures))),
            reason=reasons.pop() if len(reasons) == 1 else None,
        )

    @asynccontextmanager
    async def _borrowed(self) -> AsyncIterator[Link]:
        """The link in use, or a new one. One that failed is dropped, and closed when nobody uses it
        any more: the next call looks at the certificate afresh and trusts no dead connection."""
        async with self._opening:
            link = self._link
            if link is None:
                link = self._link = await open_link(
                    self._addresses[self._preferred],
                    self._addresses,
                    self._known,
                    pinned=self._pinned,
                    insecure=self._insecure,
                    seconds=self._seconds,
                )
        link.borrowers += 1
        failure: BaseException | None = None
        try:
            yield link
        except (DirectoryUnreachable, DirectoryRefused) as error:
            failure = error
            raise
        finally:
            await self.give_back(link, failure)

    async def give_back(self, link: Link, failure: BaseException | None) -> None:
        if isinstance(failure, DirectoryUnreachable) or (
            isinstance(failure, DirectoryRefused)
            and (failure.reason == "STORE_UNAVAILABLE" and len(self._addresses) > 1)
        ):
            self._drop(link)
        link.borrowers -= 1
        if link.lost and not link.borrowers:
            await link.channel.close()

    def _drop(self, link: Link) -> None:
        link.lost = True
        if self._link is link:
            self._link = None
