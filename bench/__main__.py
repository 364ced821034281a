"""Runs the measurements and writes their tables into docs/performance.md.

Usage: python -m bench [--size-mib N] [--runs N] [--only NAME]
"""

import argparse
import platform
import re
import sys
from importlib.metadata import version
from pathlib import Path

from bench import transfer

REPORT = Path(__file__).resolve().parent.parent / "docs" / "performance.md"


def machine() -> str:
    cpu = "unknown processor"
    info = Path("/proc/cpuinfo")
    if info.exists() and (found := re.search(r"model name\s*:\s*(.+)", info.read_text())):
        cpu = found[1]
    import os

    return (
        f"{os.cpu_count()} cores of {cpu}, {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}, grpcio {version('grpcio')}, "
        f"protobuf {version('protobuf')}"
    )


def put_section(name: str, body: str) -> None:
    """Replaces what stands between the section's two markers."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    text = REPORT.read_text()
    before, found, rest = text.partition(begin)
    if not found or end not in rest:
        sys.exit(f"{REPORT} has no section {name}")
    REPORT.write_text(f"{before}{begin}\n{body}\n{end}{rest.partition(end)[2]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size-mib", type=int, default=1024, help="size of the file fetched")
    parser.add_argument("--runs", type=int, default=5, help="counted runs of each program")
    parser.add_argument("--dry", action="store_true", help="print only, leave the report alone")
    arguments = parser.parse_args()
    table = transfer.measure(arguments.size_mib << 20, arguments.runs)
    body = f"Measured on {machine()}.\n\n{table}"
    print(body)
    if not arguments.dry:
        put_section("transfer", body)


if __name__ == "__main__":
    main()
