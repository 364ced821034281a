"""Files to be fetched, and the proof that what came is what was shared."""

import os
import shutil
from pathlib import Path

from blake3 import blake3

from bench.support.processes import Failed

BLOCK_BYTES = 1 << 20


def make_file(path: Path, size_bytes: int) -> Path:
    """Random bytes, no two blocks alike, so that nothing can be compressed or deduplicated."""
    path.parent.mkdir(parents=True, exist_ok=True)
    block = os.urandom(BLOCK_BYTES)
    with path.open("wb") as file:
        for number in range(-(-size_bytes // BLOCK_BYTES)):
            file.write((number.to_bytes(8, "big") + block[8:])[: size_bytes - file.tell()])
    return path


def digest_of(path: Path) -> str:
    """Reads it all: so it also brings a file into the page cache."""
    hasher = blake3(max_threads=blake3.AUTO)
    with path.open("rb") as file:
        while block := file.read(8 * BLOCK_BYTES):
            hasher.update(block)
    return hasher.hexdigest()


def check_same(name: str, copy: Path, digest: str) -> None:
    """Raises Failed unless the copy is there and is the content."""
    if not copy.is_file():
        raise Failed(f"{name} left no file")
    if digest_of(copy) != digest:
        raise Failed(f"{name} delivered other bytes")


def emptied(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def settled(folder: Path) -> Path:
    """Emptied, and the disk at rest: what others wrote before is not waited for by whoever comes
    next, whether it makes its own durable or not."""
    emptied(folder)
    os.sync()
    return folder
