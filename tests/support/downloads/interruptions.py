"""Downloads that are interrupted: in this process, or in one of their own that can be killed."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
from tests.support.downloads.downloads import MIB, Downloads, some_bytes
from tests.support.sources.fake import Behaviour, FakeSource, digest_of, running

from p2p_client.download.part.claim import part_names
from p2p_client.download.part.journal import Journal, JournalFile
from p2p_client.download.place.place import Place
from p2p_client.errors import TransferFailed

ROOT = Path(__file__).parents[3]
CONTENT = some_bytes(24 * MIB + 99)
DIGEST, MANIFEST = digest_of(CONTENT)
PART, JOURNAL = part_names("target", DIGEST)


@asynccontextmanager
async def a_process(
    target: Path, *sources: FakeSource, limit: int = 0
) -> AsyncIterator[asyncio.subprocess.Process]:
    search = os.pathsep.join(str(ROOT / part) for part in ("client", "generated", "."))
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(ROOT / "tests" / "support" / "downloads" / "process.py"),
        sources[0].digest,
        sources[0].manifest.digest(),
        str(len(sources[0].content)),
        str(target),
        str(limit),
        *(str(source.port) for source in sources),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": search},
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def events_of(process: asyncio.subprocess.Process) -> AsyncIterator[dict[str, Any]]:
    assert process.stdout is not None
    async for line in process.stdout:
        yield json.loads(line)


async def outcome_of(process: asyncio.subprocess.Process) -> dict[str, Any]:
    last: dict[str, Any] = {}
    async for event in events_of(process):
        last = event
    await process.wait()
    return last


async def interrupted(downloads: Downloads, target: Path, after_bytes: int) -> int:
    """Runs a download whose only source turns bad; the bytes verified by then."""
    bad = frozenset({after_bytes // MIB})
    alice = FakeSource("alice", CONTENT, behaviour=Behaviour(corrupt_pieces=bad))
    downloads.patience_seconds = 0.1
    async with running(alice) as directory:
        with pytest.raises(TransferFailed):
            await downloads.fetch(directory, DIGEST, target)
    journal = journal_of(target)
    assert journal is not None
    return journal.held_map().held_count * MIB


async def resumed(downloads: Downloads, target: Path) -> tuple[int, int]:
    """Fetches from a good source; the bytes fetched and resumed."""
    good = FakeSource("good", CONTENT)
    async with running(good) as directory:
        finished = await downloads.fetch(directory, DIGEST, target)
    assert target.read_bytes() == CONTENT
    assert os.listdir(target.parent) == [target.name]
    return finished.fetched_bytes, finished.resumed_bytes


def journal_of(target: Path) -> Journal | None:
    with closing(Place.open(target, overwrite=False)) as place:
        return JournalFile(place, JOURNAL).load()
