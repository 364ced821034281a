"""The embedded store: one SQLite file (WAL), one writer thread, a few readers."""

from p2p_server.store.sqlite.store import SqliteStore

__all__ = ["SqliteStore"]
