"""Answers that never end: sent as fast as the caller takes them, and no longer than it does."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Final, TypeVar

from google.protobuf.message import Message

from p2p_server.directory.errors import WatchTooSlow
from p2p_server.rpc.caller import Context

TAKE_SECONDS: Final = 30.0  # so long may one message wait for a caller that reads nothing

T = TypeVar("T")


class CallerGone(Exception):
    """The connection or the call is no more. gRPC raises an exception of its inner parts."""


async def send_all(
    answers: AsyncGenerator[T, None], encode: Callable[[T], Message], context: Context
) -> None:
    """Raises WatchTooSlow, CallerGone, and what the answers do; they are closed in any case."""
    async with aclosing(answers):
        async for answer in answers:
            message = encode(answer)
            try:
                async with asyncio.timeout(TAKE_SECONDS):
                    await context.write(message)
            except TimeoutError:
                raise WatchTooSlow() from None
            except Exception as error:
                raise CallerGone from error
