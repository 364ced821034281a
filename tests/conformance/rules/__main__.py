"""Tries the rules of the contract on a client given as a command line, and prints which hold.

Usage: python -m tests.conformance.rules [--share CMD] [--get CMD] [--only TEXT] [-v]

We play the directory and all other peers, over TLS on loopback. What the commands must understand
is in docs/conformance.md. The exit status is 1 when a rule is broken.
"""

import argparse
import asyncio
import logging
import shlex
import shutil
import sys
from pathlib import Path

from tests.conformance.rules import beyond, getting, serving, sharing, swarming
from tests.conformance.rules.book import RULES, Outcome, try_all

assert all((beyond, getting, serving, sharing, swarming)), "imported for their rules"


def command_of(text: str) -> tuple[str, ...]:
    """The program by its whole path, for it is started in another folder.

    Raises ValueError when there is no such program.
    """
    program, *arguments = shlex.split(text) or [""]
    found = shutil.which(program)
    if found is None:
        raise ValueError(f"there is no program {program!r}")
    return (str(Path(found).absolute()), *arguments)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--share", metavar="CMD", help="called as `CMD share --listen … FOLDER`")
    parser.add_argument("--get", metavar="CMD", help="called as `CMD get b3:DIGEST -o FILE`")
    parser.add_argument("--only", default="", metavar="TEXT", help="only rules with this in them")
    parser.add_argument("--at-once", type=int, default=4, metavar="N", help="rules tried at once")
    parser.add_argument("-v", action="store_true", dest="verbose", help="all that a program said")
    arguments = parser.parse_args()
    given = {"share": arguments.share, "get": arguments.get}
    try:
        commands = {side: command_of(text) for side, text in given.items() if text}
    except ValueError as error:
        parser.error(str(error))
    if not commands:
        parser.error("nothing to try: name a command with --share or --get")
    logging.disable()  # what a played server thinks of a client is in the outcome

    def tell(outcome: Outcome) -> None:
        print(outcome, flush=True)
        if outcome.failure and arguments.verbose:
            print(outcome.failure, flush=True)

    outcomes = asyncio.run(
        try_all(commands, at_once=arguments.at_once, only=arguments.only, tell=tell)
    )
    broken = sum(bool(outcome.failure) for outcome in outcomes)
    print(f"{len(outcomes) - broken} of {len(outcomes)} rules hold")
    if len(commands) < 2:
        print(f"({len(RULES)} rules in all; the others need the other command)")
    sys.exit(broken > 0)


if __name__ == "__main__":
    main()
