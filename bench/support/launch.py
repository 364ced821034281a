"""Runs one command as a small process of its own would, and prints what it cost as JSON.

Usage: python -I -S launch.py COMMAND...

A process started by a big one is charged with the big one's memory (Linux counts what it was before
exec in ru_maxrss). So commands are started from here: this file imports next to nothing, and 10 MiB
is the least that is ever shown. Time runs from before the start to after the end of the process.
"""

import os
import sys
from time import perf_counter


def main() -> None:
    begun = perf_counter()
    nothing = os.open(os.devnull, os.O_RDWR)
    streams = [(os.POSIX_SPAWN_DUP2, nothing, number) for number in (0, 1)]
    process = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ, file_actions=streams)
    _, status, usage = os.wait4(process, 0)
    seconds = perf_counter() - begun
    cpu_seconds = usage.ru_utime + usage.ru_stime
    code = os.waitstatus_to_exitcode(status)
    print(f"[{code}, {seconds!r}, {cpu_seconds!r}, {usage.ru_maxrss}]")


if __name__ == "__main__":
    main()
