"""The journal of a part file: which of its pieces were verified and are safely on disk.

Written only after the data it speaks of is durable, and replaced as a whole, so it never claims
what isn't there. What is read back is nobody's word but the disk's: one flipped bit anywhere and it
counts as lost. It need not be secret or signed, for the digest of the whole decides in the end.

Layout, integers big-endian:
    magic              16 bytes, "p2p.journal.v1\\0\\0"
    digest             32 bytes
    manifest digest    32 bytes
    size               8 bytes, of the content
    device, inode      8 bytes each, of the part file
    pieces             4 bytes, how many the content has
    map                one bit a piece, padded to bytes; see PieceMap
    check              32 bytes, BLAKE3 of all before
"""

import contextlib
import os
import stat
import struct

from blake3 import blake3

from p2p_client.content.manifest import (
    HASH_BYTES,
    LARGEST_CONTENT_BYTES,
    MOST_PIECES,
    piece_size_of,
)
from p2p_client.content.piece_map import PieceMap
from p2p_client.download.place.place import Place
from p2p_client.models import Digest, ManifestDigest
from p2p_client.records import dataclass

_MAGIC = b"p2p.journal.v1\0\0"
_HEAD = struct.Struct(">16s32s32sQQQI")
_LARGEST_BYTES = _HEAD.size + MOST_PIECES // 8 + HASH_BYTES
_NEW_SUFFIX = ".new"


class JournalInvalid(ValueError):
    """These bytes are not a journal, or not all of one."""


@dataclass(frozen=True, slots=True)
class Journal:
    """What a journal says; `device` and `inode` are those of the part file."""

    digest: Digest
    manifest_digest: ManifestDigest
    size_bytes: int
    device: int
    inode: int
    held: bytes  # the map's bytes; their number follows from size_bytes

    def held_map(self) -> PieceMap:
        return PieceMap.from_bytes(piece_count(self.size_bytes), self.held)


def piece_count(size_bytes: int) -> int:
    return -(-size_bytes // piece_size_of(size_bytes))


def encode(journal: Journal) -> bytes:
    head = _HEAD.pack(
        _MAGIC,
        bytes.fromhex(journal.digest),
        bytes.fromhex(journal.manifest_digest),
        journal.size_bytes,
        journal.device,
        journal.inode,
        piece_count(journal.size_bytes),
    )
    body = head + journal.held
    return body + blake3(body).digest()


def parse(encoded: bytes) -> Journal:
    """Raises JournalInvalid for anything but what `encode` made, whole and unaltered."""
    if not _HEAD.size + HASH_BYTES <= len(encoded) <= _LARGEST_BYTES:
        raise JournalInvalid(f"a journal is not {len(encoded)} bytes long")
    body, check = encoded[:-HASH_BYTES], encoded[-HASH_BYTES:]
    if blake3(body).digest() != check:
        raise JournalInvalid("the check does not fit")
    magic, digest, manifest_digest, size_bytes, device, inode, pieces = _HEAD.unpack_from(body)
    if magic != _MAGIC or size_bytes > LARGEST_CONTENT_BYTES or pieces != piece_count(size_bytes):
        raise JournalInvalid("the numbers do not make a journal")
    journal = Journal(
        Digest(digest.hex()),
        ManifestDigest(manifest_digest.hex()),
        size_bytes,
        device,
        inode,
        body[_HEAD.size :],
    )
    try:
        journal.held_map()
    except ValueError as error:
        raise JournalInvalid(str(error)) from None
    return journal


@dataclass(frozen=True, slots=True)
class JournalFile:
    """The journal under its bare name in the place's folder. Methods block."""

    place: Place
    name: str

    def load(self) -> Journal | None:
        """The journal there; None: none, not ours, not a plain file, or damaged."""
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            fd = os.open(self.name, flags, dir_fd=self.place.folder_fd)
        except OSError:
            return None
        try:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
                return None
            return parse(os.read(fd, _LARGEST_BYTES + 1))
        except (OSError, JournalInvalid):
            return None
        finally:
            os.close(fd)

    def save(self, journal: Journal) -> None:
        """Replaces the journal, durably and as a whole; the caller made the data durable before.

        Raises OSError, with the old journal in place.
        """
        new = self.name + _NEW_SUFFIX
        self._unlink(new)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(new, flags, 0o600, dir_fd=self.place.folder_fd)
        try:
            _write_all(fd, encode(journal))
            os.fsync(fd)
            folder = self.place.folder_fd
            os.replace(new, self.name, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            self._unlink(new)
            raise
        finally:
            os.close(fd)

    def remove(self) -> None:
        self._unlink(self.name)
        self._unlink(self.name + _NEW_SUFFIX)

    def _unlink(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self.place.folder_fd)


def _write_all(fd: int, encoded: bytes) -> None:
    view = memoryview(encoded)
    while view:
        view = view[os.write(fd, view) :]
