"""One open watch: the stream of one Watch call, for as long as it holds."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import grpc.aio

from p2p.v1 import directory_pb2 as pb
from p2p_client.errors import DirectoryUnreachable
from p2p_client.models import WatchEvent
from p2p_client.net.directory import from_wire
from p2p_client.net.directory.link import Link
from p2p_client.net.status import directory_error

SILENT_SECONDS = 90.0  # the directory says something at least every 30


class OpenWatch:
    """
    Args:
        release: called once, with what broke the stream, or None.
    """

    def __init__(
        self,
        link: Link,
        call: Any,
        release: Callable[[BaseException | None], Awaitable[None]],
    ) -> None:
        self.resume_token = ""
        self._link = link
        self._call = call
        self._release = release
        self._first: Sequence[WatchEvent] | None = None
        self._is_closed = False

    async def begin(self, seconds: float) -> None:
        """Waits for the first response, so that a refusal is met here."""
        self._first = await self._read(seconds)

    async def next(self) -> Sequence[WatchEvent]:
        """The next events, maybe none; `resume_token` is then where to go on after them.

        Raises DirectoryUnreachable, DirectoryRefused: the watch has ended.
        """
        if self._first is not None:
            first, self._first = self._first, None
            return first
        return await self._read(SILENT_SECONDS)

    async def close(self, error: BaseException | None = None) -> None:
        if not self._is_closed:
            self._is_closed = True
            self._call.cancel()
            await self._release(error)

    async def _read(self, seconds: float) -> Sequence[WatchEvent]:
        address = str(self._link.address)
        try:
            async with asyncio.timeout(seconds):
                answer = await self._call.read()
        except TimeoutError:
            raise DirectoryUnreachable(f"the directory {address} fell silent") from None
        except grpc.aio.AioRpcError as error:
            raise directory_error(error, address) from None
        if not isinstance(answer, pb.WatchResponse):  # the end of the stream, without an error
            raise DirectoryUnreachable(f"the directory {address} ended the watch")
        token = from_wire.page_token(answer.resume_token)
        events = from_wire.watch_events(answer)
        self.resume_token = token
        return events
