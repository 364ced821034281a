"""Digests, manifests and piece sizes."""

from blake3 import blake3
from tools.vectors.base import MIB, Case, content


def piece_size(size_bytes: int) -> int:
    size = MIB
    while -(-size_bytes // size) > 65_536:
        size *= 2
    return size


def manifest_case(name: str, data: bytes, **rule: object) -> Case:
    size = piece_size(len(data))
    pieces = [blake3(data[at : at + size]).digest() for at in range(0, len(data), size)]
    head = b"p2p.v1.Manifest\0" + len(data).to_bytes(8, "big") + size.to_bytes(8, "big")
    canonical = head + b"".join(pieces)
    return {
        "name": name,
        **rule,
        "size_bytes": len(data),
        "digest": blake3(data).hexdigest(),
        "piece_size_bytes": size,
        "piece_digests": [piece.hex() for piece in pieces],
        "canonical_hex": canonical.hex(),
        "manifest_digest": blake3(canonical).hexdigest(),
    }


def contents() -> Case:
    sizes = {
        "empty": 0,
        "one byte": 1,
        "a piece less one byte": MIB - 1,
        "a piece": MIB,
        "a piece and one byte": MIB + 1,
        "two pieces": 2 * MIB,
        "many pieces": 7 * MIB + 12_345,
    }
    return {
        "about": "byte i of each content is (i * 31 + 7) mod 251; where `text` stands, it is the "
        "content. All digests are BLAKE3, in hex.",
        "cases": [
            manifest_case("three letters", b"abc", text="abc"),
            *(manifest_case(name, content(size)) for name, size in sizes.items()),
        ],
    }


def piece_sizes() -> Case:
    largest = 65_536 * MIB  # with pieces of 1 MiB
    sizes = [0, 1, MIB, MIB + 1, largest - 1, largest, largest + 1, 2 * largest, 2 * largest + 1]
    return {
        "about": "The piece size that follows from a size, and the number of pieces.",
        "cases": [
            {
                "size_bytes": str(size),
                "piece_size_bytes": str(piece_size(size)),
                "pieces": -(-size // piece_size(size)),
            }
            for size in [*sizes, 16 * largest, 16 * largest + 1, (1 << 63) - 1]
        ],
        "note": "Numbers are strings where they are too large for a JSON number in some languages.",
    }
