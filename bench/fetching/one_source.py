"""How long does one verified fetch of one file take, as a whole process, beside other programs?

Everything runs over loopback with the file in the page cache. The programs take turns within a
round, so that a machine whose speed drifts treats them alike; what counts are medians of the ratios
within the rounds. Every fetched file is compared with the original. The first round is not counted.
"""

import contextlib
import tempfile
from collections.abc import Mapping
from pathlib import Path

from bench.contenders.contender import Contender
from bench.contenders.http import CURL, aria2, curl
from bench.contenders.ours import INSECURE, TLS, ours_insecure, ours_tls
from bench.contenders.rounds import Results, Start, in_turns, start_all, table_of
from bench.contenders.rsync import rsync
from bench.contenders.ssh import NAME as SCP
from bench.contenders.ssh import scp
from bench.contenders.torrent import V1, libtorrent_v1, libtorrent_v2
from bench.support.files import check_same, digest_of, emptied, make_file, settled
from bench.support.processes import Cost, run
from bench.support.question import Answer, Options, median_ratio, size_name

SIZES = (1 << 10, 1 << 20, 1 << 30)
QUICK_SIZES = (1 << 10, 1 << 20, 32 << 20)
STARTS: tuple[Start, ...] = (
    *(ours_tls, ours_insecure, scp, curl, rsync, aria2, libtorrent_v1, libtorrent_v2),
)
COMPARED = {
    "insecure-to-curl": (INSECURE, CURL),
    "insecure-to-libtorrent": (INSECURE, V1),
    "tls-to-scp": (TLS, SCP),
}


def measure(options: Options) -> Answer:
    sizes = QUICK_SIZES if options.quick else SIZES
    tables = list[str]()
    with contextlib.ExitStack() as stack:
        scratch = Path(
            stack.enter_context(
                tempfile.TemporaryDirectory(prefix="p2p-bench-", dir=options.folder)
            )
        )
        files = [make_file(scratch / "shared" / f"{size}.bin", size) for size in sizes]
        contenders, notes = start_all(stack, STARTS, scratch / "shared", scratch)
        for size, file in zip(sizes, files, strict=True):
            found = _in_turns(contenders, file, scratch / "out", options.runs)
            tables.append(table_of(f"{size_name(size)}, one source", found, size / 1e6, "MB"))
    return Answer("\n\n".join([*tables, notes]), _figures(found))


def _in_turns(
    contenders: list[Contender], original: Path, out: Path, runs: int
) -> dict[str, Results]:
    digest = digest_of(original)

    def fetch(contender: Contender) -> Cost:
        target = settled(out) / "copy.bin"
        cost = run(contender.command(original.name, target), contender.environment)
        check_same(contender.name, target, digest)
        return cost

    results = in_turns(contenders, fetch, runs)
    emptied(out)
    return results


def _figures(results: Mapping[str, Results]) -> dict[str, float]:
    figures = {
        goal: median_ratio(results[theirs].seconds, results[mine].seconds)
        for goal, (mine, theirs) in COMPARED.items()
        if theirs in results
    }
    peaks = [fetch.peak_mib for mine in (TLS, INSECURE) for fetch in results[mine].fetches]
    return figures | {"downloader-memory": max(peaks)}
