"""Transfers between programs: a content large enough to interrupt, how far it is, what is left."""

from pathlib import Path

from blake3 import blake3
from tests.support.programs.processes import Program

MIB = 1 << 20
BIG_BYTES = 192 * MIB


def digest_of(content: bytes) -> str:
    return f"b3:{blake3(content).hexdigest()}"


LIMITED = ("--limit-up", "100MB")
"""For a share: nobody has fetched `big_content` before a test can see that it is half way."""


def big_content(seed: int = 0) -> bytes:
    """Pieces that all differ, so that a swapped one would be noticed."""
    block = bytes(range(256)) * 4096
    return b"".join(
        (seed * 1000 + number).to_bytes(8, "big") + block[8:] for number in range(BIG_BYTES // MIB)
    )


def strays(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if "p2p-" in path.name]


def half_way(get: Program, share: float = 0.4) -> None:
    get.wait_for_event(
        "progress", where=lambda event: event["verified_bytes"] >= share * event["size_bytes"]
    )
