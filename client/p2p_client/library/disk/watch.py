"""Being told when something happens in folders on disk.

Every folder is watched by itself, not as a tree: the library behind this (notify, by way of
watchfiles) walks trees through symlinks, and a link to / would have it watch the whole machine. It
holds the interpreter while it sets a watch up, so folders are watched in groups, and only groups
that changed are set up again.
"""

import asyncio
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Protocol, TypeVar

from watchfiles._rust_notify import RustNotify, WatchfilesRustInternalError

Told = Callable[[frozenset[str]], None]
T = TypeVar("T")

MOST_FOLDERS = 32_000
_GROUP_SIZE = 1_000  # takes some 20 ms to set up; each group costs one inotify instance of 128
_TOGETHER_MS = 200  # changes within this are told together
_STEP_MS = 50
_ROUND_MS = 500  # how soon a change of the set of folders is noticed
_BETWEEN_ROUNDS_SECONDS = 0.15  # of looking into several groups, none of which may be waited on
_AFTER_TROUBLE_SECONDS = 5.0


class Folders(Protocol):
    """What to watch now: `version` differs after every change of `folders`."""

    version: int

    @property
    def folders(self) -> Mapping[str, object]:
        """Absolute paths, each with something that differs when another folder takes its place."""


class _Group:
    """Some folders under one watch."""

    def __init__(self, notify: RustNotify, folders: dict[str, object]) -> None:
        self.notify = notify
        self.folders = folders
        self.size = len(folders)  # when it was set up; folders that went are still in the watch

    def changes(
        self, together_ms: int, step_ms: int, wait_ms: int, stop: threading.Event
    ) -> set[str]:
        """Blocks. Raises WatchfilesRustInternalError: it is of no more use."""
        changes = self.notify.watch(together_ms, step_ms, wait_ms, stop)
        return {path for _, path in changes} if isinstance(changes, set) else set()


async def watch_folders(
    wanted: Folders, on_change: Told, on_trouble: Callable[[str], None]
) -> None:
    """Watches until cancelled.

    Args:
        on_change: told the paths where something happened, and the folders that are watched from
            now on (what happened there before is not told). From the event loop.
        on_trouble: told one sentence, once, when the system cannot watch all of them.
    """
    watch = _Watch(wanted, on_change, on_trouble)
    try:
        while True:
            await watch.follow()
            await watch.wait()
    finally:
        watch.close()


class _Watch:
    def __init__(self, wanted: Folders, on_change: Told, on_trouble: Callable[[str], None]) -> None:
        self._wanted = wanted
        self._on_change = on_change
        self._on_trouble = on_trouble
        self._has_complained = False
        self._stop = threading.Event()
        self._thread = ThreadPoolExecutor(1, "p2p-watch")
        self._groups: list[_Group] = []
        self._version = -1
        self._pause_seconds = 0.0

    async def follow(self) -> None:
        """Watches what is wanted now, if that changed."""
        if self._version == self._wanted.version:
            return
        self._version = self._wanted.version
        fresh, old = self._sort_out()
        # Those of old groups lose nothing by the change: they need no new look.
        opened = [*fresh.items(), *(item for group in old for item in group.folders.items())]
        for at in range(0, len(opened), _GROUP_SIZE):
            part = dict(opened[at : at + _GROUP_SIZE])
            try:
                group = await self._in_thread(partial(_open, part))
            except (OSError, WatchfilesRustInternalError) as error:
                self._give_up_for_now(str(error))
                break
            if group is not None:
                self._groups.append(group)
        # Only now, so that nothing falls between the old watch and the new.
        changed = await self._in_thread(partial(_drain, old, self._stop))
        self._on_change(changed | fresh.keys())

    async def wait(self) -> None:
        """Returns after changes were told, or after a while."""
        if self._pause_seconds:
            await asyncio.sleep(self._pause_seconds)
            self._pause_seconds, self._version = 0.0, -1  # try again
            return
        changed, broken = await self._in_thread(self._look)
        if changed:
            self._on_change(frozenset(changed))
        if broken:
            # It chokes for good on a name that is not UTF-8. Such files are not shared, but what
            # else happened is lost with it: the folders are watched, and looked at, anew.
            self._groups = [group for group in self._groups if group not in broken]
            self._pause_seconds = _ROUND_MS / 1000

    def close(self) -> None:
        self._stop.set()
        for group in self._groups:
            group.notify.close()
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _sort_out(self) -> tuple[dict[str, object], list[_Group]]:
        """The folders that are not watched yet, and the groups to set up again with them."""
        wanted = self._wanted.folders
        watched: set[str] = set()
        for group in self._groups:
            group.folders = {p: of for p, of in group.folders.items() if wanted.get(p) == of}
            watched |= group.folders.keys()
        fresh = {path: of for path, of in wanted.items() if path not in watched}
        if len(wanted) > MOST_FOLDERS:
            fresh = dict(islice(fresh.items(), max(0, MOST_FOLDERS - len(watched))))
            self._complain(f"they are more than {MOST_FOLDERS}")
        # Sparse groups are merged, and one that is not full takes the new folders in.
        old = [group for group in self._groups if 2 * len(group.folders) < group.size]
        if fresh and self._groups and self._groups[-1].size < _GROUP_SIZE:
            old = [*(group for group in old if group is not self._groups[-1]), self._groups[-1]]
        self._groups = [group for group in self._groups if group not in old]
        return fresh, old

    def _look(self) -> tuple[set[str], list[_Group]]:
        """What happened, and the groups that are of no more use. Blocks, for a while at most."""
        changed: set[str] = set()
        broken: list[_Group] = []
        is_only = len(self._groups) == 1
        waits = (_TOGETHER_MS, _STEP_MS, _ROUND_MS) if is_only else (_STEP_MS, 1, 1)
        for group in self._groups:
            try:
                changed |= group.changes(*waits, self._stop)
            except WatchfilesRustInternalError:
                broken.append(group)
        if not is_only:
            self._stop.wait(_BETWEEN_ROUNDS_SECONDS)
        return changed, broken

    def _give_up_for_now(self, why: str) -> None:
        self._pause_seconds = _AFTER_TROUBLE_SECONDS
        self._complain(why)

    def _complain(self, why: str) -> None:
        if not self._has_complained:
            self._has_complained = True
            self._on_trouble(
                f"not all shared folders can be watched ({why}): "
                "changes in the others are noticed by looking once a minute"
            )

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


def _open(folders: dict[str, object]) -> _Group | None:
    """Folders that are gone, or whose name is not UTF-8, are left out."""
    present = {path: of for path, of in folders.items() if _is_utf8(path) and Path(path).is_dir()}
    if not present:
        return None
    try:
        return _Group(RustNotify(sorted(present), False, False, 0, False, True), present)
    except FileNotFoundError:
        return _open(present)  # one went while we looked


def _drain(groups: Iterable[_Group], stop: threading.Event) -> frozenset[str]:
    """What was not told yet. The groups are of no more use."""
    changed: set[str] = set()
    for group in groups:
        try:
            changed |= group.changes(1, 1, 1, stop)
        except WatchfilesRustInternalError:
            changed |= group.folders.keys()
        finally:
            group.notify.close()
    return frozenset(changed)


def _is_utf8(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True
