"""When the write-ahead log is moved into the database, and by whom.

A checkpoint of a full log reads and writes a hundred MiB and waits for the disk twice. Left to the
writer it stalls everybody who waits for a change, and where queries come all the time, so that the
log cannot begin anew, it does so after each commit. Here a thread of its own moves the log beside
the writer; the writer then moves the little that came meanwhile and begins the log anew.
"""

import logging
from contextlib import suppress
from typing import Final

import apsw

from p2p_server.store.sqlite.connection import BUSY_TIMEOUT_MS, failures_translated
from p2p_server.store.sqlite.threads.lanes import Lane, Urgency

# 128 MiB of log: announces change the same pages again and again, and the longer those stay in it,
# the fewer times they are written into the database (a seventh more announces than with 32).
CHECKPOINT_PAGES: Final = 32_768
READERS_WAIT_MS: Final = 50  # for queries that read the log, so that it can begin anew

log = logging.getLogger(__name__)


class Checkpoints:
    """Follows the commits of the writer's connection, and has the log moved when it is long.

    `_is_moving` is set in the writer's thread and cleared when nothing of it is under way any more;
    all else is the writer's thread's.
    """

    def __init__(self, writer: Lane, mover: Lane) -> None:
        self._writer = writer
        self._mover = mover
        self._pages = 0  # in the log after the last commit
        self._moved = 0  # of them, when the log was last moved and could not begin anew
        self._is_moving = False

    def follow(self, connection: apsw.Connection) -> None:
        """From now on; SQLite's own way to do it, after a commit, ends with that."""
        connection.set_wal_hook(self._committed)

    def _committed(self, connection: apsw.Connection, name: str, pages: int) -> int:
        if pages < self._pages:
            self._moved = 0  # it began anew
        self._pages = pages
        if not self._is_moving and pages - self._moved >= CHECKPOINT_PAGES:
            self._is_moving = True
            self._mover.post(self._move, Urgency.UPKEEP)
        return apsw.SQLITE_OK

    def _move(self, connection: apsw.Connection) -> None:
        try:
            with failures_translated(), suppress(apsw.BusyError):  # another process does it
                connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        except BaseException:
            self._is_moving = False  # the next commit has it tried again
            raise
        self._writer.post(self._finish, Urgency.SESSION)

    def _finish(self, connection: apsw.Connection) -> None:
        """Moves what was written meanwhile. The next change begins the log anew, unless somebody
        reads it longer than is waited for; then it grows on and is moved again later."""
        connection.set_busy_timeout(READERS_WAIT_MS)
        try:
            with failures_translated(), suppress(apsw.BusyError):
                connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_RESTART)
        finally:
            connection.set_busy_timeout(BUSY_TIMEOUT_MS)
            self._moved = self._pages
            self._is_moving = False
