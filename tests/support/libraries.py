"""A library on real files, running; and waiting for what it does in its own time."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from p2p_client.library.catalog import Catalog
from p2p_client.library.events import HashProgress, LibraryEvent
from p2p_client.library.library import Library
from p2p_client.models import Digest, Resource

T = TypeVar("T")


@dataclass
class Shared:
    """A library and what it said."""

    library: Library
    catalog: Catalog
    events: list[LibraryEvent]

    @property
    def resources(self) -> dict[str, Resource]:
        return {resource.path: resource for resource in self.catalog.snapshot()[1]}

    @property
    def paths(self) -> set[str]:
        return set(self.resources)

    @property
    def skipped(self) -> dict[str, str]:
        return {item.path: item.why for item in self.library.skipped}

    def digest(self, path: str) -> Digest:
        return self.resources[path].digest

    def told(self, kind: type[LibraryEvent]) -> list[LibraryEvent]:
        return [event for event in self.events if isinstance(event, kind)]


@asynccontextmanager
async def a_library(*roots: Path, cache_file: Path) -> AsyncIterator[Shared]:
    """Runs until the context ends; on entering, all that is there is listed or skipped."""
    catalog, events = Catalog("epoch"), list[LibraryEvent]()
    shared = Shared(Library(cache_file, catalog, events.append), catalog, events)
    for root in roots:
        await shared.library.add(root)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(shared.library.run())
        async with asyncio.timeout(20):
            await shared.library.ready()
        yield shared
        running.cancel()


async def until(look: Callable[[], T], *, within_seconds: float = 5.0) -> T:
    """What `look` returns as soon as that is true, for what no event of ours announces."""
    deadline = time.monotonic() + within_seconds
    while not (seen := look()):
        assert time.monotonic() < deadline, "not seen in time"
        await asyncio.sleep(0.01)
    return seen


def last_progress(shared: Shared) -> HashProgress | None:
    progress = [event for event in shared.events if isinstance(event, HashProgress)]
    return progress[-1] if progress else None
