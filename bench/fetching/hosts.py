"""Are sources on several hosts, each behind a slow link of its own, used together? And when one
link is cut?

Hosts are network namespaces behind one switch; each source's link is limited in either direction
by `tc tbf`, the downloader's is not. The wire carries more than the content (headers of TCP, TLS
and gRPC, about 5 %), so the sum of the links cannot quite be reached. A link is cut when a third
has been verified, and without a word: nobody is told, packets are lost. Needs root.
"""

import contextlib
import statistics
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.programs.hosts import Host, hosts, why_not
from tests.support.programs.network import User
from tests.support.programs.processes import Program

from bench.contenders.ours import quiet_network
from bench.support.files import check_same, digest_of, make_file, settled
from bench.support.question import MIB, Answer, Options, size_name, table

SOURCE_COUNT = 4
RATE_MBIT = 160
RATE_BYTES_PER_SECOND = RATE_MBIT * 10**6 / 8
MOST_RUNS = 3
END_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Fetched:
    """
    Args:
        share: of the links' sum, over the whole process.
        times_ideal: its seconds to those it would take if, from the cut on, the links that are left
            were used in full at once.
    """

    seconds: float
    share: float
    times_ideal: float
    fetched_twice_bytes: int
    source_count: int


def measure(options: Options) -> Answer:
    reason = why_not(limits=True)
    if reason is not None:
        return Answer(f"Not measured: {reason}.")
    size_bytes = options.size(512 * MIB, 32 * MIB)
    runs = min(options.runs, MOST_RUNS)
    with tempfile.TemporaryDirectory(prefix="p2p-bench-", dir=options.folder) as scratch:
        file = make_file(Path(scratch, "content.bin"), size_bytes)
        with _swarm(Path(scratch), file) as swarm:
            whole = [swarm.fetch() for _ in range(runs)]
            cut = [swarm.fetch(cut=swarm.sources[0]) for _ in range(runs)]
    links = f"{SOURCE_COUNT} links of {RATE_MBIT} Mbit/s"
    rows = [
        [f"{size_name(size_bytes)} over {links}", *_cells(whole)],
        ["the same, one link cut after a third", *_cells(cut)],
    ]
    head = ["hosts", "median s", "of the links' sum", "to the ideal time", "fetched twice"]
    return Answer(table([*head, "sources used"], rows))


def _cells(runs: list[Fetched]) -> list[str]:
    return [
        f"{statistics.median(run.seconds for run in runs):.2f}",
        f"{100 * statistics.median(run.share for run in runs):.1f} %",
        f"{statistics.median(run.times_ideal for run in runs):.2f}×",
        f"at most {max(run.fetched_twice_bytes for run in runs) / MIB:.1f} MiB",
        f"at least {min(run.source_count for run in runs)}",
    ]


@dataclass(frozen=True, slots=True)
class Swarm:
    """One content on hosts behind slow links, and one who fetches it from a host of its own."""

    sources: list[Host]
    fetcher: User
    server: str
    digest: str
    size_bytes: int
    out: Path

    def fetch(self, cut: Host | None = None) -> Fetched:
        """Fetches once, and cuts that link on the way; afterwards all is whole again."""
        target = settled(self.out) / "copy.bin"
        arguments = ("--server", self.server, "--json", "get", f"b3:{self.digest}")
        get = self.fetcher.start(*arguments, "-o", target)
        ideal_seconds = self.size_bytes / (SOURCE_COUNT * RATE_BYTES_PER_SECOND)
        if cut is not None:
            ideal_seconds = self._cut(get, cut)
        ended = get.wait(within_seconds=END_SECONDS)
        if cut is not None:
            cut.mend()
        assert ended.ok
        check_same("p2p-client get", target, self.digest)
        print(f"{ended.seconds:7.2f} s, ideal {ideal_seconds:.2f} s", file=sys.stderr)
        finished = ended.event("finished")
        rate = self.size_bytes / ended.seconds
        return Fetched(
            seconds=ended.seconds,
            share=rate / (SOURCE_COUNT * RATE_BYTES_PER_SECOND),
            times_ideal=ended.seconds / ideal_seconds,
            fetched_twice_bytes=max(0, int(finished["fetched_bytes"]) - self.size_bytes),
            source_count=len(finished["sources"]),
        )

    def _cut(self, get: Program, host: Host) -> float:
        """The seconds that the whole would take in the best case from here on."""
        third = self.size_bytes // 3
        seen = get.wait_for_event("progress", where=lambda event: event["verified_bytes"] >= third)
        host.cut()
        left_bytes = self.size_bytes - int(seen["verified_bytes"])
        return get.age_seconds + left_bytes / ((SOURCE_COUNT - 1) * RATE_BYTES_PER_SECOND)


@contextlib.contextmanager
def _swarm(scratch: Path, file: Path) -> Iterator[Swarm]:
    with (
        hosts(SOURCE_COUNT + 2) as (here, fetchers, *sources),
        quiet_network(scratch / "network") as network,
    ):
        directory = network.directory(listen="0.0.0.0:0", prefix=here.prefix)
        server = f"{here.address}:{directory.port}"
        for number, host in enumerate(sources):
            host.limit(f"{RATE_MBIT}mbit")
            user = network.user(f"source{number}", prefix=host.prefix)
            share = user.start("--server", server, "--json", "share", file)
            share.wait_for_event("ready", within_seconds=120)
        fetcher = network.user("fetcher", prefix=fetchers.prefix)
        yield Swarm(sources, fetcher, server, digest_of(file), file.stat().st_size, scratch / "out")
