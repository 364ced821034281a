"""How long does one verified fetch of one file take, as a whole process, beside other programs?

Everything runs over loopback with the file in the page cache. The programs take turns within a
round, so that a machine whose speed drifts treats them alike; what counts are medians of the ratios
within the rounds. Every fetched file is compared with the original. The first round is not counted.
"""

import contextlib
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from bench.contenders.contender import Contender, Missing
from bench.contenders.http import CURL, aria2, curl
from bench.contenders.ours import INSECURE, TLS, ours_insecure, ours_tls
from bench.contenders.rsync import rsync
from bench.contenders.ssh import NAME as SCP
from bench.contenders.ssh import scp
from bench.contenders.torrent import V1, libtorrent_v1, libtorrent_v2
from bench.support.files import check_same, digest_of, emptied, make_file
from bench.support.processes import Cost, Watch, run
from bench.support.question import Answer, Options, median_ratio, size_name, table

SIZES = (1 << 10, 1 << 20, 1 << 30)
QUICK_SIZES = (1 << 10, 1 << 20, 32 << 20)
STARTS: tuple[Callable[[Path, Path], AbstractContextManager[Contender]], ...] = (
    *(ours_tls, ours_insecure, scp, curl, rsync, aria2, libtorrent_v1, libtorrent_v2),
)
COMPARED = {"insecure-to-curl": (INSECURE, CURL), "tls-to-scp": (TLS, SCP)} | {
    "insecure-to-libtorrent": (INSECURE, V1)
}


@dataclass(slots=True)
class Results:
    """What one contender took, in the order of the rounds; memory is the worst of all rounds."""

    fetches: list[Cost] = field(default_factory=list)
    serving_cpu_seconds: list[float] = field(default_factory=list)
    serving_peak_mib: float = 0.0

    @property
    def seconds(self) -> list[float]:
        return [fetch.seconds for fetch in self.fetches]

    def add(self, fetch: Cost, watch: Watch, *, counted: bool) -> None:
        self.serving_peak_mib = max(self.serving_peak_mib, watch.peak_mib)
        if counted:
            self.fetches.append(fetch)
            self.serving_cpu_seconds.append(watch.cpu_seconds)


def measure(options: Options) -> Answer:
    sizes = QUICK_SIZES if options.quick else SIZES
    with contextlib.ExitStack() as stack:
        scratch = stack.enter_context(
            tempfile.TemporaryDirectory(prefix="p2p-bench-", dir=options.folder)
        )
        shared, out = Path(scratch, "shared"), Path(scratch, "out")
        files = {size: make_file(shared / f"{size}.bin", size) for size in sizes}
        contenders, missing = _start_all(stack, shared, Path(scratch))
        found = {
            size: _measure_size(file, contenders, options.runs, out) for size, file in files.items()
        }
    body = "\n\n".join(_table_of(size, results) for size, results in found.items())
    versions = dict.fromkeys(contender.version for contender in contenders if contender.version)
    notes = [f"With {', '.join(versions)}." if versions else ""]
    notes += [f"Not here: {what}." for what in missing]
    return Answer("\n\n".join([body, *filter(None, notes)]), _figures(found[sizes[-1]]))


def _start_all(
    stack: contextlib.ExitStack, shared: Path, scratch: Path
) -> tuple[list[Contender], list[str]]:
    contenders, missing = list[Contender](), list[str]()
    for start in STARTS:
        try:
            contenders.append(stack.enter_context(start(shared, scratch)))
        except Missing as error:
            print(f"not here: {error}", file=sys.stderr)
            missing.append(str(error))
    return contenders, list(dict.fromkeys(missing))


def _measure_size(
    original: Path, contenders: list[Contender], runs: int, out: Path
) -> dict[str, Results]:
    digest = digest_of(original)
    results = {contender.name: Results() for contender in contenders}
    for number in range(runs + 1):
        for contender in contenders:
            target = emptied(out) / "copy.bin"
            with Watch(contender.serving, sampling=number == 0) as watch:
                fetch = run(contender.command(original.name, target), contender.environment)
            check_same(contender.name, target, digest)
            results[contender.name].add(fetch, watch, counted=number > 0)
            print(
                f"{size_name(original.stat().st_size):>8} {contender.name:40} {fetch.seconds:7.3f}",
                file=sys.stderr,
            )
    emptied(out)
    return results


def _table_of(size_bytes: int, results: Mapping[str, Results]) -> str:
    head = [
        *(f"{size_name(size_bytes)}, one source, whole process", "median s", "MB/s"),
        *("ours (TLS) is", "ours (--insecure) is", "CPU s fetching", "CPU s serving"),
        *("peak fetching", "peak serving"),
    ]
    rows = []
    for name, found in results.items():
        median = statistics.median(found.seconds)
        ratios = [
            f"{median_ratio(found.seconds, results[mine].seconds):.2f}×" for mine in (TLS, INSECURE)
        ]
        cpu = statistics.median(fetch.cpu_seconds for fetch in found.fetches)
        peak = max(fetch.peak_mib for fetch in found.fetches)
        rows.append(
            [
                *(name, f"{median:.3f}", f"{size_bytes / median / 1e6:.3g}", *ratios),
                *(f"{cpu:.2f}", f"{statistics.median(found.serving_cpu_seconds):.2f}"),
                *(f"{peak:.0f} MiB", f"{found.serving_peak_mib:.0f} MiB"),
            ]
        )
    return table(head, rows)


def _figures(results: Mapping[str, Results]) -> dict[str, float]:
    figures = {
        goal: median_ratio(results[theirs].seconds, results[mine].seconds)
        for goal, (mine, theirs) in COMPARED.items()
        if theirs in results
    }
    peaks = [fetch.peak_mib for mine in (TLS, INSECURE) for fetch in results[mine].fetches]
    return figures | {"downloader-memory": max(peaks)}
