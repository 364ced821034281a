"""One source, asked for its manifest and for ranges of one content.

Bounds what it can do to us: time (silence is given up), bytes (never more than asked for), and
errors (all become SourceError). What the bytes are worth is not judged here.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import grpc

from p2p.v1 import peer_pb2
from p2p.v1.peer_pb2_grpc import PeerServiceStub
from p2p_client.content.manifest import Manifest, ManifestInvalid
from p2p_client.errors import SourceMisbehaved, SourceUnavailable
from p2p_client.models import Holding
from p2p_client.net.status import source_error
from p2p_client.pace import Pace

if TYPE_CHECKING:
    from collections.abc import Iterator

    from p2p.v1.peer_pb2_grpc import PeerServiceAsyncStub
    from p2p_client.net.channels import PeerChannels

    Call = grpc.aio.UnaryStreamCall[peer_pb2.FetchFileRequest, peer_pb2.FetchFileResponse]

STALLED = "STALLED"
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
    ) -> None:
        self.holding = holding
        self._channels = channels
        self._idle_timeout_seconds = idle_timeout_seconds
        self._pace = pace

    async def manifest(self) -> Manifest:
        """The manifest of the holding, seen to have the digest and the size that it lists.

        Raises SourceError.
        """
        holding = self.holding
        stub = await self._stub()
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

    async def fetch(self, offset: int, limit: int) -> AsyncGenerator[bytes, None]:
        """The bytes [offset, offset + limit), limit >= 1, in chunks of the source's choosing.

        Close it when done early: that cancels the stream.

        Raises:
            SourceMisbehaved: more bytes than asked for, or a clean end before all of them.
            SourceUnavailable: nothing came for the idle timeout, and whatever else went wrong.
        """
        stub = await self._stub()
        request = peer_pb2.FetchFileRequest(
            digest=self.holding.digest,
            read_offset=offset,
            read_limit=limit,
            max_chunk_bytes=self._pace.chunk_bytes,
        )
        call = stub.FetchFile(request, metadata=self._metadata())
        try:
            while limit:
                chunk = await self._next_chunk(call)
                if chunk is None:
                    raise SourceMisbehaved(
                        f"it ended {limit:,} bytes early", reason="TOO_LITTLE_DATA"
                    )
                limit -= len(chunk)
                if limit < 0:
                    raise _too_much()
                await self._pace.keep(len(chunk))
                yield chunk
            await _see_the_end(call)
        finally:
            call.cancel()

    async def _next_chunk(self, call: "Call") -> bytes | None:
        """The next chunk that holds something; None: a clean end. Empty ones buy it no time."""
        try:
            with _as_source_error():
                async with asyncio.timeout(self._idle_timeout_seconds):
                    while isinstance(message := await call.read(), peer_pb2.FetchFileResponse):
                        # The field is read once, for each access copies it.
                        if data := message.data:
                            return data
            return None
        except TimeoutError:
            seconds = f"{self._idle_timeout_seconds:g} s"
            raise SourceUnavailable(f"it sent nothing for {seconds}", reason=STALLED) from None
        except SourceUnavailable as error:
            await self._forget_connection(error)
            raise

    async def _stub(self) -> "PeerServiceAsyncStub":
        return PeerServiceStub(await self._channels.channel(self.holding.source))

    def _metadata(self) -> tuple[tuple[str, str], ...]:
        grant = self.holding.source.grant
        return (("authorization", f"Bearer {grant}"),) if grant else ()

    async def _forget_connection(self, error: SourceUnavailable) -> None:
        if error.reason == "UNREACHABLE":
            await self._channels.discard(self.holding.source)


async def _see_the_end(call: "Call") -> None:
    """Lets the source end the stream in its own way; raises SourceMisbehaved if it goes on."""
    with suppress(TimeoutError, grpc.aio.AioRpcError):
        async with asyncio.timeout(END_SECONDS):
            while isinstance(message := await call.read(), peer_pb2.FetchFileResponse):
                if message.data:
                    raise _too_much()


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
