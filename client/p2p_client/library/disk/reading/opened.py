"""A content that is open for an upload, for the event loop: only threads wait for the disk."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Self

from p2p_client.library.disk.reading.hashed import HashedFile
from p2p_client.library.errors import ContentChanged
from p2p_client.models import Digest


class OpenContent:
    """One file with the content, open until `close`. Also a context manager.

    Args:
        on_changed: told when the file is found changed, before ContentChanged is raised.
    """

    def __init__(self, digest: Digest, file: HashedFile, on_changed: Callable[[], None]) -> None:
        self.digest = digest
        self._file = file
        self._on_changed = on_changed

    @property
    def size_bytes(self) -> int:
        return self._file.size_bytes

    async def read(self, offset: int, length: int) -> bytes:
        """Exactly these bytes of the content; the range must lie within it.

        Raises:
            ContentChanged: the file was not what was hashed by the time the bytes were read.
            ContentUnreadable: the disk did not give them.
        """
        return await self.finish_read(self.start_read(offset, length))

    def start_read(self, offset: int, length: int, head: bytes = b"") -> asyncio.Future[bytes]:
        """Starts what `finish_read` waits for; or cancel it. What is read comes behind `head`."""
        loop = asyncio.get_running_loop()
        # Copying it costs less than telling a thread, and hearing from it.
        with self._telling():
            cached = self._file.read_cached(offset, length, head)
        if cached is not None:
            reading = loop.create_future()
            reading.set_result(cached)
            return reading
        return loop.run_in_executor(None, self._file.read, offset, length, head)

    async def finish_read(self, reading: asyncio.Future[bytes]) -> bytes:
        """The bytes of a started read. Raises as `read` does."""
        with self._telling():
            return await reading

    async def check(self) -> None:
        """That the file is unchanged and in its place. Raises as `read` does."""
        with self._telling():
            await asyncio.to_thread(self._file.check)

    def close(self) -> None:
        """Safe to call twice, and while a read is under way."""
        self._file.close()

    @contextlib.contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except ContentChanged:
            self._on_changed()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
