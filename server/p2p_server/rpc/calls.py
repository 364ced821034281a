"""What all calls have in common: limits, errors to statuses, how long they may take, what is noted.

Stands around each method of DirectoryService; health and reflection are not touched.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeVar, cast

import grpc
import grpc.aio
from google.protobuf.message import DecodeError, Message

from p2p_server.directory.errors import (
    DirectoryError,
    FieldInvalid,
    Overloaded,
    ShuttingDown,
    TooLarge,
)
from p2p_server.directory.models import Limits
from p2p_server.rpc.caller import Context, host_of
from p2p_server.rpc.status import InternalError, to_status
from p2p_server.rpc.streams import CallerGone
from p2p_server.rpc.unread import CALL_BYTES, MOST_BYTES, Unread

# Of the calls that may run at once, so many are there for these; the rest is kept for those that
# keep peers listed. Heartbeats cost little, and one that waits for a stalled store has renewed its
# lease before: many more of them may wait.
_SHARES: Final = {"Query": 0.5, "ListPeers": 0.5, "Locate": 0.7, "Announce": 0.8, "Heartbeat": 16.0}
LONGEST_CALL_SECONDS: Final = 30.0  # less when the caller's deadline is nearer
_STREAMS: Final = frozenset({"Watch"})
_REFUSING_SECONDS: Final = 2.0
DEADLINE_SLACK_SECONDS: Final = 1.0  # the caller's own clock says DEADLINE_EXCEEDED, not we

log = logging.getLogger(__name__)

A = TypeVar("A")
Method = Callable[[Message, Context], Awaitable[Message]]
StreamMethod = Callable[[Message, Context], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class FinishedCall:
    method: str  # "Query"
    peer: str  # as the transport has it
    code: str  # canonical status
    outcome: str  # "OK", or the reason of the refusal
    is_stream: bool
    seconds: float


class _Registrar:
    """Takes the handlers that generated code registers with a server."""

    def __init__(self) -> None:
        self.service = ""
        self.handlers: dict[str, Any] = {}

    def add_generic_rpc_handlers(self, handlers: object) -> None:
        pass  # the same once more

    def add_registered_method_handlers(self, service: str, handlers: dict[str, Any]) -> None:
        self.service, self.handlers = service, handlers


class Calls:
    """All calls of a service. Wraps its handlers once, when they are registered: an interceptor of
    gRPC's would be asked for each call, which costs as much as a heartbeat does."""

    def __init__(self, limits: Limits, observe: Callable[[FinishedCall], None]) -> None:
        self._limits = limits
        self._observe = observe
        self._running = 0
        # Without a limit for one address all of them may be a proxy's.
        self._unread = Unread(MOST_BYTES if limits.max_sessions_per_address else None)
        self._is_closed = False

    def close(self) -> None:
        """From now on calls are refused with SHUTTING_DOWN; those that run go on."""
        self._is_closed = True

    def add(
        self, add_to_server: Callable[[Any, Any], None], servicer: object, server: grpc.aio.Server
    ) -> None:
        """As the generated `add_to_server(servicer, server)`, with each method wrapped."""
        registrar = _Registrar()
        add_to_server(servicer, registrar)
        handlers = {name: self._wrapped(name, each) for name, each in registrar.handlers.items()}
        generic = grpc.method_handlers_generic_handler(registrar.service, handlers)
        server.add_generic_rpc_handlers((generic,))
        server.add_registered_method_handlers(registrar.service, handlers)

    def _wrapped(self, name: str, handler: Any) -> Any:
        """The handler with all that calls have in common around it. The stubs type the synchronous
        form of handlers; these are not."""
        read = cast("Any", _reader(handler.request_deserializer, self._limits.max_request_bytes))
        if handler.unary_unary is None:
            stream = cast("Any", self._streaming(name, handler.unary_stream))
            return grpc.unary_stream_rpc_method_handler(stream, read, handler.response_serializer)
        answer = self._answering(name, handler.unary_unary, handler.response_serializer)
        # Serialized by us: so its size is known.
        return grpc.unary_unary_rpc_method_handler(cast("Any", answer), read, None)

    def _answering(
        self, name: str, method: Method, encode: Callable[[Message], bytes]
    ) -> Callable[[Message | DirectoryError, Context], Awaitable[bytes]]:
        async def answer(request: Message | DirectoryError, context: Context) -> bytes:
            peer = context.peer()
            host = host_of(peer)
            is_held = self._unread.came(host)
            self._running += 1
            try:
                asked = request if is_held else _too_much_unread()
                work = self._call(name, method, asked, context)
                encoded = encode(await self._answer(name, peer, work, context))
                if is_held:
                    # Until gRPC is done with it, when the caller has taken it: long after us.
                    is_held, size_bytes = False, len(encoded)
                    self._unread.answered(host, size_bytes)
                    left = partial(self._unread.left, host, CALL_BYTES + size_bytes)
                    context.add_done_callback(left)  # type: ignore[arg-type]  # stubs
                return encoded
            finally:
                self._running -= 1
                if is_held:
                    self._unread.left(host, CALL_BYTES)

        return answer

    def _streaming(
        self, name: str, method: StreamMethod
    ) -> Callable[[Message | DirectoryError, Context], Awaitable[None]]:
        async def stream(request: Message | DirectoryError, context: Context) -> None:
            peer = context.peer()
            host = host_of(peer)
            is_held = self._unread.came(host)
            asked = request if is_held else _too_much_unread()
            try:
                work = self._stream(name, method, asked, context)
                await self._answer(name, peer, work, context)
            finally:
                if is_held:
                    self._unread.left(host, CALL_BYTES)

        return stream

    async def _answer(
        self, name: str, peer: str, work: Coroutine[Any, Any, A], context: Context
    ) -> A:
        started_at = time.monotonic()
        code = outcome = "CANCELLED"
        try:
            answer = await work
            code = outcome = "OK"
            return answer
        except DirectoryError as refusal:
            code, outcome = refusal.code, refusal.reason
            await _refuse(context, refusal)
            raise asyncio.CancelledError("nobody hears the refusal") from None
        except CallerGone:
            raise asyncio.CancelledError("the caller is gone") from None
        finally:
            seconds = time.monotonic() - started_at
            is_stream = name in _STREAMS
            self._observe(FinishedCall(name, peer, code, outcome, is_stream, seconds))

    async def _call(
        self, name: str, method: Method, request: Message | DirectoryError, context: Context
    ) -> Message:
        """The method's answer; whatever fails, fails as a DirectoryError."""
        lawful = self._checked(request)
        if self._running > self._limits.max_calls * _SHARES.get(name, 1.0):
            raise Overloaded()
        left = cast("float | None", context.time_remaining())  # None: no deadline
        longest = LONGEST_CALL_SECONDS
        if left is not None:
            longest = min(left + DEADLINE_SLACK_SECONDS, longest)
        try:
            async with asyncio.timeout(longest):
                return await method(lawful, context)
        except DirectoryError:
            raise
        except TimeoutError:
            raise Overloaded() from None
        except Exception:
            log.exception("unhandled error in %s", name)
            raise InternalError() from None

    async def _stream(
        self, name: str, method: StreamMethod, request: Message | DirectoryError, context: Context
    ) -> None:
        """Lasts as long as both sides want; whatever fails, fails as a DirectoryError."""
        try:
            await method(self._checked(request), context)
        except (DirectoryError, CallerGone):
            raise
        except Exception:
            log.exception("unhandled error in %s", name)
            raise InternalError() from None

    def _checked(self, request: Message | DirectoryError) -> Message:
        if self._is_closed:
            raise ShuttingDown()
        if isinstance(request, DirectoryError):
            raise request
        return request


def _reader(
    decode: Callable[[bytes], Message], most_bytes: int
) -> Callable[[bytes], Message | DirectoryError]:
    def read(encoded: bytes) -> Message | DirectoryError:
        if len(encoded) > most_bytes:
            return TooLarge(most_bytes, "bytes")
        try:
            return decode(encoded)
        except DecodeError:  # left to gRPC it would become a refusal without a reason
            return FieldInvalid("request", "these bytes are no message of this method")

    return read


def _too_much_unread() -> Overloaded:
    return Overloaded("too many answers wait for your address: read them, and call less at once")


async def _refuse(context: Context, refusal: DirectoryError) -> None:
    """Raises AbortError when the status is on its way; returns when nobody will get it.

    Behind a stream that nobody takes even a status waits: that is not waited for.
    """
    try:
        async with asyncio.timeout(_REFUSING_SECONDS):
            await context.abort_with_status(to_status(refusal))
    except grpc.aio.AbortError:
        raise
    except Exception:
        log.debug("the refusal %s could not be delivered", refusal.reason)


def note_at_debug(call: FinishedCall) -> None:
    log.debug(
        "%s from %s: %s in %.1f ms", call.method, call.peer, call.outcome, call.seconds * 1000
    )
