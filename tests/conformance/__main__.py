"""Prints how fast each client downloads from each: Python, Go and Node, nine pairs.

Usage: python -m tests.conformance [--size-mib N] [--runs N] [--write]

Real processes over TLS on loopback, through a real directory. What is timed is the whole `get`
command, from its start to its end, with every piece and the whole verified; every file that arrives
is compared byte for byte.
"""

import argparse
import contextlib
import filecmp
import io
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.support.report import machine, put_section
from tests.conformance.clients import LANGUAGES, Command, Speaker, ToolchainAbsent, command_of
from tests.support.programs.network import Network
from tools.vectors.base import MIB, content

TRANSFER_SECONDS = 600.0
Figures = dict[tuple[str, str], list[float]]  # sharer and downloader: bytes a second of each run


def clients() -> dict[str, Command]:
    """The clients that can be had here; says which cannot."""
    found = {}
    for language in LANGUAGES:
        try:
            found[language] = command_of(language)
        except ToolchainAbsent as absent:
            print(f"no {language} client: {absent}", file=sys.stderr)
    return found


def measure(commands: dict[str, Command], size_bytes: int, runs: int, folder: Path) -> Figures:
    """Each pair in turns, so that a machine that grows slower does so for all."""
    figures: Figures = {}
    with Network(folder) as network:
        network.directory()
        sharers = {name: Speaker(network, f"{name}-sharer", at) for name, at in commands.items()}
        getters = {name: Speaker(network, f"{name}-getter", at) for name, at in commands.items()}
        for name, sharer in sharers.items():
            # Another first word for each: one content would have three sources.
            file = sharer.file(f"{name}.bin", name.encode() + content(size_bytes - len(name)))
            sharer.share(file, within_seconds=TRANSFER_SECONDS)
        for _ in range(runs):
            for name, sharer in sharers.items():
                for other, getter in getters.items():
                    seconds = transfer(sharer, f"{name}.bin", getter)
                    figures.setdefault((name, other), []).append(size_bytes / seconds)
    return figures


def transfer(sharer: Speaker, name: str, getter: Speaker) -> float:
    """Seconds from the start of the command to its end."""
    got = getter.folder / "got.bin"
    command = ("--json", "get", f"{sharer.name}:{name}", "-o", got)
    ended = getter.run(*command, within_seconds=TRANSFER_SECONDS)
    assert ended.ok
    assert filecmp.cmp(sharer.folder / name, got, shallow=False), f"{ended}\nother bytes came"
    got.unlink()
    return ended.seconds


def table(figures: Figures) -> str:
    """Rows share, columns download; medians."""
    names = list(dict.fromkeys(sharer for sharer, _ in figures))
    lines = [
        "| MB/s: from ↓ to → | " + " | ".join(names) + " |",
        "|---|" + "---:|" * len(names),
    ]
    for sharer in names:
        medians = (statistics.median(figures[sharer, getter]) / 1e6 for getter in names)
        lines.append(f"| {sharer} | " + " | ".join(f"{median:.0f}" for median in medians) + " |")
    return "\n".join(lines)


def versions(commands: dict[str, Command]) -> str:
    tools = {"go": ("go", "version"), "node": ("node", "--version")}
    found = []
    for name in commands.keys() & tools.keys():
        done = subprocess.run(tools[name], capture_output=True, text=True, timeout=60)
        found.append(f"{name} {done.stdout.split()[2 if name == 'go' else 0].lstrip('gov')}")
    return "".join(f", {version}" for version in sorted(found))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--size-mib", type=int, default=256, help="size of the file fetched")
    parser.add_argument("--runs", type=int, default=3, help="runs of each pair")
    parser.add_argument("--write", action="store_true", help="put it into docs/performance.md")
    arguments = parser.parse_args()
    commands = clients()
    folder = Path(tempfile.mkdtemp(prefix="p2p-pairs-"))
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # what a network prints at its end
            figures = measure(commands, arguments.size_mib * MIB, arguments.runs, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(table(figures))
    if len(commands) < len(LANGUAGES):
        sys.exit("not all nine pairs: a toolchain is absent")
    if arguments.write:
        said = (
            f"{arguments.size_mib} MiB from one peer to another, the whole `get` command timed, "
            f"TLS, each file compared byte for byte; median of {arguments.runs} runs, on "
            f"{machine()}{versions(commands)}."
        )
        put_section("pairs", "Each client from each", __doc__ or "", f"{said}\n\n{table(figures)}")


if __name__ == "__main__":
    main()
