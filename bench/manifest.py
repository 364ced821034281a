"""What does a manifest of the largest number of pieces cost, at each thing that is done with one?

64 GiB are 65,536 pieces of 1 MiB, the most there are: 2 MiB of digests. No piece is hashed here
besides the one in `match a piece`, which is 1 MiB and costs one BLAKE3.
"""

import os
import statistics
import time
from collections.abc import Callable

from blake3 import blake3

from bench.support.question import Answer, Options, size_name, table
from p2p.v1 import types_pb2
from p2p_client.content.manifest import HASH_BYTES, Manifest, PieceIndex, piece_size_of
from p2p_client.content.piece_map import PieceMap

SIZE_BYTES = 64 << 30
QUICK_BYTES = 1 << 30
RUNS = 20


def measure(options: Options) -> Answer:
    size_bytes = options.size(SIZE_BYTES, QUICK_BYTES)
    piece_size_bytes = piece_size_of(size_bytes)
    digests = os.urandom(size_bytes // piece_size_bytes * HASH_BYTES)
    manifest = Manifest(size_bytes, piece_size_bytes, digests)
    twin = Manifest(size_bytes, piece_size_bytes, bytes(bytearray(digests)))
    wire = _encoded(manifest)
    piece = os.urandom(piece_size_bytes)
    steps: dict[str, Callable[[], object]] = {
        "build from digests": lambda: Manifest(size_bytes, piece_size_bytes, digests),
        "encode": lambda: _encoded(manifest),
        "parse": lambda: _parsed(wire),
        "digest": manifest.digest,
        "compare with an equal one": lambda: manifest == twin,
        "span of every piece": lambda: [manifest.span(index) for index in manifest.indices()],
        "match a piece": lambda: blake3(piece).digest() == manifest.digest_of(PieceIndex(0)),
        "map of its pieces": lambda: PieceMap(manifest.piece_count),
    }
    rows = []
    for name, step in steps.items():
        took = _milliseconds(step, max(options.runs, RUNS))
        rows.append([name, f"{statistics.median(took):.3f}", f"{max(took):.3f}"])
    about = f"manifest of {size_name(size_bytes)}: {manifest.piece_count:,} pieces"
    return Answer(table([f"{about}, {len(wire):,} bytes", "median ms", "worst ms"], rows))


def _encoded(manifest: Manifest) -> bytes:
    return types_pb2.Manifest(
        size_bytes=manifest.size_bytes,
        piece_size_bytes=manifest.piece_size_bytes,
        piece_digests=manifest.piece_digests,
    ).SerializeToString()


def _parsed(wire: bytes) -> Manifest:
    found = types_pb2.Manifest.FromString(wire)
    return Manifest(found.size_bytes, found.piece_size_bytes, found.piece_digests)


def _milliseconds(step: Callable[[], object], runs: int) -> list[float]:
    took = []
    for _ in range(runs):
        begun = time.perf_counter()
        step()
        took.append(1e3 * (time.perf_counter() - begun))
    return took
