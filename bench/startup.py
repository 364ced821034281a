"""How long does a command take to say something, beside the import that it cannot do without?

Whole processes in turns, warm. The further rows say where the time of a short command goes.
"""

import statistics
import sys
import tempfile
from pathlib import Path

from tests.support.programs.network import CLIENT

from bench.contenders.ours import quiet_network
from bench.support.processes import Cost, run
from bench.support.question import Answer, Options, median_ratio, table

RUNS = 20
QUICK_RUNS = 2
HELP, IMPORT = "`p2p-client --help`", '`python -c "import grpc"`'


def measure(options: Options) -> Answer:
    runs = max(options.runs, QUICK_RUNS if options.quick else RUNS)
    with (
        tempfile.TemporaryDirectory(prefix="p2p-bench-", dir=options.folder) as scratch,
        quiet_network(Path(scratch)) as network,
    ):
        network.directory()
        user = network.user("somebody")
        commands = {
            "`python -c pass`": [sys.executable, "-c", "pass"],
            IMPORT: [sys.executable, "-c", "import grpc"],
            HELP: [str(CLIENT), "--help"],
            "`p2p-client search nothing`": [str(CLIENT), "search", "nothing"],
        }
        costs: dict[str, list[Cost]] = {name: [] for name in commands}
        for number in range(runs + 1):
            for name, command in commands.items():
                cost = run(command, user.environment)
                if number:
                    costs[name].append(cost)
    seconds = {name: [cost.seconds for cost in found] for name, found in costs.items()}
    rows = [
        [
            name,
            f"{1e3 * statistics.median(seconds[name]):.0f}",
            f"{1e3 * statistics.median(cost.cpu_seconds for cost in costs[name]):.0f}",
            f"{median_ratio(seconds[name], seconds[IMPORT]):.2f}×",
            f"{max(cost.peak_mib for cost in costs[name]):.0f} MiB",
        ]
        for name in commands
    ]
    head = ["whole process", "median ms", "CPU ms", f"time to {IMPORT}", "peak memory"]
    return Answer(table(head, rows), {"start-up": median_ratio(seconds[HELP], seconds[IMPORT])})
