"""One source, asked for its manifest and for ranges of one content.

Bounds what it can do to us: time (silence is given up), bytes (never more than asked for), and
errors (all become SourceError). What the bytes are worth is not judged here.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, contextmanager, suppress
from typing import TYPE_CHECKING

import grpc

from p2p.v1 import peer_pb2
from p2p.v1.peer_pb2_grpc import PeerServiceStub
from p2p_client.content.manifest import Manifest, ManifestInvalid, PieceIndex
from p2p_client.download.partial.watching import watch_pieces
from p2p_client.download.picker.pieces import Pieces
from p2p_client.download.sources.waiting import QueuePlace, Trickle, Wait
from p2p_client.errors import SourceMisbehaved, SourceStale, SourceUnavailable
from p2p_client.models import Holding
from p2p_client.net.status import source_error
from p2p_client.net.stream.blocks import BLOCK_BYTES
from p2p_client.net.stream.messages import MessageTooLarge, StreamBroken
from p2p_client.net.stream.reader import Reader, Request, Stalled
from p2p_client.net.stream.wire import ConnectionGone
from p2p_client.transfer.pace import Pace

if TYPE_CHECKING:
    from collections.abc import Iterator

    from p2p_client.download.sources.reports import Reports
    from p2p_client.net.channels import PeerChannels

_FETCH_FILE = "/p2p.v1.PeerService/FetchFile"
STALLED = "STALLED"
QUEUED = "QUEUED"
AHEAD_SECONDS = 1.0
LEAST_AHEAD_BYTES = 32 << 10
"""How much a source may send before we have taken it, where we take it at a limited rate."""
END_SECONDS = 1.0
"""How long a source may take to end a stream of which we have all; it does not matter why."""


class Fetcher:
    """Asks the source of one holding. Any number of calls may run at once."""

    def __init__(
        self,
        holding: Holding,
        channels: "PeerChannels",
        idle_timeout_seconds: float,
        pace: Pace,
        reports: "Reports | None" = None,
    ) -> None:
        self.holding = holding
        self._channels = channels
        self._idle_timeout_seconds = idle_timeout_seconds
        self._pace = pace
        self._reports = reports

    async def manifest(self) -> Manifest:
        """The manifest of the holding, seen to have the digest and the size that it lists.

        Raises SourceError.
        """
        holding = self.holding
        channel = await self._channels.channel(holding.source)  # not closed while we hold it
        stub = PeerServiceStub(channel)
        request = peer_pb2.GetManifestRequest(digest=holding.digest)
        with _as_source_error():
            response = await stub.GetManifest(
                request, metadata=self._metadata(), timeout=self._idle_timeout_seconds
            )
        sent = response.manifest
        try:
            manifest = Manifest(sent.size_bytes, sent.piece_size_bytes, sent.piece_digests)
        except ManifestInvalid as error:
            raise SourceMisbehaved(
                f"its manifest is none: {error}", reason="BAD_MANIFEST"
            ) from None
        if manifest.digest() != holding.manifest_digest:
            raise SourceMisbehaved("it sent another manifest", reason="BAD_MANIFEST")
        if manifest.size_bytes != holding.size_bytes:
            raise SourceMisbehaved("its manifest is of another size", reason="BAD_MANIFEST")
        return manifest

    async def fetch(
        self, offset: int, limit: int, on_queued: Callable[[QueuePlace], None] = lambda _: None
    ) -> AsyncGenerator[memoryview, None]:
        """The bytes [offset, offset + limit), limit >= 1, in parts that do not cross a multiple of
        1 MiB of the content, whatever the source's chunks are.

        Close it when done early: that cancels the stream.

        Args:
            on_queued: told whenever the source says that the stream waits for an upload slot.
        Raises:
            SourceMisbehaved: more bytes than asked for, or a clean end before all of them.
            SourceUnavailable: nothing came for the idle timeout, hardly anything for a minute,
                and whatever else went wrong.
        """
        reader = await self._channels.stream(
            self.holding.source, self._request(offset, limit), self._idle_timeout_seconds
        )
        try:
            # At a limited rate it is we who let the source wait.
            trickle = Trickle() if self._pace.bytes_per_second is None else None
            async with aclosing(_parts(reader, on_queued, trickle)) as parts:
                async for part in parts:
                    wanted, is_too_much = part[:limit], len(part) > limit
                    limit -= len(wanted)
                    while wanted:
                        slice_bytes = self._pace.slice_bytes
                        some, wanted = wanted[:slice_bytes], wanted[slice_bytes:]
                        await self._pace.keep(len(some))
                        yield some
                    if is_too_much:
                        raise _too_much()
                    if not limit:
                        await _see_the_end(parts)
                        return
            raise SourceMisbehaved(f"it ended {limit:,} bytes early", reason="TOO_LITTLE_DATA")
        except SourceUnavailable as error:
            await self._forget_connection(error)
            raise
        finally:
            reader.cancel()

    def _request(self, offset: int, limit: int) -> Request:
        request = peer_pb2.FetchFileRequest(
            digest=self.holding.digest,
            read_offset=offset,
            read_limit=limit,
            max_chunk_bytes=self._pace.chunk_bytes,
            wait_in_queue=True,
        )
        first_bytes = min(limit, BLOCK_BYTES - offset % BLOCK_BYTES)
        ahead_bytes = None
        if self._pace.bytes_per_second is not None:
            # Much more than that and the source takes us for dead, before we read on.
            ahead_bytes = max(LEAST_AHEAD_BYTES, int(self._pace.bytes_per_second * AHEAD_SECONDS))
        encoded = request.SerializeToString()
        return Request(_FETCH_FILE, self._metadata(), encoded, first_bytes, ahead_bytes)

    def report(self, piece: PieceIndex) -> None:
        """Has the source told, beside everything else, that it sent a bad piece."""
        if self._reports is not None:
            self._reports.add(self.holding, piece)

    def watch(self, piece_count: int) -> AsyncGenerator[Pieces, None]:
        """Which pieces a partial source has; see watch_pieces."""
        return watch_pieces(self.holding, self._channels, piece_count, self._idle_timeout_seconds)

    def _metadata(self) -> tuple[tuple[str, str], ...]:
        grant = self.holding.source.grant
        return (("authorization", f"Bearer {grant}"),) if grant else ()

    async def _forget_connection(self, error: SourceUnavailable) -> None:
        if error.reason == "UNREACHABLE":
            await self._channels.discard(self.holding.source)


async def _parts(
    reader: Reader, on_queued: Callable[[QueuePlace], None], trickle: Trickle | None
) -> AsyncGenerator[memoryview, None]:
    """The content that comes, until a clean end. Raises SourceError."""
    wait = Wait()
    try:
        asked_at = time.monotonic()
        async for news in reader:
            if isinstance(news, memoryview):
                wait.served(len(news))
                waited_seconds = time.monotonic() - asked_at
                wrong = trickle.came(len(news), waited_seconds) if trickle else None
                if wrong is not None:
                    raise SourceUnavailable(wrong, reason=STALLED)
                yield news
            elif isinstance(news, peer_pb2.QueueStatus):
                if wait.is_too_long(time.monotonic()):
                    raise SourceUnavailable("it only ever lets us wait", reason=QUEUED)
                on_queued(place_of(news))
                if trickle:
                    trickle.restart()
            elif news.code:
                raise source_error(news)
            asked_at = time.monotonic()
    except Stalled as error:
        raise SourceUnavailable(str(error), reason=STALLED) from None
    except MessageTooLarge as error:
        raise SourceMisbehaved(f"it sent too much at once: {error}", reason="TOO_LARGE") from None
    except StreamBroken as error:
        raise SourceMisbehaved(str(error), reason="STREAM_BROKEN") from None
    except ConnectionGone as error:
        raise SourceUnavailable(f"it {error}", reason="UNREACHABLE") from None


async def _see_the_end(parts: AsyncIterator[memoryview]) -> None:
    """Lets the source end the stream in its own way; raises SourceMisbehaved if it goes on."""
    with suppress(TimeoutError, SourceUnavailable, SourceStale):
        async with asyncio.timeout(END_SECONDS):
            async for _ in parts:
                raise _too_much()


def place_of(status: peer_pb2.QueueStatus) -> QueuePlace:
    expected = status.expected_wait
    seconds = expected.seconds + expected.nanos / 1e9 if status.HasField("expected_wait") else None
    return QueuePlace.within_bounds(status.position, status.waiting_count, seconds)


def _too_much() -> SourceMisbehaved:
    return SourceMisbehaved("it sent more than was asked for", reason="TOO_MUCH_DATA")


@contextmanager
def _as_source_error() -> "Iterator[None]":
    try:
        yield
    except grpc.aio.AioRpcError as error:
        raise source_error(error) from None
    except (grpc.aio.UsageError, asyncio.InvalidStateError) as error:
        raise SourceUnavailable("the connection was closed", reason="UNREACHABLE") from error
