"""How much faster do more sources make one download, and what does losing one of them cost?

Uncapped, the sources share one machine and its cores with the downloader, so more sources can win
little: it is the capped ones that show whether all are used. The rate is that of whole processes,
start-up included. A source that is lost is killed (-9) when a third has been verified; the others
then have to bring what is left, and nothing may go wrong that the user would see.
"""

import contextlib
import statistics
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.programs.network import CLIENT, Network, Sharer, User

from bench.contenders.ours import quiet_network
from bench.support.files import check_same, digest_of, make_file, settled
from bench.support.processes import Cost, run
from bench.support.question import MIB, Answer, Options, median_ratio, size_name, table

COUNTS = (1, 2, 4)
CAPPED_COUNT = 4
CAP_MB = 20
CAP_BYTES_PER_SECOND = CAP_MB * 10**6
MOST_CAPPED_RUNS = 3
END_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Content:
    """One content, where it is, and a folder to fetch it to."""

    file: Path
    size_bytes: int
    digest: str
    out: Path


def measure(options: Options) -> Answer:
    with contextlib.ExitStack() as stack:
        scratch = Path(
            stack.enter_context(
                tempfile.TemporaryDirectory(prefix="p2p-bench-", dir=options.folder)
            )
        )
        size_bytes = options.size(1 << 30, 32 * MIB)
        file = make_file(scratch / "content.bin", size_bytes)
        content = Content(file, size_bytes, digest_of(file), scratch / "out")
        uncapped = _uncapped(scratch, content, options.runs)
        capped_runs = min(options.runs, MOST_CAPPED_RUNS)
        with _swarm(scratch / "capped", file, CAPPED_COUNT, cap=f"{CAP_MB}MB") as capped:
            rates = [_fetch(capped.fetcher, content) for _ in range(capped_runs)]
            losses = [_lose_one(capped, content) for _ in range(capped_runs)]
    shares = [
        content.size_bytes / cost.seconds / (CAPPED_COUNT * CAP_BYTES_PER_SECOND) for cost in rates
    ]
    body = [uncapped, _capped_table(content, rates, shares, losses)]
    figures = {
        "capped-sources": 100 * statistics.median(shares),
        "killed-source": 100 * statistics.mean(loss.is_clean for loss in losses),
    }
    return Answer("\n\n".join(body), figures)


# --- sources ------------------------------------------------------------------------------------


@dataclass(slots=True)
class Swarm:
    """Some sharers of one content, each a user of its own, and one who fetches."""

    users: list[User]
    sharers: list[Sharer]
    fetcher: User
    file: Path
    arguments: tuple[str, ...]

    def start(self, number: int) -> None:
        self.sharers[number] = self.users[number].share(self.file, arguments=self.arguments)


@contextlib.contextmanager
def _swarm(folder: Path, file: Path, count: int, cap: str | None = None) -> Iterator[Swarm]:
    arguments = () if cap is None else ("--limit-up", cap)
    with quiet_network(folder) as network:
        yield _started(network, file, count, arguments)


def _started(network: Network, file: Path, count: int, arguments: tuple[str, ...]) -> Swarm:
    network.directory()
    users = [network.user(f"sharer{number}") for number in range(count)]
    sharers = [user.share(file, arguments=arguments, within_seconds=120) for user in users]
    return Swarm(users, sharers, network.user("fetcher"), file, arguments)


def _fetch(fetcher: User, content: Content) -> Cost:
    target = settled(content.out) / "copy.bin"
    cost = run(
        [CLIENT, "get", f"b3:{content.digest}", "-o", str(target)], environment=fetcher.environment
    )
    check_same("p2p-client get", target, content.digest)
    print(f"{cost.seconds:7.2f} s", file=sys.stderr)
    return cost


def _uncapped(scratch: Path, content: Content, runs: int) -> str:
    with contextlib.ExitStack() as stack:
        swarms = {
            count: stack.enter_context(_swarm(scratch / f"of-{count}", content.file, count))
            for count in COUNTS
        }
        costs: dict[int, list[Cost]] = {count: [] for count in COUNTS}
        for number in range(runs + 1):
            for count, swarm in swarms.items():
                cost = _fetch(swarm.fetcher, content)
                if number:
                    costs[count].append(cost)
    seconds = {count: [cost.seconds for cost in found] for count, found in costs.items()}
    rows = [
        [
            f"{count}, uncapped",
            f"{statistics.median(seconds[count]):.2f}",
            f"{content.size_bytes / statistics.median(seconds[count]) / 1e6:.0f}",
            f"{median_ratio(seconds[COUNTS[0]], seconds[count]):.2f}×",
            f"{max(cost.peak_mib for cost in costs[count]):.0f} MiB",
        ]
        for count in COUNTS
    ]
    size = size_name(content.size_bytes)
    head = [f"sources of {size} (TLS)", "median s", "MB/s", "speed to one source"]
    return table([*head, "peak memory fetching"], rows)


# --- one is lost --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Loss:
    """A download one of whose sources was killed. The ideal: the others go on at their full rate
    at once, and nothing is fetched twice."""

    seconds: float
    ideal_seconds: float
    fetched_twice_bytes: int
    is_clean: bool


def _lose_one(swarm: Swarm, content: Content) -> Loss:
    target = settled(content.out) / "copy.bin"
    get = swarm.fetcher.start("--json", "get", f"b3:{content.digest}", "-o", target)
    third = content.size_bytes // 3
    seen = get.wait_for_event("progress", where=lambda event: event["verified_bytes"] >= third)
    at_seconds = get.age_seconds
    swarm.sharers[0].kill()
    ended = get.wait(within_seconds=END_SECONDS)
    is_clean = ended.status == 0 and not any(r.get("event") == "error" for r in ended.records)
    fetched_bytes = 0
    if is_clean:
        check_same("p2p-client get with a source killed", target, content.digest)
        fetched_bytes = int(ended.event("finished")["fetched_bytes"])
    else:
        print(ended, file=sys.stderr)
    swarm.start(0)
    left_bytes = content.size_bytes - int(seen["verified_bytes"])
    ideal_seconds = at_seconds + left_bytes / ((CAPPED_COUNT - 1) * CAP_BYTES_PER_SECOND)
    twice_bytes = max(0, fetched_bytes - content.size_bytes)
    print(f"{ended.seconds:7.2f} s, ideal {ideal_seconds:.2f} s", file=sys.stderr)
    return Loss(ended.seconds, ideal_seconds, twice_bytes, is_clean)


def _capped_table(
    content: Content, rates: list[Cost], shares: list[float], losses: list[Loss]
) -> str:
    size, cap = size_name(content.size_bytes), f"{CAPPED_COUNT} sources capped at {CAP_MB} MB/s"
    rate = content.size_bytes / statistics.median(cost.seconds for cost in rates) / 1e6
    twice = max(loss.fetched_twice_bytes for loss in losses)
    slower = statistics.median(loss.seconds / loss.ideal_seconds for loss in losses)
    rows = [
        [
            f"{size} from {cap}",
            f"{rate:.1f} MB/s of {CAPPED_COUNT * CAP_MB} MB/s: "
            f"{100 * statistics.median(shares):.1f} %",
        ],
        [
            "the same, one killed (-9) after a third",
            f"{sum(loss.is_clean for loss in losses)} of {len(losses)} ended right; "
            f"{slower:.2f}× the ideal time; at most {100 * twice / content.size_bytes:.2f} % "
            "fetched twice",
        ],
    ]
    return table(["capped", "reached"], rows)
