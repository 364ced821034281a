"""Stages without a wire: reading, hashing, writing, making durable."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from blake3 import blake3

from bench.stages.stage import CHUNK_BYTES, Stage, Took, chunk, timed
from p2p_client.net.stream.blocks import new_block


def stages(original: Path, folder: Path) -> Iterator[Stage]:
    size_bytes = original.stat().st_size
    target = folder / "written.bin"
    yield Stage("read: pread from the page cache", lambda: _sending(lambda: _read(original)))
    yield Stage("hash once: BLAKE3, one thread", lambda: _taking(lambda: _hash(size_bytes, 1)))
    yield Stage("hash twice: pieces and whole", lambda: _taking(lambda: _hash(size_bytes, 2)))
    yield Stage("write: pwrite to a fresh file", lambda: _write(target, size_bytes))
    yield Stage("write: past the page cache, fsync included", lambda: _direct(target, size_bytes))
    yield Stage("fsync: fdatasync of what was written", lambda: _sync(target, size_bytes))


def _sending(work: Callable[[], object]) -> Took:
    seconds, cpu = timed(work)
    return Took(seconds, sending_cpu_seconds=cpu)


def _taking(work: Callable[[], object]) -> Took:
    seconds, cpu = timed(work)
    return Took(seconds, taking_cpu_seconds=cpu)


def _read(path: Path) -> None:
    file = os.open(path, os.O_RDONLY)
    try:
        offset = 0
        while data := os.pread(file, CHUNK_BYTES, offset):
            offset += len(data)
    finally:
        os.close(file)


def _hash(size_bytes: int, times: int) -> None:
    data = chunk()
    wholes = [blake3() for _ in range(times)]
    for _ in range(size_bytes // CHUNK_BYTES):
        for whole in wholes:
            whole.update(data)


def _write(target: Path, size_bytes: int) -> Took:
    target.unlink(missing_ok=True)
    file = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        return _taking(lambda: _pwrite(file, size_bytes))
    finally:
        os.close(file)


def _direct(target: Path, size_bytes: int) -> Took:
    """As downloads write where the file system can; elsewhere this is the ordinary way again."""
    target.unlink(missing_ok=True)
    block = new_block()
    block[:] = chunk()
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    try:
        file = os.open(target, flags | getattr(os, "O_DIRECT", 0), 0o600)
    except OSError:
        target.unlink(missing_ok=True)
        file = os.open(target, flags, 0o600)

    def write() -> None:
        for offset in range(0, size_bytes, CHUNK_BYTES):
            os.pwrite(file, block, offset)
        os.fdatasync(file)

    try:
        return _taking(write)
    finally:
        os.close(file)
        target.unlink()


def _sync(target: Path, size_bytes: int) -> Took:
    """Only the waiting for the disk; writing to the cache comes before and is not counted."""
    target.unlink(missing_ok=True)
    file = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        _pwrite(file, size_bytes)
        return _taking(lambda: os.fdatasync(file))
    finally:
        os.close(file)
        target.unlink()


def _pwrite(file: int, size_bytes: int) -> None:
    data = chunk()
    for offset in range(0, size_bytes, CHUNK_BYTES):
        os.pwrite(file, data, offset)
