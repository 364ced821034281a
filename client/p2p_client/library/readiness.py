"""When is everything there that was given to share? Roots to scan, and files of these to hash."""

import asyncio


class Readiness:
    """Only what the first scan of a root found counts: a folder that people work in would never be
    ready otherwise."""

    def __init__(self) -> None:
        self._unscanned: set[str] = set()
        self._awaited: set[str] = set()
        self._is_ready = asyncio.Event()
        self._is_ready.set()
        self._concluded: dict[str, asyncio.Event] = {}

    def expect_root(self, name: str) -> None:
        self._unscanned.add(name)
        self._is_ready.clear()

    def expect_file(self, root: str, path: str) -> None:
        """A scan found that this file needs hashing."""
        if root in self._unscanned:
            self._awaited.add(path)

    def conclude_scan(self) -> None:
        """Every root expected so far was visited, with all below it."""
        self._unscanned.clear()
        self._update()

    def conclude_file(self, path: str) -> None:
        """The file is listed, skipped, gone, or will take another while."""
        self._awaited.discard(path)
        self._update()
        if event := self._concluded.pop(path, None):
            event.set()

    async def wait(self) -> None:
        await self._is_ready.wait()

    def conclusion_of(self, path: str) -> asyncio.Event:
        """Set when the file is concluded the next time."""
        return self._concluded.setdefault(path, asyncio.Event())

    def _update(self) -> None:
        if not self._unscanned and not self._awaited:
            self._is_ready.set()
