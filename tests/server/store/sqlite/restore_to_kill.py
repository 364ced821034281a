"""Puts a backup back, and kills itself (as kill -9 does) before the Nth change of a name.

Usage: python -m tests.server.store.sqlite.restore_to_kill BACKUP DATABASE N; 0: not at all.
What SQLite does by itself is left to it.
"""

import os
import signal
import sys
from pathlib import Path

from p2p_server.store.sqlite.upkeep import put_back

CHANGES = {"os.rename", "os.link", "os.remove"}


def main(backup: str, database: str, at: int) -> None:
    seen = 0

    def before(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal seen
        if event in CHANGES:
            seen += 1
            if seen == at:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(before)
    put_back(Path(backup), Path(database), ".before-restore-now")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
