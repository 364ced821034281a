"""How much memory does a sharer hold that serves sixteen at once?

Sixteen users fetch one content of 256 MiB from one sharer, each with a process of its own: once as
fast as all can, once at a limited rate each, so that all streams stand open for the whole time and
their readers are slow. The peak is of the sharer's whole life, hashing included. Every copy is
compared with the original.
"""

import contextlib
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from bench.contenders.ours import quiet_network
from bench.support.files import check_same, digest_of, emptied, make_file
from bench.support.processes import peak_mib
from bench.support.question import MIB, Answer, Options, size_name, table

USER_COUNT = 16
QUICK_USER_COUNT = 4
SLOW_RATE = "10MB"
END_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Case:
    name: str
    arguments: tuple[str, ...]
    is_insecure: bool


CASES = (
    Case("as fast as they can, TLS", (), False),
    Case("as fast as they can, `--insecure`", (), True),
    Case(f"each at {SLOW_RATE}/s, TLS", ("--limit-down", SLOW_RATE), False),
)


def measure(options: Options) -> Answer:
    user_count = QUICK_USER_COUNT if options.quick else USER_COUNT
    size_bytes = options.size(256 * MIB, 16 * MIB)
    rows, peaks = [], []
    with tempfile.TemporaryDirectory(prefix="p2p-bench-", dir=options.folder) as scratch:
        file = make_file(Path(scratch, "content.bin"), size_bytes)
        for number, case in enumerate(CASES):
            folder = Path(scratch, str(number))
            idle_mib, peak = _serve(folder, file, user_count, case)
            emptied(folder)
            print(f"{case.name}: {peak:.0f} MiB", file=sys.stderr)
            rows.append([case.name, f"{idle_mib:.0f} MiB", f"{peak:.0f} MiB"])
            peaks.append(peak)
    head = [
        f"a sharer serves {user_count} × {size_name(size_bytes)} at once",
        "peak before",
        "peak",
    ]
    return Answer(table(head, rows), {"sharer-memory": max(peaks)})


def _serve(folder: Path, file: Path, user_count: int, case: Case) -> tuple[float, float]:
    """The sharer's peak when it was ready, and after all have fetched."""
    digest = digest_of(file)
    with contextlib.ExitStack() as stack:
        network = stack.enter_context(quiet_network(folder))
        network.directory(insecure=case.is_insecure)
        sharer = network.user("sharer").share(file, within_seconds=120).program
        idle_mib = peak_mib(sharer.pid)
        users = [network.user(f"user{number}") for number in range(user_count)]
        gets = [user.start("get", f"b3:{digest}", "-o", "copy", *case.arguments) for user in users]
        for get in gets:
            assert get.wait(within_seconds=END_SECONDS).ok
        peak = peak_mib(sharer.pid)
        for user in users:
            check_same(user.name, user.folder / "copy", digest)
    return idle_mib, peak
