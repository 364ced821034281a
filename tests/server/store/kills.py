"""Processes that work on a store and are killed in the middle of it; and what must be left then."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

from tests.server.store.factories import paths
from tests.server.store.writer_to_kill import PER_REVISION, added

from p2p_server.directory.models import Criteria, PeerId
from p2p_server.store.base import Store

ROOT = Path(__file__).resolve().parents[3]
ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "server")))}


async def killed_after(lines: int, *arguments: str) -> list[bytes]:
    """What a Python process printed that was killed when it had printed so many lines."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, stdout=subprocess.PIPE, cwd=ROOT, env=ENVIRONMENT
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(60):
            seen = [await process.stdout.readline() for _ in range(lines)]
        assert all(seen), "it ended by itself"
    finally:
        process.kill()
    rest, _ = await process.communicate()
    return [*seen, *rest.splitlines()]


async def acknowledged_to_a_killed_writer(database: str, revisions_seen: int) -> int:
    """The last revision of which it heard that it was taken."""
    said = await killed_after(revisions_seen, "-m", "tests.server.store.writer_to_kill", database)
    return int(said[-1])


async def check_that_nothing_is_lost(store: Store, acknowledged: int) -> None:
    """All that was acknowledged is there, and of what was not all or nothing."""
    held = await store.held_revision(PeerId("peer-of-ann"))
    assert held.counter in (acknowledged, acknowledged + 1)
    expected = [path for counter in range(1, held.counter) for path in added(counter)]
    assert sorted(await paths(store)) == sorted(expected)
    last = Criteria(words=(f"{held.counter - 1}/file", "revision"))
    assert len(await paths(store, last)) >= PER_REVISION
    (peer,) = await store.peers("ann", None, 2)
    assert peer.resource_count == len(expected)
    names = {user.name for user in await store.users()}
    assert names >= {"ann", *(f"user{counter}" for counter in range(1, acknowledged))}
