"""Reading one piece of a shared file again, because somebody says that it is not what it was.

A disk that rots, or a write that leaves no trace in a file's times, is seen by the bytes alone.
"""

from blake3 import blake3

from p2p_client.content.manifest import Manifest, PieceIndex
from p2p_client.library.disk.files import Location, Signature
from p2p_client.library.disk.reading.hashed import HashedFile
from p2p_client.library.errors import ContentChanged, ContentUnreadable

READ_BYTES = 1 << 20


def has_piece(
    location: Location, signature: Signature, manifest: Manifest, index: PieceIndex
) -> bool:
    """Whether the file has the piece as the manifest has it; a file that cannot be read now is
    given the benefit of the doubt. Blocks; for a thread."""
    try:
        file = HashedFile(location, signature)
    except ContentChanged:
        return False
    except ContentUnreadable:
        return True
    try:
        return _digest_of(file, *manifest.span(index)) == manifest.digest_of(index)
    except ContentChanged:
        return False
    except ContentUnreadable:
        return True
    finally:
        file.close()


def _digest_of(file: HashedFile, offset: int, length: int) -> bytes:
    hasher, end = blake3(), offset + length
    while offset < end:
        data = file.read(offset, min(READ_BYTES, end - offset))
        hasher.update(data)
        offset += len(data)
    return hasher.digest()
