"""A call that streams content, read by a thread of its own and handed to the event loop.

The thread is a few pieces of news ahead of whoever takes them; beyond that it stops reading,
the window fills up, and the source waits. Nothing here knows what the content is.
"""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence

from google.protobuf.message import DecodeError

from p2p.v1.peer_pb2 import FetchFileResponse, QueueStatus
from p2p_client.net.stream.blocks import BLOCK_BYTES, new_block
from p2p_client.net.stream.call_status import CallStatus
from p2p_client.net.stream.connection import Connection
from p2p_client.net.stream.messages import Filled, Message, Messages, StreamBroken
from p2p_client.net.stream.wire import TICK_SECONDS, ConnectionGone
from p2p_client.records import dataclass

_MOST_NEWS = 4


class Stalled(Exception):
    """Nothing that counts came for the idle timeout."""


class _KeptConnectionGone(Exception):
    """It was closed while nobody used it; a new one may well do."""


@dataclass(frozen=True, slots=True)
class Request:
    """What to call; `message` is encoded, `first_block_bytes` what the first block is to hold, so
    that the following ones begin at whole blocks of the content."""

    path: str
    metadata: Sequence[tuple[str, str]]
    message: bytes
    first_block_bytes: int
    most_ahead_bytes: int | None = None  # of what was read; None: the usual window


News = memoryview | QueueStatus | CallStatus
Failure = ConnectionGone | StreamBroken | Stalled


class Reader:
    """Reads one call; iterate over it once, in the event loop that made it.

    Args:
        connect: gives an open connection, a kept one unless told True; called in the thread.
        done_with: gets the connection back, in the thread.
        idle_timeout_seconds: how long nothing may come; empty chunks are nothing.
    Raises from iterating: ConnectionGone, StreamBroken, Stalled.
    """

    def __init__(
        self,
        request: Request,
        connect: Callable[[bool], Connection],
        done_with: Callable[[Connection], None],
        idle_timeout_seconds: float,
    ) -> None:
        self._request = request
        self._connect = connect
        self._done_with = done_with
        self._idle_timeout_seconds = idle_timeout_seconds
        self._loop = asyncio.get_running_loop()
        self._news: asyncio.Queue[News | Failure] = asyncio.Queue()
        self._ahead = threading.Semaphore(_MOST_NEWS)
        self._connection: Connection | None = None
        self._is_cancelled = self._has_news = False
        self._heard_at = 0.0
        self._next_block_bytes = request.first_block_bytes
        threading.Thread(target=self._run, name="p2p-stream", daemon=True).start()

    async def __aiter__(self) -> AsyncIterator[News]:
        while True:
            news = await self._news.get()
            self._ahead.release()
            if isinstance(news, Exception):
                raise news
            yield news
            if isinstance(news, CallStatus):
                return

    def cancel(self) -> None:
        """Ends the call; the thread ends by itself. Again, or after the end, does nothing."""
        self._is_cancelled = True
        self._ahead.release()
        if self._connection is not None:
            self._connection.wire.abort()

    # -- in the thread

    def _run(self) -> None:
        try:
            try:
                news = self._call(new=False)
            except _KeptConnectionGone:
                news = self._call(new=True)
        except (ConnectionGone, StreamBroken, Stalled) as error:
            self._give(error)
        except Exception as error:
            # Out of memory, say: whoever waits must hear of it, or would wait for ever.
            why = str(error) or type(error).__name__
            self._give(ConnectionGone(f"could not be read here: {why}"))
        else:
            self._give(news)

    def _call(self, *, new: bool) -> CallStatus:
        self._connection = connection = self._connect(new)
        try:
            status = self._read(connection)
        except (ConnectionGone, StreamBroken, Stalled) as error:
            connection.is_reusable = False
            if connection.was_kept and not (self._has_news or self._is_cancelled):
                raise _KeptConnectionGone from error
            raise
        finally:
            connection.is_reusable = connection.is_reusable and not self._is_cancelled
            self._connection = None
            self._done_with(connection)
        return status

    def _read(self, connection: Connection) -> CallStatus:
        if self._is_cancelled:
            raise ConnectionGone("was closed here")
        request, messages = self._request, Messages(self._block)
        call = connection.begin(request.path, request.metadata, request.message, messages)
        now = self._heard_at = given_at = time.monotonic()
        heard_bytes = 0
        while call.status is None:
            for event in call.read():
                given_at = time.monotonic()
                self._take(event, messages)
            now = time.monotonic()
            if messages.content_bytes > heard_bytes:
                heard_bytes, self._heard_at = messages.content_bytes, max(now, self._heard_at)
                # A slow source is heard of before it has filled a block.
                if now - given_at >= TICK_SECONDS and (some := messages.partly_filled()):
                    given_at = now
                    self._give(some)
            elif now - self._heard_at >= self._idle_timeout_seconds:
                raise Stalled(f"it sent nothing for {self._idle_timeout_seconds:g} s")
            if self._is_cancelled:
                raise ConnectionGone("was closed here")
        if (rest := messages.partly_filled()) is not None:
            self._give(rest)
        return call.status

    def _take(self, event: Filled | Message, messages: Messages) -> None:
        if isinstance(event, Filled):
            self._give(event.view)
            return
        try:
            response = FetchFileResponse.FromString(event.encoded)
        except DecodeError:
            raise StreamBroken("it sent a message that cannot be read") from None
        if response.HasField("queue"):
            self._heard_at = time.monotonic()
            self._give(response.queue)
        for filled in messages.append(response.data):
            self._give(filled.view)

    def _give(self, news: News | Failure) -> None:
        """Waits while enough is waiting to be taken; that time is not the source's."""
        self._has_news = True
        if self._is_cancelled:
            return  # nobody takes anything any more: there would be no end of the wait
        self._ahead.acquire()
        self._heard_at = max(self._heard_at, time.monotonic())
        if not self._is_cancelled:
            try:
                self._loop.call_soon_threadsafe(self._news.put_nowait, news)
            except RuntimeError:  # the loop is closed: nobody wants to know
                self._is_cancelled = True

    def _block(self) -> memoryview:
        """Small ones where little is to be ahead: none crosses the end of a whole one."""
        left = self._next_block_bytes
        size_bytes = min(left, self._request.most_ahead_bytes or left)
        self._next_block_bytes = left - size_bytes or BLOCK_BYTES
        return new_block(size_bytes)
