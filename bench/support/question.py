"""What a measurement is to `make bench`: a question with options, that is answered."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Options:
    """How thoroughly to measure.

    Args:
        runs: counted runs of each program.
        quick: sizes so small that all is over in moments; to see that it works, not how fast.
        folder: where files are made and fetched to; None: a temporary one of the system's.
    """

    runs: int = 5
    quick: bool = False
    folder: Path | None = None

    def size(self, size_bytes: int, quick_bytes: int) -> int:
        return quick_bytes if self.quick else size_bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """
    Args:
        body: Markdown for the report, a table as a rule.
        figures: what was reached of the goals in `goals.py`, by their names.
    """

    body: str
    figures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Question:
    """
    Args:
        name: for `--only` and for the markers in the report.
        title: heading of its section.
    """

    name: str
    title: str
    measure: Callable[[Options], Answer]


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def median_ratio(above: Sequence[float], below: Sequence[float]) -> float:
    """The median of the ratios within each round: machines drift, neighbours in time less so."""
    return statistics.median(a / b for a, b in zip(above, below, strict=True))


def size_name(size_bytes: int) -> str:
    for unit, name in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if size_bytes >= unit and size_bytes % unit == 0:
            return f"{size_bytes // unit} {name}"
    return f"{size_bytes} B"
