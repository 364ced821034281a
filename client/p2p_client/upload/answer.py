"""What all calls of a source have in common: refusals to statuses, nothing from inside told."""

import asyncio
import functools
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Protocol, TypeVar

import grpc.aio
from google.protobuf.duration_pb2 import Duration

from p2p.v1.peer_pb2 import (
    FetchFileResponse,
    FetchPackedResponse,
    QueueStatus,
    WatchPiecesResponse,
)
from p2p_client.content.manifest import PieceIndex
from p2p_client.library.errors import ContentError
from p2p_client.upload.admission.callers import Callers
from p2p_client.upload.refusals import Internal, SourceRefusal, StreamIdle
from p2p_client.upload.slots.queue import Place
from p2p_client.upload.status import refusal_of, to_status
from p2p_client.upload.stream import Send

Context = grpc.aio.ServicerContext[Any, Any]
S = TypeVar("S", bound="Answering")
Request = TypeVar("Request")
Answer = TypeVar("Answer")
Method = Callable[[S, Request, Context], Coroutine[Any, Any, Answer]]

_REFUSING_SECONDS = 2.0

log = logging.getLogger(__name__)


class Answering(Protocol):
    """Whose methods `answering` is for."""

    callers: Callers


class _ReaderGone(Exception):
    """The connection or the call is no more. gRPC raises an exception of its inner parts."""


def answering(method: Method[S, Request, Answer]) -> Method[S, Request, Answer]:
    """Makes every way for a method to fail a status with a reason."""

    @functools.wraps(method)
    async def answer(servicer: S, request: Request, context: Context) -> Answer:
        try:
            _count(servicer.callers, context)
            return await method(servicer, request, context)
        except SourceRefusal as error:
            refusal = error
        except ContentError as error:
            refusal = refusal_of(error)
        except _ReaderGone:
            raise asyncio.CancelledError("the reader is gone") from None
        except Exception:
            log.exception("unhandled error in %s", method.__name__)
            refusal = Internal()
        log.debug("%s refused: %s", method.__name__, refusal.reason)
        await _refuse(context, refusal)
        raise asyncio.CancelledError("the reader is gone")

    return answer


def _count(callers: Callers, context: Context) -> None:
    """Raises TooManyCalls."""
    host = context.peer().rpartition(":")[0]
    callers.came(host)
    # Called when gRPC is done with it: that may be long after the method.
    context.add_done_callback(lambda _: callers.left(host))  # type: ignore[arg-type]  # stubs


def write_to(context: Context) -> Send:
    """Sends encoded chunks; returns from each when flow control has taken it."""

    async def write(chunk: bytes, _: int) -> None:
        try:
            await context.write(chunk)
        except Exception as error:
            raise _ReaderGone from error

    return write


def tell_place(
    context: Context, response: type[FetchFileResponse] | type[FetchPackedResponse]
) -> Callable[[Place], Awaitable[None]]:
    """Sends one who waits for a slot its place in the queue."""

    async def tell(place: Place) -> None:
        status = QueueStatus(position=place.position, waiting_count=place.waiting_count)
        if place.expected_wait_seconds is not None:
            wait = Duration()
            wait.FromMilliseconds(round(place.expected_wait_seconds * 1e3))
            status.expected_wait.CopyFrom(wait)
        try:
            await context.write(response(queue=status))
        except Exception as error:
            raise _ReaderGone from error

    return tell


def tell_to(
    context: Context, patience_seconds: float
) -> Callable[[bytes, Sequence[PieceIndex]], Awaitable[None]]:
    """Sends which pieces are held. Raises StreamIdle when nobody takes it for the patience."""

    async def tell(bitmap: bytes, added: Sequence[PieceIndex]) -> None:
        message = WatchPiecesResponse(bitmap=bitmap, added_pieces=added)
        try:
            async with asyncio.timeout(patience_seconds):
                await context.write(message)
        except TimeoutError:
            raise StreamIdle(patience_seconds) from None
        except Exception as error:
            raise _ReaderGone from error

    return tell


async def _refuse(context: Context, refusal: SourceRefusal) -> None:
    """Raises AbortError when the status is on its way; returns when nobody will get it.

    Behind chunks that nobody takes even a status waits: that is not waited for.
    """
    try:
        async with asyncio.timeout(_REFUSING_SECONDS):
            await context.abort_with_status(to_status(refusal))
    except grpc.aio.AbortError:
        raise
    except Exception:
        log.debug("the refusal %s could not be delivered", refusal.reason)
