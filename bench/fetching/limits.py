"""How exactly are `--limit-up` and `--limit-down` kept, by one stream and by several together?

The rate is that between the moments when a fifth and four fifths of all had come, as `get --json`
says, so without start-up, final checks and the last drops. What several users fetch at once is
added up: a limit is for all of them together, whether they are served in turn or at the same time.
"""

import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.programs.network import User
from tests.support.programs.processes import Program, eventually, json_lines

from bench.contenders.ours import quiet_network
from bench.support.files import check_same, digest_of, emptied, make_file
from bench.support.question import Answer, Options, table

MB = 10**6
SECONDS = 10
QUICK_SECONDS = 3
END_SECONDS = 120.0
LOOK_SECONDS = 0.01


@dataclass(frozen=True, slots=True)
class Case:
    option: str
    limit_mb: int
    user_count: int = 1

    @property
    def name(self) -> str:
        who = f", {self.user_count} users at once" if self.user_count > 1 else ""
        return f"`{self.option} {self.limit_mb}MB`{who}"


CASES = (
    *(Case("--limit-up", limit_mb) for limit_mb in (1, 5, 20, 50)),
    *(Case("--limit-down", limit_mb) for limit_mb in (1, 5, 20, 50)),
    Case("--limit-up", 20, user_count=4),
)


def measure(options: Options) -> Answer:
    seconds = QUICK_SECONDS if options.quick else SECONDS
    rows, worst = [], 0.0
    with tempfile.TemporaryDirectory(prefix="p2p-bench-", dir=options.folder) as scratch:
        for case in CASES:
            rate = _rate(case, Path(scratch), seconds)
            off = 100 * (rate / (case.limit_mb * MB) - 1)
            print(f"{case.name}: {rate / MB:.2f} MB/s", file=sys.stderr)
            worst = max(worst, abs(off))
            rows.append([case.name, f"{rate / MB:.2f}", f"{off:+.1f} %"])
    return Answer(table(["limit", "MB/s reached", "off by"], rows), {"limits": worst})


def _rate(case: Case, scratch: Path, seconds: int) -> float:
    """Bytes a second of all users together."""
    size_bytes = case.limit_mb * MB * seconds // case.user_count
    file = make_file(scratch / "file.bin", size_bytes)
    digest = digest_of(file)
    limit = (case.option, f"{case.limit_mb}MB")
    is_up = case.option == "--limit-up"
    with quiet_network(emptied(scratch / "network")) as network:
        network.directory()
        network.user("sharer").share(file, arguments=limit if is_up else ())
        users = [network.user(f"user{number}") for number in range(case.user_count)]
        command = ("--json", "get", f"b3:{digest}", "-o", "copy", *(() if is_up else limit))
        gets = [user.start(*command) for user in users]
        began, first_bytes = _when(gets, 0.2 * size_bytes * case.user_count)
        ended, last_bytes = _when(gets, 0.8 * size_bytes * case.user_count)
        _check(users, gets, digest)
    return (last_bytes - first_bytes) / (ended - began)


def _when(gets: Sequence[Program], fetched_bytes: float) -> tuple[float, int]:
    """The moment when so much had come to all together, and how much it was."""

    def look() -> tuple[float, int] | None:
        now, sum_bytes = time.monotonic(), sum(map(_fetched_bytes, gets))
        return (now, sum_bytes) if sum_bytes >= fetched_bytes else None

    found = eventually(look, within_seconds=END_SECONDS, every_seconds=LOOK_SECONDS)
    assert found is not None
    return found


def _fetched_bytes(get: Program) -> int:
    counts = (record.get("fetched_bytes", 0) for record in json_lines(get.stdout))
    return max(counts, default=0)


def _check(users: Sequence[User], gets: Sequence[Program], digest: str) -> None:
    for user, get in zip(users, gets, strict=True):
        assert get.wait(within_seconds=END_SECONDS).ok
        check_same(user.name, user.folder / "copy", digest)
