"""Runs one scenario of the load generator and prints one JSON object.

Requests are encoded before the clock starts and answers are not decoded where only their number
counts, so that the machine's cores are the directory's as far as that is possible.

Usage: python -m bench.directory.load SCENARIO [options]; `python -m bench.directory` runs it.
"""

import argparse
import asyncio
import json
from pathlib import Path

from bench.directory.load.announcing import announce, churn
from bench.directory.load.asking import closed, first_answer, search
from bench.directory.load.etcd import etcd
from bench.directory.load.living import alive, idle, register

SCENARIOS = {
    name.__name__: name
    for name in (
        register,
        announce,
        churn,
        search,
        closed,
        alive,
        idle,
        first_answer,
        etcd,
    )
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenario", choices=SCENARIOS)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--sessions", type=Path, default=Path("sessions.json"))
    parser.add_argument("--resources", type=int, default=20_000)
    parser.add_argument("--peers", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--settle", type=float, default=15)
    parser.add_argument("--rate", type=float, default=100)
    parser.add_argument("--callers", type=int, default=16)
    parser.add_argument("--method", default="Heartbeat")
    options = parser.parse_args()
    result = asyncio.run(SCENARIOS[options.scenario](options))
    if result:
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
