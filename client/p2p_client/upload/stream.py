"""One range of one content, chunk after chunk: the disk reads ahead while the network takes.

Chunks are encoded here, without protobuf, which would copy them into a message and out of it again:
they are read from the disk to behind their head.
"""

import asyncio
from collections.abc import Awaitable, Callable

from p2p_client.library.disk.reading.opened import OpenContent
from p2p_client.upload.refusals import RangeInvalid
from p2p_client.upload.slots.slots import Turn
from p2p_client.upload.varint import varint

Send = Callable[[bytes, int], Awaitable[None]]
"""Sends an encoded chunk that holds so many bytes of data."""
SMALLEST_CHUNK_BYTES = 16 << 10
LARGEST_CHUNK_BYTES = 1 << 20
_DATA_TAG = b"\x0a"  # field 1, length-delimited


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
    send: Send,
) -> None:
    """Sends the bytes from `offset` to `end` as encoded chunks, and returns when the file was still
    the one hashed after the last of them was read.

    Raises:
        StreamIdle, TooManyStreams: as `Turn.sending`.
        ContentChanged, ContentUnreadable: what was sent before is good.
    """
    ahead: asyncio.Future[bytes] | None = None
    read_bytes = 0  # by the latest read

    def read() -> asyncio.Future[bytes]:
        nonlocal read_bytes
        read_bytes = min(chunk_bytes, turn.chunk_bytes, end - offset)
        return content.start_read(offset, read_bytes, head_of_chunk(read_bytes))

    try:
        while offset < end:
            ahead = ahead or read()
            chunk = await content.finish_read(ahead)
            data_bytes = read_bytes
            offset += data_bytes
            ahead = read() if turn.may_read_ahead and offset < end else None
            async with turn.sending(data_bytes):
                sending = send(chunk, data_bytes)
                del chunk  # the network may take long: a copy less for each stream
                await sending
        await content.check()
    finally:
        if ahead is not None and not ahead.cancel() and not ahead.cancelled():
            ahead.exception()  # seen: what it found no longer matters


def head_of_chunk(data_bytes: int) -> bytes:
    """What stands before so many bytes of data, at least one, in an encoded FetchFileResponse."""
    return _DATA_TAG + varint(data_bytes)
