"""Contenders take turns: rounds of one run each, and the table of what they took."""

import contextlib
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from bench.contenders.contender import Contender, Missing
from bench.contenders.ours import INSECURE, TLS
from bench.support.processes import Cost, Watch
from bench.support.question import median_ratio, table

Start = Callable[[Path, Path], AbstractContextManager[Contender]]


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


def start_all(
    stack: contextlib.ExitStack, starts: Sequence[Start], shared: Path, scratch: Path
) -> tuple[list[Contender], str]:
    """Those that are here, running until the stack ends; and what to say of them and the others."""
    contenders, missing = list[Contender](), list[str]()
    for start in starts:
        try:
            contenders.append(stack.enter_context(start(shared, scratch)))
        except Missing as error:
            print(f"not here: {error}", file=sys.stderr)
            missing.append(str(error))
    versions = dict.fromkeys(contender.version for contender in contenders if contender.version)
    notes = [f"With {', '.join(versions)}."] if versions else []
    notes += [f"Not measured, for it is not here: {what}." for what in dict.fromkeys(missing)]
    return contenders, "\n".join(notes)


def in_turns(
    contenders: Sequence[Contender], fetch: Callable[[Contender], Cost], runs: int
) -> dict[str, Results]:
    """`runs` rounds and one before them that is not counted: it warms caches, and is watched more
    closely for memory than would be fair where time counts.

    Args:
        fetch: runs the contender once and checks what it brought.
    """
    results = {contender.name: Results() for contender in contenders}
    for number in range(runs + 1):
        for contender in contenders:
            with Watch(contender.serving, sampling=number == 0) as watch:
                cost = fetch(contender)
            results[contender.name].add(cost, watch, counted=number > 0)
            print(f"{contender.name:40} {cost.seconds:8.3f} s", file=sys.stderr)
    return results


def table_of(what: str, results: Mapping[str, Results], amount: float, unit: str) -> str:
    """
    Args:
        what: was fetched, for the head.
        amount: of it, in units: the table shows units a second.
    """
    head = [f"{what}, whole process", "median s", f"{unit}/s", "ours (TLS) is"]
    head += ["ours (--insecure) is", "CPU s fetching", "CPU s serving"]
    head += ["peak fetching", "peak serving"]
    rows = []
    for name, found in results.items():
        median = statistics.median(found.seconds)
        row = [name, f"{median:.3f}", f"{amount / median:,.3g}"]
        for mine in (TLS, INSECURE):
            row.append(f"{median_ratio(found.seconds, results[mine].seconds):.2f}×")
        row.append(f"{statistics.median(fetch.cpu_seconds for fetch in found.fetches):.2f}")
        row.append(f"{statistics.median(found.serving_cpu_seconds):.2f}")
        row.append(f"{max(fetch.peak_mib for fetch in found.fetches):.0f} MiB")
        row.append(f"{found.serving_peak_mib:.0f} MiB")
        rows.append(row)
    return table(head, rows)
