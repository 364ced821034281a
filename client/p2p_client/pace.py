"""Keeping to a rate of bytes per second: a token bucket, and the waiting at it."""

import asyncio
import time

BURST_SECONDS = 0.1
CHUNKS_PER_SECOND = 8
SMALLEST_CHUNK_BYTES = 16 << 10
LARGEST_CHUNK_BYTES = 1 << 20


class Bucket:
    """Virtual scheduling form of a token bucket (ATM Forum's GCRA): one number for all its state.

    Whoever takes more than there is goes into debt and waits until it is paid, behind those who
    came before; so the rate holds over any time longer than the burst, whatever sizes are taken.

    Args:
        bytes_per_second: > 0.
    """

    def __init__(self, bytes_per_second: float) -> None:
        self._bytes_per_second = bytes_per_second
        self._paid_until = float("-inf")

    def take(self, count: int, now: float) -> float:
        """Takes `count` bytes; how many seconds to wait before the next are taken."""
        begin = max(self._paid_until, now - BURST_SECONDS)
        self._paid_until = begin + count / self._bytes_per_second
        return max(0.0, self._paid_until - now)


class Pace:
    """One limit that any number of streams keep to together; None: no limit."""

    def __init__(self, bytes_per_second: float | None) -> None:
        self._bucket = None if bytes_per_second is None else Bucket(bytes_per_second)
        self.chunk_bytes = LARGEST_CHUNK_BYTES
        if bytes_per_second is not None:
            share = int(bytes_per_second / CHUNKS_PER_SECOND)
            self.chunk_bytes = max(SMALLEST_CHUNK_BYTES, min(share, LARGEST_CHUNK_BYTES))

    async def keep(self, count: int) -> None:
        """Takes `count` bytes and waits as long as that costs."""
        if self._bucket is not None:
            wait_seconds = self._bucket.take(count, time.monotonic())
            if wait_seconds > 0:
                await asyncio.sleep(wait_seconds)
