"""The store of several directory instances: one PostgreSQL database. Needs asyncpg."""

from p2p_server.store.postgres.store import PostgresStore

__all__ = ["PostgresStore"]
