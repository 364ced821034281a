"""Being told when something happens in folders on disk.

Every folder is watched by itself, not as a tree: the library behind this (notify, by way of
watchfiles) walks trees through symlinks, and a link to / would have it watch the whole machine.
The set of folders is changed by making a second watch before the first is drained, so that
nothing falls in between.
"""

import asyncio
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

from watchfiles._rust_notify import RustNotify, WatchfilesRustInternalError

Told = Callable[[frozenset[str]], None]
Folders = Mapping[str, object]
"""Absolute paths, each with something that differs when another folder takes its place."""
T = TypeVar("T")

_GROUP_MS = 200
_STEP_MS = 50
_ROUND_MS = 500  # how soon a change of the set of folders is noticed
_AFTER_TROUBLE_SECONDS = 5.0


async def watch_folders(
    wanted: Callable[[], Folders], on_change: Told, on_trouble: Callable[[str], None]
) -> None:
    """Watches until cancelled.

    Args:
        wanted: the folders to watch now; the same object as long as nothing changed.
        on_change: told the paths where something happened, and the folders that from now on are
            watched (what happened there before is not told). From the event loop.
        on_trouble: told one sentence, once, when the system cannot watch all of them.
    """
    stop = threading.Event()
    executor = ThreadPoolExecutor(1, "p2p-watch")
    watch = _Watch(executor, stop, on_change, on_trouble)
    try:
        while True:
            await watch.follow(wanted())
            await watch.wait()
    finally:
        stop.set()
        watch.close()
        executor.shutdown(wait=False, cancel_futures=True)


class _Watch:
    def __init__(
        self,
        executor: ThreadPoolExecutor,
        stop: threading.Event,
        on_change: Told,
        on_trouble: Callable[[str], None],
    ) -> None:
        self._executor = executor
        self._stop = stop
        self._on_change = on_change
        self._on_trouble = on_trouble
        self._is_troubled = False
        self._has_complained = False
        self._notify: RustNotify | None = None
        self._wanted: Folders = {}
        self._watched: Folders = {}

    async def follow(self, wanted: Folders) -> None:
        """Watches these folders from now on, if they are others than before."""
        if wanted is self._wanted:
            return
        before, self._notify = self._notify, None
        watched: Folders = {}
        self._is_troubled = False
        try:
            self._notify, watched = await self._in_thread(partial(_open, wanted))
        except (OSError, WatchfilesRustInternalError) as error:
            self._is_troubled = True
            self._complain(error)
        if before is not None:
            await self._drain(before)
        known = self._watched
        fresh = frozenset(path for path in watched if known.get(path) != watched[path])
        self._watched, self._wanted = watched, wanted
        if fresh:
            self._on_change(fresh)

    async def wait(self) -> None:
        """Returns after a change was told, or after a while."""
        if self._notify is None:
            await asyncio.sleep(_AFTER_TROUBLE_SECONDS if self._is_troubled else _ROUND_MS / 1000)
            self._wanted = {}  # try again
            return
        try:
            changes = await self._in_thread(
                partial(self._notify.watch, _GROUP_MS, _STEP_MS, _ROUND_MS, self._stop)
            )
        except WatchfilesRustInternalError:
            # It chokes for good on a name that is not UTF-8. Such files are not shared, but what
            # else happened is lost with it.
            self._drop()
            await asyncio.sleep(_ROUND_MS / 1000)
            return
        if isinstance(changes, set):
            self._on_change(frozenset(path for _, path in changes))

    def close(self) -> None:
        if self._notify is not None:
            self._notify.close()

    async def _drain(self, notify: RustNotify) -> None:
        try:
            changes = await self._in_thread(partial(notify.watch, 1, 1, 1, self._stop))
        except WatchfilesRustInternalError:
            self._watched = {}
            return
        finally:
            notify.close()
        if isinstance(changes, set):
            self._on_change(frozenset(path for _, path in changes))

    def _drop(self) -> None:
        self.close()
        self._notify = None
        self._wanted, self._watched = {}, {}

    def _complain(self, error: Exception) -> None:
        if not self._has_complained:
            self._has_complained = True
            self._on_trouble(
                f"the system does not let us watch all shared folders ({error}): "
                "changes are noticed by looking once a minute"
            )

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)


def _open(wanted: Folders) -> tuple[RustNotify | None, Folders]:
    """Folders that are gone, or whose name is not UTF-8, are left out."""
    present = {
        path: identity
        for path, identity in wanted.items()
        if _is_utf8(path) and Path(path).is_dir()
    }
    if not present:
        return None, present
    try:
        return RustNotify(sorted(present), False, False, 0, False, True), present
    except FileNotFoundError:
        return _open(present)  # one went while we looked


def _is_utf8(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True
