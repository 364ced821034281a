"""One range of one content, chunk after chunk: the disk reads ahead while the network takes."""

import asyncio
from collections.abc import Awaitable, Callable

from p2p_client.library.disk.opened import OpenContent
from p2p_client.upload.refusals import RangeInvalid
from p2p_client.upload.slots.slots import Turn

SMALLEST_CHUNK_BYTES = 16 << 10
LARGEST_CHUNK_BYTES = 1 << 20


def end_of_range(read_offset: int, read_limit: int, size_bytes: int) -> int:
    """Where a read ends, as google.bytestream.Read has it. Raises RangeInvalid."""
    if read_limit < 0 or not 0 <= read_offset <= size_bytes:
        raise RangeInvalid(size_bytes)
    return min(size_bytes, read_offset + read_limit) if read_limit else size_bytes


def chunk_bytes_of(wished: int) -> int:
    """0 or less: ours to choose; all else is kept within bounds."""
    if wished <= 0:
        return LARGEST_CHUNK_BYTES
    return max(SMALLEST_CHUNK_BYTES, min(wished, LARGEST_CHUNK_BYTES))


async def send_range(
    content: OpenContent,
    offset: int,
    end: int,
    chunk_bytes: int,
    turn: Turn,
    send: Callable[[bytes], Awaitable[None]],
) -> None:
    """Sends the bytes from `offset` to `end`, and returns when the file was still the one hashed
    after the last of them was read.

    Raises:
        StreamIdle, TooManyStreams: as `Turn.sending`.
        ContentChanged, ContentUnreadable: what was sent before is good.
    """
    ahead: asyncio.Future[bytes] | None = None
    try:
        while offset < end:
            if ahead is None:
                wanted = min(chunk_bytes, turn.chunk_bytes, end - offset)
                ahead = content.start_read(offset, wanted)
            data = await content.finish_read(ahead)
            offset += len(data)
            ahead = None
            if turn.may_read_ahead and (left := min(chunk_bytes, turn.chunk_bytes, end - offset)):
                ahead = content.start_read(offset, left)
            async with turn.sending(len(data)):
                sending = send(data)
                del data  # the network may take long: a copy less for each stream
                await sending
        await content.check()
    finally:
        if ahead is not None and not ahead.cancel() and not ahead.cancelled():
            ahead.exception()  # seen: what it found no longer matters
