"""Digest and manifest of files on disk, in one pass, sure of what was read.

A file is hashed only when its ctime is older than the finest step of its file system's clock: of a
file written in this very tick, a later write could leave no trace in the signature.
"""

import mimetypes
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime

from p2p_client.content.manifest import Hashing, Manifest, ManifestInvalid
from p2p_client.library.disk.files import Location, NotAFile, Signature, open_file
from p2p_client.models import Digest, ManifestDigest, Resource
from p2p_client.records import dataclass

READ_BYTES = 1 << 20
_NS = 1_000_000_000
_TICK_NS = 50_000_000  # kernels stamp with a clock of 1 to 10 ms
_COARSE_TICK_NS = 2_100_000_000  # FAT and some network disks: whole seconds, or two
_ARCHIVES = {"gzip": "application/gzip", "bzip2": "application/x-bzip2", "xz": "application/x-xz"}
_MOST_TYPE_BYTES = 127


@dataclass(frozen=True, slots=True)
class Hashed:
    """The file had this content as long as it has this signature."""

    path: str
    location: Location
    signature: Signature
    digest: Digest
    manifest: Manifest
    resource: Resource


@dataclass(frozen=True, slots=True)
class Unsteady:
    """It changed while it was read; again later."""

    path: str


@dataclass(frozen=True, slots=True)
class Gone:
    path: str


@dataclass(frozen=True, slots=True)
class Unreadable:
    path: str
    why: str


Outcome = Hashed | Unsteady | Gone | Unreadable


def hash_files(
    files: Sequence[tuple[str, Location]],
    stop: threading.Event,
    on_bytes: Callable[[int], None],
) -> list[Outcome]:
    """One outcome per file, fewer when stopped. Blocks; for a thread.

    Args:
        files: listed path and location of each.
        on_bytes: told from this thread how many bytes were hashed since it was last told.
    """
    outcomes: list[Outcome] = []
    for path, location in files:
        outcome = hash_file(path, location, stop, on_bytes)
        if outcome is None:
            break
        outcomes.append(outcome)
    return outcomes


def hash_file(
    path: str, location: Location, stop: threading.Event, on_bytes: Callable[[int], None]
) -> Outcome | None:
    """None: stopped."""
    try:
        descriptor = open_file(location)
    except (FileNotFoundError, NotADirectoryError, NotAFile):
        return Gone(path)
    except OSError as error:
        return Unreadable(path, f"cannot be read: {error.strerror}")
    try:
        return _hash_open(path, location, descriptor, stop, on_bytes)
    except OSError as error:
        return Unreadable(path, f"cannot be read: {error.strerror}")
    finally:
        os.close(descriptor)


def _hash_open(
    path: str,
    location: Location,
    descriptor: int,
    stop: threading.Event,
    on_bytes: Callable[[int], None],
) -> Outcome | None:
    before = _aged(descriptor, stop)
    if before is None:
        return None if stop.is_set() else Unsteady(path)
    hashing = Hashing(before.size_bytes)
    for _ in _read_into(descriptor, before.size_bytes, hashing, on_bytes):
        if stop.is_set():
            return None
    if Signature.of(os.fstat(descriptor)) != before:
        return Unsteady(path)
    try:
        digest, manifest = hashing.finish()
    except ManifestInvalid:
        return Unsteady(path)
    resource = resource_of(path, before, digest, manifest.digest())
    return Hashed(path, location, before, digest, manifest, resource)


def _read_into(
    descriptor: int, size_bytes: int, hashing: Hashing, on_bytes: Callable[[int], None]
) -> Iterator[None]:
    """Yields after every read; ends at the end of the file, or past the size that it had."""
    offset = 0
    while offset <= size_bytes:
        data = os.pread(descriptor, READ_BYTES, offset)
        if not data:
            return
        hashing.update(data)
        on_bytes(len(data))
        offset += len(data)
        yield


def _aged(descriptor: int, stop: threading.Event) -> Signature | None:
    """The signature, once it is old enough to betray any later write; None: it does not get old."""
    for _ in range(2):
        signature = Signature.of(os.fstat(descriptor))
        tick_ns = _TICK_NS if signature.ctime_ns % _NS else _COARSE_TICK_NS
        age_ns = time.time_ns() - signature.ctime_ns
        if age_ns >= tick_ns:
            return signature
        # A ctime ahead of our clock (a network disk's) can only be waited on, not judged.
        stop.wait(min(tick_ns - age_ns, tick_ns) / _NS)
        if stop.is_set():
            return None
        if age_ns < 0:
            return signature if Signature.of(os.fstat(descriptor)) == signature else None
    return None


def resource_of(
    path: str, signature: Signature, digest: Digest, manifest_digest: ManifestDigest
) -> Resource:
    return Resource(
        path=path,
        size_bytes=signature.size_bytes,
        digest=digest,
        manifest_digest=manifest_digest,
        modified_at=_instant(signature.mtime_ns),
        media_type=media_type_of(path.rpartition("/")[2]),
    )


def media_type_of(name: str) -> str:
    """Guessed by the name alone; empty: unknown. A compressed file is what compressed it."""
    kind, encoding = mimetypes.guess_type(f"./{name}")  # ./: a name may look like a URL
    if encoding is not None:
        kind = _ARCHIVES.get(encoding)
    return kind if kind and len(kind) <= _MOST_TYPE_BYTES else ""


def _instant(mtime_ns: int) -> datetime:
    """The disk may hold times that a calendar cannot: these become the epoch."""
    try:
        whole = datetime.fromtimestamp(mtime_ns // _NS, UTC)
    except (OverflowError, ValueError, OSError):
        return datetime.fromtimestamp(0, UTC)
    return whole.replace(microsecond=mtime_ns % _NS // 1000)
