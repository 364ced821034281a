"""What does each stage of a transfer cost alone, so which is the next bottleneck?

A download cannot be faster than its slowest stage where the stages run side by side, nor use less
CPU time than all of them together. BLAKE3 runs twice over what is downloaded: over each piece, and
over the whole. The gRPC stages are wire (and TLS) and gRPC together, with no disk at either end and
with the channel options of real transfers.
"""

import statistics
import sys
import tempfile
from pathlib import Path

from bench.stages import disk, wire
from bench.stages.stage import Stage, Took
from bench.support.files import digest_of, make_file
from bench.support.question import MIB, Answer, Options, size_name, table


def measure(options: Options) -> Answer:
    size_bytes = options.size(1 << 30, 32 * MIB)
    with tempfile.TemporaryDirectory(prefix="p2p-bench-", dir=options.folder) as scratch:
        folder = Path(scratch)
        original = make_file(folder / "original.bin", size_bytes)
        digest_of(original)
        with wire.stages(size_bytes, folder / "key") as wires:
            found = _in_turns([*disk.stages(original, folder), *wires], options.runs)
    return Answer(_table_of(size_bytes, found))


def _in_turns(stages: list[Stage], runs: int) -> dict[str, list[Took]]:
    found: dict[str, list[Took]] = {stage.name: [] for stage in stages}
    for number in range(runs + 1):
        for stage in stages:
            took = stage.run()
            print(f"{stage.name:40} {took.seconds:7.3f}", file=sys.stderr)
            if number:
                found[stage.name].append(took)
    return found


def _table_of(size_bytes: int, found: dict[str, list[Took]]) -> str:
    rows = []
    for name, runs in found.items():
        seconds = statistics.median(took.seconds for took in runs)
        sending = statistics.median(took.sending_cpu_seconds for took in runs)
        taking = statistics.median(took.taking_cpu_seconds for took in runs)
        rows.append(
            [
                *(name, f"{seconds:.3f}", f"{size_bytes / seconds / 1e6:.0f}"),
                *(f"{cpu:.2f}" if cpu else "–" for cpu in (sending, taking)),
            ]
        )
    head = [f"stage, {size_name(size_bytes)} in chunks of 1 MiB", "median s", "MB/s"]
    return table([*head, "CPU s sending", "CPU s taking"], rows)
