"""A manifest verifies exactly the pieces it was made from, and nothing malformed becomes one."""

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from p2p_client.content.manifest import (
    MOST_PIECES,
    SMALLEST_PIECE_BYTES,
    Hashing,
    Manifest,
    ManifestInvalid,
    PieceIndex,
    piece_size_of,
)

MIB = 1 << 20


def manifest_of(content: bytes) -> tuple[str, Manifest]:
    hashing = Hashing(len(content))
    hashing.update(content)
    return hashing.finish()


@pytest.mark.parametrize(
    ("size_bytes", "piece_size_bytes"),
    [
        (0, MIB),
        (1, MIB),
        (64 << 30, MIB),
        ((64 << 30) + 1, 2 * MIB),
        (1 << 40, 16 * MIB),
        ((1 << 63) - 1, 1 << 47),
    ],
)
def test_the_piece_size_follows_from_the_size(size_bytes: int, piece_size_bytes: int) -> None:
    assert piece_size_of(size_bytes) == piece_size_bytes


@given(st.integers(min_value=0, max_value=(1 << 63) - 1))
def test_no_content_has_too_many_pieces(size_bytes: int) -> None:
    piece_size_bytes = piece_size_of(size_bytes)

    assert -(-size_bytes // piece_size_bytes) <= MOST_PIECES
    assert (
        piece_size_bytes == SMALLEST_PIECE_BYTES or size_bytes > piece_size_bytes // 2 * MOST_PIECES
    )


@pytest.mark.parametrize("size_bytes", [0, 1, MIB - 1, MIB, MIB + 1, 3 * MIB + MIB // 2])
def test_digests_are_those_of_the_bytes(size_bytes: int) -> None:
    content = bytes(number * 131 % 251 for number in range(997)) * (size_bytes // 997 + 1)
    content = content[:size_bytes]

    digest, manifest = manifest_of(content)

    assert digest == blake3(content).hexdigest()
    assert manifest.piece_count == -(-size_bytes // MIB)
    for index in manifest.indices():
        offset, length = manifest.span(index)
        piece = content[offset : offset + length]
        assert manifest.digest_of(index) == blake3(piece).digest()


@given(st.lists(st.integers(min_value=1, max_value=MIB), max_size=6))
def test_how_the_bytes_are_cut_makes_no_difference(lengths: list[int]) -> None:
    content = b"\x5a" * sum(lengths)
    hashing = Hashing(len(content))

    at = 0
    for length in lengths:
        hashing.update(content[at : at + length])
        at += length

    assert hashing.finish() == manifest_of(content)


def test_a_content_that_changed_its_length_is_noticed() -> None:
    hashing = Hashing(10)
    hashing.update(b"123456789")

    with pytest.raises(ManifestInvalid, match="9 bytes came, 10"):
        hashing.finish()


def test_the_canonical_bytes_are_written_down() -> None:
    """The golden vector of docs/protocol.md: change neither."""
    _, manifest = manifest_of(b"abc")

    assert manifest.canonical_bytes().hex() == (
        "7032702e76312e4d616e696665737400"  # "p2p.v1.Manifest\0"
        "0000000000000003"
        "0000000000100000"
        "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85"
    )
    assert manifest.digest() == ("1174b28416b3e7d6dc0ae7483df08bc1e1fb4433b610f5a8edc146899b9ebcfb")


@pytest.mark.parametrize(
    ("size_bytes", "piece_size_bytes", "digest_bytes"),
    [
        (-1, MIB, 0),
        (1 << 63, 1 << 47, 0),
        (5, 0, 32),
        (5, 3, 64),
        (5, 2 * MIB, 32),
        (5, MIB, 31),
        (5, MIB, 64),
        (0, MIB, 32),
        (MIB + 1, MIB, 32),
    ],
)
def test_what_is_not_consistent_is_no_manifest(
    size_bytes: int, piece_size_bytes: int, digest_bytes: int
) -> None:
    with pytest.raises(ManifestInvalid):
        Manifest(size_bytes, piece_size_bytes, bytes(digest_bytes))


def test_a_piece_out_of_range_is_refused() -> None:
    _, manifest = manifest_of(b"abc")

    with pytest.raises(IndexError):
        manifest.span(PieceIndex(1))
