"""Manifests: how a content is verified piece by piece, and their canonical bytes.

A manifest proves nothing by itself. It says which pieces belong together; only the digest of the
whole says that they are the content asked for.
"""

from collections.abc import Iterator
from typing import NewType

from blake3 import blake3

from p2p_client.models import Digest, ManifestDigest
from p2p_client.records import dataclass

PieceIndex = NewType("PieceIndex", int)

SMALLEST_PIECE_BYTES = 1 << 20
MOST_PIECES = 65_536
HASH_BYTES = 32
LARGEST_CONTENT_BYTES = (1 << 63) - 1
_MAGIC = b"p2p.v1.Manifest\0"


class ManifestInvalid(ValueError):
    """The numbers and bytes do not make a manifest; the text says which."""


def piece_size_of(size_bytes: int) -> int:
    """The piece size of a content: 1 MiB, doubled until there are at most 65,536 pieces."""
    piece_size_bytes = SMALLEST_PIECE_BYTES
    while size_bytes > piece_size_bytes * MOST_PIECES:
        piece_size_bytes *= 2
    return piece_size_bytes


@dataclass(frozen=True, slots=True)
class Manifest:
    """Size, piece size and piece digests of one content; consistent by construction.

    Raises:
        ManifestInvalid: a negative or absurd size, a piece size other than the one that follows
            from the size, or piece digests of the wrong length.
    """

    size_bytes: int
    piece_size_bytes: int
    piece_digests: bytes  # 32 bytes a piece, one after another

    def __post_init__(self) -> None:
        if not 0 <= self.size_bytes <= LARGEST_CONTENT_BYTES:
            raise ManifestInvalid(f"a content cannot be {self.size_bytes} bytes long")
        wanted = piece_size_of(self.size_bytes)
        if self.piece_size_bytes != wanted:
            raise ManifestInvalid(
                f"pieces of {self.piece_size_bytes} bytes where {wanted} follows from the size"
            )
        if len(self.piece_digests) != self.piece_count * HASH_BYTES:
            raise ManifestInvalid(
                f"{len(self.piece_digests)} bytes of piece digests for {self.piece_count} pieces"
            )

    @property
    def piece_count(self) -> int:
        return -(-self.size_bytes // self.piece_size_bytes)

    def span(self, index: PieceIndex) -> tuple[int, int]:
        """Offset and length in bytes of one piece."""
        if not 0 <= index < self.piece_count:
            raise IndexError(f"piece {index} of {self.piece_count}")
        offset = index * self.piece_size_bytes
        return offset, min(self.piece_size_bytes, self.size_bytes - offset)

    def digest_of(self, index: PieceIndex) -> bytes:
        """The BLAKE3 of that piece."""
        return self.piece_digests[index * HASH_BYTES : (index + 1) * HASH_BYTES]

    def indices(self) -> Iterator[PieceIndex]:
        return map(PieceIndex, range(self.piece_count))

    def canonical_bytes(self) -> bytes:
        """The bytes whose BLAKE3 is the manifest digest; layout in docs/protocol.md."""
        return b"".join(
            (
                _MAGIC,
                self.size_bytes.to_bytes(8, "big"),
                self.piece_size_bytes.to_bytes(8, "big"),
                self.piece_digests,
            )
        )

    def digest(self) -> ManifestDigest:
        return ManifestDigest(blake3(self.canonical_bytes()).hexdigest())


class Hashing:
    """Digest and manifest of a content in one pass over its bytes.

    The size must be known beforehand, for it decides the piece size; a content that turns out
    shorter or longer changed while it was read.
    """

    def __init__(self, size_bytes: int) -> None:
        self._size_bytes = size_bytes
        self._piece_size_bytes = piece_size_of(size_bytes)
        self._whole = blake3()
        self._piece = blake3()
        self._in_piece_bytes = 0
        self._digests = bytearray()
        self._seen_bytes = 0

    def update(self, data: bytes | memoryview) -> None:
        """Takes the next bytes, of any length. Cost: two BLAKE3 passes, GIL released in each."""
        self._whole.update(data)
        self._seen_bytes += len(data)
        view = memoryview(data)
        while view:
            part = view[: self._piece_size_bytes - self._in_piece_bytes]
            self._piece.update(part)
            self._in_piece_bytes += len(part)
            view = view[len(part) :]
            if self._in_piece_bytes == self._piece_size_bytes:
                self._close_piece()

    def finish(self) -> tuple[Digest, Manifest]:
        """Raises ManifestInvalid when other than the expected number of bytes came."""
        if self._seen_bytes != self._size_bytes:
            raise ManifestInvalid(
                f"{self._seen_bytes} bytes came, {self._size_bytes} were expected"
            )
        if self._in_piece_bytes:
            self._close_piece()
        manifest = Manifest(self._size_bytes, self._piece_size_bytes, bytes(self._digests))
        return Digest(self._whole.hexdigest()), manifest

    def _close_piece(self) -> None:
        self._digests += self._piece.digest()
        self._piece = blake3()
        self._in_piece_bytes = 0
