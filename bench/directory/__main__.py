"""Runs a directory and its load generator, and writes what it bears into docs/performance.md.

Usage: python -m bench.directory [--resources N] [--peers N] [--alive N] [--dry]

The directory is the real program with TLS and metrics on, the generator another process on the same
machine. Rates beside which a peer is named were measured in turns within the run.
"""

import argparse
import tempfile
from pathlib import Path

from bench.directory.questions import Bench
from bench.support.report import machine, put_section


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--resources", type=int, default=1_000_000)
    parser.add_argument("--peers", type=int, default=2_000)
    parser.add_argument("--alive", type=int, default=20_000, help="peers held alive; 0: leave out")
    parser.add_argument("--dry", action="store_true", help="print only, leave the report alone")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="p2p-bench-") as folder:
        body = f"Measured {machine()}, generator included.\n\n{Bench(options, Path(folder)).run()}"
    print(body)
    if not options.dry:
        put_section("directory", "The directory", __doc__ or "", body)


if __name__ == "__main__":
    main()
