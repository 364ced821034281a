"""Runs the measurements and writes their tables into docs/performance.md.

Each file beside this one and in `fetching` asks one question. To add one: a module with
`measure(Options) -> Answer`, and a line in QUESTIONS.
"""

import argparse
import signal
import subprocess
import sys
from pathlib import Path

from bench import goals, manifest, scheduler, startup
from bench.fetching import hosts, limits, memory, one_source, sources, swarm, tree
from bench.stages import measure as stages
from bench.support import report
from bench.support.processes import Failed
from bench.support.question import Answer, Options, Question

QUESTIONS = (
    Question("one-source", "One file from one source", one_source.measure),
    Question("sources", "One file from several sources", sources.measure),
    Question("tree", "Many small files", tree.measure),
    Question("swarm", "A swarm from one slow seeder", swarm.measure),
    Question("hosts", "Several hosts behind slow links", hosts.measure),
    Question("limits", "Limits", limits.measure),
    Question("memory", "A sharer that serves sixteen at once", memory.measure),
    Question("start-up", "Start-up", startup.measure),
    Question("stages", "What each stage costs", stages.measure),
    Question("scheduler", "The scheduler", scheduler.measure),
    Question("manifest", "A manifest of 64 GiB", manifest.measure),
)
GOALS_SECTION = "goals"


def main() -> None:
    asked, options, dry = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))  # nothing is left running
    figures, failed = dict[str, float](), list[str]()
    for question in asked:
        print(f"== {question.title}", file=sys.stderr)
        try:
            answer = question.measure(options)
        except (Failed, AssertionError, subprocess.CalledProcessError, OSError) as error:
            failed.append(question.name)
            print(f"{question.name} failed: {error}", file=sys.stderr)
            continue
        figures |= answer.figures
        _show(question, answer, dry)
    table = goals.summary(figures, "" if dry else report.section(GOALS_SECTION))
    print(table)
    if not dry and figures:
        report.put_section(GOALS_SECTION, "Goals", goals.__doc__ or "", table)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def _show(question: Question, answer: Answer, dry: bool) -> None:
    body = f"Measured {report.machine()}.\n\n{answer.body}"
    print(f"\n## {question.title}\n{body}\n", flush=True)
    if not dry:
        about = sys.modules[question.measure.__module__].__doc__ or ""
        report.put_section(question.name, question.title, about, body)


def _arguments() -> tuple[tuple[Question, ...], Options, bool]:
    names = [question.name for question in QUESTIONS]
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "--only", metavar="NAME", action="append", choices=names, help=f"of {', '.join(names)}"
    )
    parser.add_argument("--runs", type=int, default=5, help="counted runs of each program")
    parser.add_argument(
        "--quick", action="store_true", help="small sizes, printed only: does it all work?"
    )
    parser.add_argument("--dry", action="store_true", help="print only, leave the report alone")
    parser.add_argument("--folder", type=Path, help="where files are made and fetched to")
    given = parser.parse_args()
    if given.runs < 1:
        parser.error("--runs: at least 1")
    if given.folder is not None and not given.folder.is_dir():
        parser.error(f"--folder {given.folder} is no folder")
    asked = tuple(question for question in QUESTIONS if question.name in (given.only or names))
    options = Options(given.runs, given.quick, given.folder)
    return asked, options, given.dry or given.quick


if __name__ == "__main__":
    main()
