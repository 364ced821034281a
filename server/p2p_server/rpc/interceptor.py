"""What all calls have in common: limits, errors to statuses, how long they may take, what is noted.

One interceptor around each method of DirectoryService; health and reflection are not touched.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar, cast

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

MOST_CALLS: Final = 512  # at once
LONGEST_CALL_SECONDS: Final = 30.0  # less when the caller's deadline is nearer
DEADLINE_SLACK_SECONDS: Final = 1.0  # the caller's own clock says DEADLINE_EXCEEDED, not we

log = logging.getLogger(__name__)

Request = TypeVar("Request")
Answer = TypeVar("Answer")
if TYPE_CHECKING:  # generic in the stubs alone
    Handler: TypeAlias = grpc.RpcMethodHandler[Request, Answer] | None

Method = Callable[[Message, Context], Awaitable[Message]]


@dataclass(frozen=True, slots=True)
class FinishedCall:
    method: str  # "Query"
    host: str
    outcome: str  # "OK", or the reason of the refusal
    seconds: float


class CallInterceptor(grpc.aio.ServerInterceptor):
    def __init__(
        self, service: str, limits: Limits, observe: Callable[[FinishedCall], None]
    ) -> None:
        self._prefix = f"/{service}/"
        self._limits = limits
        self._observe = observe
        self._running = 0
        self._is_closed = False

    def close(self) -> None:
        """From now on calls are refused with SHUTTING_DOWN; those that run go on."""
        self._is_closed = True

    async def intercept_service(
        self,
        continuation: "Callable[[grpc.HandlerCallDetails], Awaitable[Handler[Request, Answer]]]",
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "Handler[Request, Answer]":
        handler = await continuation(handler_call_details)
        path = handler_call_details.method
        if handler is None or handler.unary_unary is None or not path.startswith(self._prefix):
            return handler
        name = path.removeprefix(self._prefix)
        method = cast("Method", handler.unary_unary)  # the stubs type the synchronous form

        deserialize = cast("Callable[[bytes], Message]", handler.request_deserializer)

        async def answer(request: Message | None, context: Context) -> Message:
            return await self._answer(name, method, request, context)

        def read(encoded: bytes) -> Message | None:
            try:
                return deserialize(encoded)
            except DecodeError:  # left to gRPC it would become a refusal without a reason
                return None

        wrapped: Any = grpc.unary_unary_rpc_method_handler(
            cast("Any", answer), cast("Any", read), handler.response_serializer
        )
        return cast("Handler[Request, Answer]", wrapped)

    async def _answer(
        self, name: str, method: Method, request: Message | None, context: Context
    ) -> Message:
        started_at = time.monotonic()
        outcome = "CANCELLED"
        self._running += 1
        try:
            answer = await self._call(name, method, request, context)
            outcome = "OK"
            return answer
        except DirectoryError as refusal:
            outcome = refusal.reason
            await context.abort_with_status(to_status(refusal))
            raise  # not reached: aborting raises
        finally:
            self._running -= 1
            seconds = time.monotonic() - started_at
            self._observe(FinishedCall(name, host_of(context.peer()), outcome, seconds))

    async def _call(
        self, name: str, method: Method, request: Message | None, context: Context
    ) -> Message:
        """The method's answer; whatever fails, fails as a DirectoryError."""
        if self._is_closed:
            raise ShuttingDown()
        if self._running > MOST_CALLS:
            raise Overloaded()
        if request is None:
            raise FieldInvalid("request", "these bytes are no message of this method")
        if request.ByteSize() > self._limits.max_request_bytes:
            raise TooLarge(self._limits.max_request_bytes, "bytes")
        left = cast("float | None", context.time_remaining())  # None: no deadline
        longest = LONGEST_CALL_SECONDS
        if left is not None:
            longest = min(left + DEADLINE_SLACK_SECONDS, longest)
        try:
            async with asyncio.timeout(longest):
                return await method(request, context)
        except DirectoryError:
            raise
        except TimeoutError:
            raise Overloaded() from None
        except Exception:
            log.exception("unhandled error in %s", name)
            raise InternalError() from None


def note_at_debug(call: FinishedCall) -> None:
    log.debug(
        "%s from %s: %s in %.1f ms", call.method, call.host, call.outcome, call.seconds * 1000
    )
