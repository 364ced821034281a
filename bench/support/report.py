"""docs/performance.md: each section stands between two markers and is replaced as a whole."""

import datetime
import os
import platform
import re
import sys
from importlib.metadata import version
from pathlib import Path

REPORT = Path(__file__).resolve().parents[2] / "docs" / "performance.md"


def machine() -> str:
    """When, on what, with which versions; part of a sentence."""
    return (
        f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}, {os.cpu_count()} cores of "
        f"{_processor()}, {_memory_gib():.0f} GiB, {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}, grpcio {version('grpcio')}, "
        f"protobuf {version('protobuf')}, blake3 {version('blake3')}"
    )


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*:\s*(.+)", info.read_text()) if info.exists() else None
    return found[1] if found else platform.processor() or "an unknown processor"


def _memory_gib() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)


def section(name: str, report: Path = REPORT) -> str:
    """What stands between the markers; empty where there are none."""
    begin, end = _markers(name)
    _, found, rest = report.read_text().partition(begin)
    return rest.partition(end)[0].strip("\n") if found else ""


def put_section(name: str, title: str, about: str, body: str, report: Path = REPORT) -> None:
    """Replaces what stands between the markers. A section that is not there yet comes last, with
    its title and what it is about; from then on the words around the markers are a writer's."""
    begin, end = _markers(name)
    text = report.read_text()
    before, found, rest = text.partition(begin)
    if not found:
        before, rest = f"{text.rstrip()}\n\n## {title}\n{about.strip()}\n\n", f"{end}\n"
    elif end not in rest:
        sys.exit(f"{report}: section {name} has no end: put {end} where it is")
    report.write_text(f"{before}{begin}\n{body}\n{end}{rest.partition(end)[2]}")


def _markers(name: str) -> tuple[str, str]:
    return f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
