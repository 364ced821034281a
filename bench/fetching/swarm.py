"""How long do many take to fetch one file from one capped seeder at the same time?

Real processes over loopback: a directory, `share --limit-up`, and `get --seed` of each user, all
started at once. One copy takes the seeder its size divided by its rate; were it asked for all by
everybody, all would be done after as many times that as there are users. What each passed on is
what it said itself when it stopped. Every copy is compared with the original.
"""

import statistics
import sys
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.programs.network import User
from tests.support.programs.processes import Program

from bench.contenders.ours import quiet_network
from bench.support.files import check_same, digest_of, emptied, make_file
from bench.support.question import Answer, Options, table

MB = 10**6
MOST_RUNS = 3
WHOLE = (6, 200 * MB, 25)  # users, bytes, the seeder's MB a second
QUICK = (3, 20 * MB, 10)


@dataclass(frozen=True, slots=True)
class Swarm:
    user_count: int
    size_bytes: int
    limit_mb: int
    is_insecure: bool

    @property
    def one_copy_seconds(self) -> float:
        return self.size_bytes / (self.limit_mb * MB)


@dataclass(frozen=True, slots=True)
class Part:
    """What one peer of the swarm did; the seeder fetched nothing."""

    name: str
    seconds: float
    fetched_bytes: int
    uploaded_bytes: int


def measure(options: Options) -> Answer:
    runs = min(options.runs, MOST_RUNS)
    tables, figures = list[str](), dict[str, float]()
    with tempfile.TemporaryDirectory(prefix="p2p-bench-", dir=options.folder) as scratch:
        for is_insecure in (True, False):
            swarm = Swarm(*(QUICK if options.quick else WHOLE), is_insecure)
            found = [_run(swarm, Path(scratch)) for _ in range(runs)]
            tables.append(_table_of(swarm, found))
            for name, figure in _figures(swarm, found).items():
                figures[name] = max(figure, figures.get(name, 0.0))
    return Answer("\n\n".join(tables), figures)


def _run(swarm: Swarm, scratch: Path) -> list[Part]:
    """The seeder's part, then everybody's."""
    file = make_file(scratch / "file.bin", swarm.size_bytes)
    digest, folder = digest_of(file), emptied(scratch / "network")
    with quiet_network(folder) as network:
        network.directory(insecure=swarm.is_insecure)
        limit = ("--limit-up", f"{swarm.limit_mb}MB")
        seeder = network.user("seeder").share(file, arguments=limit).program
        users = [network.user(f"user{number}") for number in range(swarm.user_count)]
        fetches = _fetch_all(users, digest, 60 * swarm.one_copy_seconds)
        for user in users:
            check_same(user.name, user.folder / "copy.bin", digest)
        ended = [program.stop() for program in (seeder, *(get for get, _ in fetches))]
    parts = [Part("seeder", 0.0, 0, int(ended[0].event("stopped")["uploaded_bytes"]))]
    for user, (_, took), end in zip(users, fetches, ended[1:], strict=True):
        fetched, sent = end.event("finished"), end.event("stopped")
        parts.append(
            Part(user.name, took, int(fetched["fetched_bytes"]), int(sent["uploaded_bytes"]))
        )
    print(f"all done after {max(part.seconds for part in parts):.2f} s", file=sys.stderr)
    return parts


def _fetch_all(
    users: Sequence[User], digest: str, most_seconds: float
) -> list[tuple[Program, float]]:
    """Starts all at once; each with the seconds from its start until it said that it was done."""
    gets = [
        user.start("--json", "get", f"b3:{digest}", "-o", "copy.bin", "--seed") for user in users
    ]
    seconds = [0.0] * len(gets)

    def watch(number: int) -> None:
        gets[number].wait_for_event("finished", within_seconds=most_seconds)
        seconds[number] = gets[number].age_seconds

    watchers = [threading.Thread(target=watch, args=(number,)) for number in range(len(gets))]
    for watcher in watchers:
        watcher.start()
    for watcher in watchers:
        watcher.join()
    assert all(seconds), "\n".join(map(str, gets))
    return list(zip(gets, seconds, strict=True))


def _table_of(swarm: Swarm, runs: list[list[Part]]) -> str:
    """Medians over the runs; for all together, of the last one to be done."""
    rows = []
    for parts in zip(*runs, strict=True):
        seconds = statistics.median(part.seconds for part in parts)
        fetched = statistics.median(part.fetched_bytes for part in parts) / swarm.size_bytes
        uploaded = statistics.median(part.uploaded_bytes for part in parts) / swarm.size_bytes
        times = [f"{seconds:.1f}", f"{seconds / swarm.one_copy_seconds:.2f}×"]
        times = times if seconds else ["–", "–"]
        rows.append([parts[0].name, *times, f"{fetched:.2f}", f"{uploaded:.2f}"])
    last = _figures(swarm, runs)["swarm"]
    rows.append(["**all done**", f"{last * swarm.one_copy_seconds:.1f}", f"{last:.2f}×", "", ""])
    security = "--insecure" if swarm.is_insecure else "TLS"
    head = [
        f"{swarm.size_bytes // MB} MB, one seeder at {swarm.limit_mb} MB/s, "
        f"{swarm.user_count} users at once ({security})",
        *("done after s", "times one copy's time", "copies fetched", "copies uploaded"),
    ]
    return table(head, rows)


def _figures(swarm: Swarm, runs: list[list[Part]]) -> dict[str, float]:
    last = statistics.median(max(part.seconds for part in run) for run in runs)
    seeded = statistics.median(run[0].uploaded_bytes for run in runs)
    return {"swarm": last / swarm.one_copy_seconds, "seeder-upload": seeded / swarm.size_bytes}
