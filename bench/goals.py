"""What must be reached, as one table: the measurements bring the figures, this file judges them."""

from collections.abc import Mapping
from dataclasses import dataclass

from bench.support.question import table

NOT_MEASURED = "not measured yet"
HEAD = ("work", "against", "wanted", "reached", "")


@dataclass(frozen=True, slots=True)
class Goal:
    """A figure must be at least, or at most, the bound."""

    work: str
    against: str
    bound: float
    unit: str
    at_least: bool = True

    @property
    def wanted(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {self.bound:g}{self.unit}"

    def is_reached(self, figure: float) -> bool:
        return figure >= self.bound if self.at_least else figure <= self.bound


GOALS = {
    "insecure-to-curl": Goal(
        "1 GiB, one source, `--insecure`, verified, whole process",
        "speed of nginx → `curl -o`, then `b3sum`",
        1.0,
        "×",
    ),
    "insecure-to-libtorrent": Goal(
        "1 GiB, one source, `--insecure`", "speed of libtorrent 2.1 tuned, one seeder", 3.0, "×"
    ),
    "tls-to-scp": Goal("1 GiB, one source, TLS, verified", "speed of `scp`", 2.0, "×"),
    "tree-to-rsync": Goal(
        "10,000 × 4 KiB folder, `--insecure`", "speed of rsync from its daemon", 1.0, "×"
    ),
    "capped-sources": Goal("4 sources capped at 20 MB/s each", "their sum", 90, " %"),
    "killed-source": Goal(
        "the same, one killed on the way",
        "share of runs without an error or a lost byte",
        100,
        " %",
    ),
    "swarm": Goal(
        "1 seeder capped at 25 MB/s, 6 users fetch 200 MB with `--seed`, all done",
        "one copy's time (8 s)",
        1.6,
        "×",
        at_least=False,
    ),
    "seeder-upload": Goal(
        "the same", "copies that the seeder uploaded", 1.5, " copies", at_least=False
    ),
    "sharer-memory": Goal(
        "sharer serving 16 × 256 MiB at once", "peak memory", 200, " MiB", at_least=False
    ),
    "downloader-memory": Goal("downloader of 1 GiB", "peak memory", 200, " MiB", at_least=False),
    "limits": Goal("`--limit-up`, `--limit-down`", "off the limit", 5, " %", at_least=False),
    "start-up": Goal(
        "`p2p-client --help`, whole process",
        '`python -c "import grpc"`',
        1.5,
        "×",
        at_least=False,
    ),
}


def summary(figures: Mapping[str, float], before: str = "") -> str:
    """The table of all goals. What this run did not measure stays as it stood in `before`."""
    stood = {cells[:3]: cells[3:] for cells in map(_cells, before.splitlines()) if len(cells) == 5}
    rows = []
    for name, goal in GOALS.items():
        row = (goal.work, goal.against, goal.wanted)
        if name in figures:
            figure = figures[name]
            reached = (f"{figure:.3g}{goal.unit}", "yes" if goal.is_reached(figure) else "**no**")
        else:
            reached = stood.get(row, (NOT_MEASURED, "–"))
        rows.append((*row, *reached))
    return table(HEAD, rows)


def _cells(line: str) -> tuple[str, ...]:
    return tuple(cell.strip() for cell in line.strip().strip("|").split("|"))
