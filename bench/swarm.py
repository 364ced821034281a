"""How long do many take to fetch one file from one capped seeder at the same time?

Real processes on loopback: a directory, `share --limit-up`, and as many `get --seed` as users. Says
who fetched and passed on how much, and how that compares with the time that one copy takes.

Usage: python -m bench.swarm [--users N] [--size-mb N] [--limit-mb N] [--tls] [--runs N]
"""

import argparse
import filecmp
import io
import statistics
import tempfile
import time
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path

from tests.support.network import Network
from tests.support.processes import Program

from bench.transfer import make_file

MB = 1_000_000


@dataclass(frozen=True, slots=True)
class Swarm:
    users: int
    size_bytes: int
    limit_bytes_per_second: float
    insecure: bool

    @property
    def one_copy_seconds(self) -> float:
        return self.size_bytes / self.limit_bytes_per_second


@dataclass(frozen=True, slots=True)
class Part:
    """What one peer of the swarm did; the seeder fetched nothing."""

    name: str
    seconds: float
    fetched_bytes: int
    uploaded_bytes: int


def run_once(swarm: Swarm) -> list[Part]:
    """The seeder's part, then everybody's."""
    with tempfile.TemporaryDirectory(prefix="p2p-bench-") as scratch:
        original = make_file(Path(scratch) / "shared" / "file.bin", swarm.size_bytes)
        with redirect_stdout(io.StringIO()), Network(Path(scratch) / "network") as network:
            network.directory(insecure=swarm.insecure)
            limit = f"{swarm.limit_bytes_per_second / MB:g}MB"
            seeder = network.user("seeder").share(original, arguments=["--limit-up", limit])
            users = [network.user(f"user{number}") for number in range(swarm.users)]
            begun = time.monotonic()
            gets = [
                user.start("--json", "get", "seeder:file.bin", "-o", "copy.bin", "--seed")
                for user in users
            ]
            seconds = finish_times(gets, begun, 60 * swarm.one_copy_seconds)
            for user in users:
                if not filecmp.cmp(original, user.folder / "copy.bin", shallow=False):
                    raise SystemExit(f"{user.name} got other bytes")
            ended = [program.stop() for program in (seeder.program, *gets)]
    parts = [Part("seeder", 0.0, 0, int(ended[0].event("stopped")["uploaded_bytes"]))]
    for user, took, end in zip(users, seconds, ended[1:], strict=True):
        fetched, sent = end.event("finished"), end.event("stopped")
        parts.append(
            Part(user.name, took, int(fetched["fetched_bytes"]), int(sent["uploaded_bytes"]))
        )
    return parts


def finish_times(gets: list[Program], begun: float, most_seconds: float) -> list[float]:
    """Seconds until each said that it was done, its start included."""
    done: dict[int, float] = {}
    while len(done) < len(gets):
        for number, get in enumerate(gets):
            if number not in done and any('"finished"' in line for line in [get.stdout]):
                done[number] = time.monotonic() - begun
            elif number not in done and not get.running:
                raise SystemExit(f"a get ended: {get}")
        if time.monotonic() - begun > most_seconds:
            raise SystemExit("it takes for ever: " + "\n".join(map(str, gets)))
        time.sleep(0.02)
    return [done[number] for number in range(len(gets))]


def as_table(swarm: Swarm, runs: list[list[Part]]) -> str:
    """Medians over the runs, as Markdown."""
    copy = swarm.size_bytes
    lines = [
        f"| {copy / MB:.0f} MB, one seeder at {swarm.limit_bytes_per_second / MB:g} MB/s, "
        f"{swarm.users} users at once | done after s | times one copy's time | copies fetched "
        "| copies uploaded |",
        "|---|---|---|---|---|",
    ]
    for parts in zip(*runs, strict=True):
        seconds = statistics.median(part.seconds for part in parts)
        fetched = statistics.median(part.fetched_bytes for part in parts) / copy
        uploaded = statistics.median(part.uploaded_bytes for part in parts) / copy
        took = f"{seconds:.1f} | {seconds / swarm.one_copy_seconds:.2f}" if seconds else "– | –"
        lines.append(f"| {parts[0].name} | {took} | {fetched:.2f} | {uploaded:.2f} |")
    last = statistics.median(max(part.seconds for part in run) for run in runs)
    ratio = last / swarm.one_copy_seconds
    lines.append(f"| all of them | {last:.1f} | {ratio:.2f} | | |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=6)
    parser.add_argument("--size-mb", type=int, default=200)
    parser.add_argument("--limit-mb", type=float, default=25)
    parser.add_argument("--tls", action="store_true")
    parser.add_argument("--runs", type=int, default=1)
    arguments = parser.parse_args()
    swarm = Swarm(
        arguments.users, arguments.size_mb * MB, arguments.limit_mb * MB, not arguments.tls
    )
    print(as_table(swarm, [run_once(swarm) for _ in range(arguments.runs)]))


if __name__ == "__main__":
    main()
