"""One source, asked for many small contents at once: FetchPacked, and FetchFile where it has none.

Bounds what the source can do to us, as `fetcher.py` does: time, bytes, errors. Whether the bytes
are those of the digest is not judged here, but their number is.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING

import grpc

from p2p.v1 import peer_pb2, types_pb2
from p2p.v1.peer_pb2_grpc import PeerServiceStub
from p2p_client.download.sources.fetcher import QUEUED, STALLED, Fetcher, place_of
from p2p_client.download.sources.waiting import LEAST_BYTES, QueuePlace, Wait
from p2p_client.errors import SourceMisbehaved, SourceStale, SourceUnavailable
from p2p_client.models import Digest, Holding, ManifestDigest, Source
from p2p_client.net.status import source_error
from p2p_client.records import dataclass
from p2p_client.transfer.pace import Pace

if TYPE_CHECKING:
    from p2p_client.net.channels import PeerChannels

    Call = grpc.aio.UnaryStreamCall[peer_pb2.FetchPackedRequest, peer_pb2.FetchPackedResponse]

ONE_BY_ONE_AT_ONCE = 8
UNIMPLEMENTED = grpc.StatusCode.UNIMPLEMENTED.name


@dataclass(frozen=True, slots=True)
class Asked:
    """A content to ask for: its digest, and how many bytes it must have."""

    digest: bytes
    size_bytes: int


Came = Sequence[bytes | str]
"""The next contents in the order in which they were asked for; a reason where one is not there."""


class PackedSource:
    """Asks one source; one call at a time."""

    def __init__(
        self, source: Source, channels: "PeerChannels", idle_timeout_seconds: float, pace: Pace
    ) -> None:
        self.source = source
        self._channels = channels
        self._idle_timeout_seconds = idle_timeout_seconds
        self._pace = pace
        self._packs = True

    async def fetch(
        self, wanted: Sequence[Asked], on_queued: Callable[[QueuePlace], None] = lambda _: None
    ) -> AsyncGenerator[Came, None]:
        """All that is wanted, in order, some at a time. Close it when done early.

        Args:
            on_queued: told whenever the source says that the call waits for an upload slot.

        Raises:
            SourceMisbehaved: it does not keep to what was asked for.
            SourceUnavailable: nothing came for the idle timeout, and whatever else went wrong.
            SourceStale: the grant is out of date.
        """
        done = 0
        if self._packs:
            try:
                async with aclosing(self._packed(wanted, on_queued)) as messages:
                    async for came in messages:
                        done += len(came)
                        yield came
                return
            except SourceUnavailable as error:
                if error.reason != UNIMPLEMENTED or done:
                    raise
                self._packs = False
        async with aclosing(self._one_by_one(wanted)) as groups:
            async for came in groups:
                yield came

    # -- packed

    async def _packed(
        self, wanted: Sequence[Asked], on_queued: Callable[[QueuePlace], None]
    ) -> AsyncGenerator[Came, None]:
        channel = await self._channels.channel(self.source)  # not closed while we hold it
        stub = PeerServiceStub(channel)
        request = peer_pb2.FetchPackedRequest(
            digests=[asked.digest for asked in wanted], wait_in_queue=True
        )
        grant = self.source.grant
        metadata = (("authorization", f"Bearer {grant}"),) if grant else ()
        call: Call = stub.FetchPacked(request, metadata=metadata)
        done, wait = 0, Wait()
        try:
            while done < len(wanted):
                message = await self._next(call)
                if message is None:
                    raise SourceMisbehaved(
                        f"it ended {len(wanted) - done:,} contents early", reason="TOO_LITTLE_DATA"
                    )
                if message.HasField("queue"):
                    if wait.is_too_long(time.monotonic()):
                        raise SourceUnavailable("it only ever lets us wait", reason=QUEUED)
                    on_queued(place_of(message.queue))
                    continue
                wait.served(LEAST_BYTES)  # contents come whole: each is progress
                came = [
                    _content(content, at, wanted)
                    for at, content in enumerate(message.contents, done)
                ]
                done += len(came)
                await self._pace.keep(sum(map(len, came)))
                yield came
        finally:
            call.cancel()

    async def _next(self, call: "Call") -> peer_pb2.FetchPackedResponse | None:
        """The next message that says something; None: a clean end."""
        try:
            async with asyncio.timeout(self._idle_timeout_seconds):
                while isinstance(message := await call.read(), peer_pb2.FetchPackedResponse):
                    if message.contents or message.HasField("queue"):
                        return message
            return None
        except TimeoutError:
            seconds = f"{self._idle_timeout_seconds:g} s"
            raise SourceUnavailable(f"it sent nothing for {seconds}", reason=STALLED) from None
        except grpc.aio.AioRpcError as error:
            found = source_error(error)
            if isinstance(found, SourceUnavailable) and found.reason == "UNREACHABLE":
                await self._channels.discard(self.source)
            raise found from None
        except (grpc.aio.UsageError, asyncio.InvalidStateError) as error:
            raise SourceUnavailable("the connection was closed", reason="UNREACHABLE") from error

    # -- one by one

    async def _one_by_one(self, wanted: Sequence[Asked]) -> AsyncGenerator[Came, None]:
        for at in range(0, len(wanted), ONE_BY_ONE_AT_ONCE):
            some = wanted[at : at + ONE_BY_ONE_AT_ONCE]
            outcomes = await asyncio.gather(*map(self._one, some), return_exceptions=True)
            came: list[bytes | str] = []
            for outcome in outcomes:
                if isinstance(outcome, SourceStale) and outcome.reason.startswith("CONTENT_"):
                    came.append(outcome.reason)
                elif isinstance(outcome, BaseException):
                    if came:
                        yield came
                    raise outcome
                else:
                    came.append(outcome)
            yield came

    async def _one(self, asked: Asked) -> bytes:
        if not asked.size_bytes:
            return b""
        digest = Digest(asked.digest.hex())
        # No piece is asked for by its own digest: the manifest does not matter.
        holding = Holding(digest, self.source, ManifestDigest(""), asked.size_bytes)
        fetcher = Fetcher(holding, self._channels, self._idle_timeout_seconds, self._pace)
        async with aclosing(fetcher.fetch(0, asked.size_bytes)) as chunks:
            return b"".join([chunk async for chunk in chunks])


def _content(content: peer_pb2.PackedContent, at: int, wanted: Sequence[Asked]) -> bytes | str:
    if at >= len(wanted) or content.index != at:
        raise SourceMisbehaved("it sent other contents than were asked for", reason="WRONG_ORDER")
    if content.reason:
        return _reason(content.reason)
    data = content.data
    if len(data) != wanted[at].size_bytes:
        return "WRONG_SIZE"
    return data


def _reason(code: types_pb2.ErrorReason.ValueType) -> str:
    """One that is not of our contract counts as none that we know."""
    known = code in types_pb2.ErrorReason.values()
    return types_pb2.ErrorReason.Name(code).removeprefix("ERROR_REASON_") if known else "UNKNOWN"
