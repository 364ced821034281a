"""The hash cache: which file, by its signature, has which content; and the manifests.

Only a cache: when it is damaged it is set aside and built anew, when it cannot be written the
library goes on without. All methods block; call them from threads, several at once if you like.
"""

import contextlib
import os
import struct
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import apsw

from p2p_client.content.manifest import HASH_BYTES, Manifest, ManifestInvalid, piece_size_of
from p2p_client.library.disk.files import Location, Signature
from p2p_client.library.disk.hash import Hashed
from p2p_client.models import Digest, ManifestDigest

Known = tuple[Digest, ManifestDigest]
T = TypeVar("T")

_SCHEMA_VERSION = 1
_KEPT_DAYS = 180  # an unused entry; a disk may be away for a while
_BUSY_MILLISECONDS = 2_000
_DAY_SECONDS = 86_400
_SIGNATURE = struct.Struct("<qqqQQ")  # inode and device may exceed SQLite's signed integers
_SCHEMA = f"""
    CREATE TABLE files (
        path BLOB PRIMARY KEY, signature BLOB NOT NULL, digest BLOB NOT NULL,
        manifest_digest BLOB NOT NULL, used_day INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE manifests (digest BLOB PRIMARY KEY, piece_digests BLOB NOT NULL);
    PRAGMA user_version = {_SCHEMA_VERSION};
"""
_DAMAGE = (apsw.CorruptError, apsw.NotADBError, apsw.SQLError, apsw.FormatError)


class HashCache:
    """Opened with the first use.

    Args:
        on_trouble: told one sentence, from the calling thread, once per kind of trouble.
    """

    def __init__(self, file: Path, on_trouble: Callable[[str], None]) -> None:
        self._file = file
        self._on_trouble = on_trouble
        self._guard = threading.Lock()
        self._connection: apsw.Connection | None = None
        self._is_given_up = False
        self._has_complained = False

    def lookup(self, wanted: Sequence[tuple[Location, Signature]]) -> list[Known | None]:
        """What each file is known to be; None: not known under this signature."""

        def work(connection: apsw.Connection) -> list[Known | None]:
            return [_row_of(connection, location, signature) for location, signature in wanted]

        return self._run(work, [None] * len(wanted))

    def store(self, hashed: Sequence[Hashed]) -> None:
        today = _today()

        def work(connection: apsw.Connection) -> None:
            with connection:
                connection.executemany(
                    "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?)",
                    [_row_for(item, today) for item in hashed],
                )
                connection.executemany(
                    "INSERT OR REPLACE INTO manifests VALUES (?, ?)",
                    [(bytes.fromhex(h.digest), h.manifest.piece_digests) for h in hashed],
                )

        self._run(work, None)

    def forget(self, location: Location) -> None:
        """What is known of the file is doubtful."""

        def work(connection: apsw.Connection) -> None:
            with connection:
                key = os.fsencode(location.disk_path)
                connection.execute("DELETE FROM files WHERE path = ?", (key,))

        self._run(work, None)

    def manifest(
        self, digest: Digest, size_bytes: int, expected: ManifestDigest
    ) -> Manifest | None:
        """None: not here, or not as expected."""

        def work(connection: apsw.Connection) -> object:
            row = connection.execute(
                "SELECT piece_digests FROM manifests WHERE digest = ?", (bytes.fromhex(digest),)
            ).fetchone()
            return row[0] if row else None

        pieces = self._run(work, None)
        if not isinstance(pieces, bytes):
            return None
        with contextlib.suppress(ManifestInvalid):
            manifest = Manifest(size_bytes, piece_size_of(size_bytes), pieces)
            return manifest if manifest.digest() == expected else None
        return None

    def close(self) -> None:
        with self._guard:
            self._is_given_up = True
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _run(self, work: Callable[[apsw.Connection], T], otherwise: T) -> T:
        with self._guard:
            if self._is_given_up:
                return otherwise
            try:
                if self._connection is None:
                    self._connection = self._open()
                return work(self._connection)
            except _DAMAGE:
                self._set_aside()
            except (apsw.Error, OSError) as error:
                self._complain(f"the hash cache cannot be used now, going on without: {error}")
            return otherwise

    def _open(self) -> apsw.Connection:
        os.close(os.open(self._file, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
        connection = apsw.Connection(str(self._file))
        try:
            connection.set_busy_timeout(_BUSY_MILLISECONDS)
            connection.pragma("journal_mode", "wal")
            connection.pragma("synchronous", 1)  # NORMAL: losing the last hashes costs little
            version = connection.pragma("user_version")
            if version == 0:
                with connection:
                    connection.execute(_SCHEMA)
            elif version != _SCHEMA_VERSION:
                raise apsw.FormatError("made by another version")
            _prune(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _set_aside(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        aside = self._file.with_name(f"{self._file.name}.damaged")
        try:
            self._file.replace(aside)
            for suffix in ("-wal", "-shm"):
                self._file.with_name(self._file.name + suffix).unlink(missing_ok=True)
        except OSError as error:
            self._is_given_up = True
            self._complain(f"the hash cache is damaged and cannot be set aside: {error.strerror}")
        else:
            self._on_trouble(
                f"the hash cache was damaged: set aside as {aside.name}, files are hashed again"
            )

    def _complain(self, text: str) -> None:
        if not self._has_complained:
            self._has_complained = True
            self._on_trouble(text)


def _row_of(connection: apsw.Connection, location: Location, signature: Signature) -> Known | None:
    key = os.fsencode(location.disk_path)
    row = connection.execute(
        "SELECT signature, digest, manifest_digest, used_day FROM files WHERE path = ?", (key,)
    ).fetchone()
    if row is None or row[0] != _packed(signature):
        return None
    digest, manifest_digest = row[1], row[2]
    if not all(isinstance(d, bytes) and len(d) == HASH_BYTES for d in (digest, manifest_digest)):
        return None
    if row[3] != _today():
        connection.execute("UPDATE files SET used_day = ? WHERE path = ?", (_today(), key))
    return Digest(digest.hex()), ManifestDigest(manifest_digest.hex())


def _row_for(hashed: Hashed, today: int) -> tuple[bytes, bytes, bytes, bytes, int]:
    return (
        os.fsencode(hashed.location.disk_path),
        _packed(hashed.signature),
        bytes.fromhex(hashed.digest),
        bytes.fromhex(hashed.resource.manifest_digest),
        today,
    )


def _packed(signature: Signature) -> bytes:
    return _SIGNATURE.pack(
        signature.size_bytes,
        signature.mtime_ns,
        signature.ctime_ns,
        signature.inode,
        signature.device,
    )


def _prune(connection: apsw.Connection) -> None:
    with connection:
        connection.execute("DELETE FROM files WHERE used_day < ?", (_today() - _KEPT_DAYS,))
        if connection.changes():
            connection.execute(
                "DELETE FROM manifests WHERE digest NOT IN (SELECT digest FROM files)"
            )


def _today() -> int:
    return int(time.time() // _DAY_SECONDS)
