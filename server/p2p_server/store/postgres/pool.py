"""Connections to PostgreSQL: how many, with which settings, and what their failures mean.

Owns transactions, their repetition after a deadlock, and deadlines. It knows no table.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from enum import Enum
from typing import Final, TypeAlias, TypeVar

import asyncpg

from p2p_server.config import without_password
from p2p_server.directory.errors import Overloaded, StoreUnavailable
from p2p_server.store.errors import StoreUnusable

Connection: TypeAlias = (  # generic in the stubs alone
    "asyncpg.Connection[asyncpg.Record] | asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"
)

T = TypeVar("T")

log = logging.getLogger(__name__)

SCHEMA: Final = "p2p_directory"
MOST_CONNECTIONS: Final = 12
MOST_ANNOUNCES: Final = 3  # at once, so that sessions and answers always find a connection
MOST_ANSWERS: Final = 6
CONNECT_SECONDS: Final = 3.0
CLOSE_SECONDS: Final = 3.0
MOST_TRIES: Final = 4

_SETTINGS: Final = {
    "application_name": "p2p-server",
    "search_path": SCHEMA,
    "timezone": "UTC",
    "synchronous_commit": "off",  # what must be durable turns it on
    "plan_cache_mode": "force_custom_plan",  # how rare a word is decides the plan
    "jit": "off",
    "statement_timeout": "4s",
    "lock_timeout": "3s",
    "idle_in_transaction_session_timeout": "10s",  # of an instance whose machine is gone
}

# A connection that is used directly is no more; cut in the middle of an answer, asyncpg calls that
# an internal error of its own.
LOST = (
    OSError,
    TimeoutError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)

# The database or the way to it fails; whatever else asyncpg raises is a fault of this code.
_UNAVAILABLE = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.InsufficientResourcesError,
    asyncpg.OperatorInterventionError,
    asyncpg.PostgresSystemError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.ObjectNotInPrerequisiteStateError,  # a lock that somebody holds for too long
    asyncpg.IndexCorruptedError,
    asyncpg.DataCorruptedError,
)
_AGAIN = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError)


class Lane(Enum):
    """What a connection is wanted for: each has its share, so that none starves the others."""

    SESSION = "session"
    CATALOG = "catalog"
    ANSWER = "answer"


# The database keeps these itself; we only when it is silent for longer.
_SECONDS: Final = {Lane.SESSION: 4.0, Lane.CATALOG: 25.0, Lane.ANSWER: 3.0}
_SILENCE_SECONDS: Final = 1.0


@contextmanager
def failures_translated() -> Iterator[None]:
    """Failures of the database become StoreUnavailable; the log tells which."""
    try:
        yield
    except _UNAVAILABLE as failure:
        log.debug("the database failed: %s: %s", type(failure).__name__, failure)
        raise StoreUnavailable from failure


class Pool:
    """The connections of one instance to its database."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None
        others = MOST_CONNECTIONS - MOST_ANNOUNCES - MOST_ANSWERS
        self._shares = {
            Lane.CATALOG: asyncio.Semaphore(MOST_ANNOUNCES),
            Lane.ANSWER: asyncio.Semaphore(MOST_ANSWERS),
            Lane.SESSION: asyncio.Semaphore(others),
        }

    async def connect(self) -> "asyncpg.Connection[asyncpg.Record]":
        """A connection beside the pool. Raises StoreUnusable for a URL that is none, else what
        asyncpg raises."""
        try:
            return await asyncpg.connect(
                self.url, timeout=CONNECT_SECONDS, server_settings=_SETTINGS
            )
        except (ValueError, asyncpg.ClientConfigurationError):
            # What is wrong is not told: it may be a part of the password.
            raise StoreUnusable(
                f"--store is not a URL that PostgreSQL takes ({without_password(self.url)}): "
                "characters such as / ? # @ in a password are written %2F %3F %23 %40"
            ) from None

    async def open(self) -> None:
        self._pool = await asyncpg.create_pool(
            self.url,
            min_size=0,
            max_size=MOST_CONNECTIONS,
            max_inactive_connection_lifetime=60.0,
            timeout=CONNECT_SECONDS,
            server_settings=_SETTINGS,
            statement_cache_size=256,
            reset=_nothing_to_reset,
        )

    async def close(self) -> None:
        """Ends what runs when it does not come to its end in time."""
        pool, self._pool = self._pool, None
        if pool is None:
            return
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await pool.close()
        except _UNAVAILABLE:
            pool.terminate()

    async def do(
        self,
        work: Callable[[Connection], Awaitable[T]],
        lane: Lane = Lane.SESSION,
        *,
        durable: bool = False,
    ) -> T:
        """What `work` returns, done in one transaction; done again when it met another at the same
        rows in the wrong order. `durable`: it is on the disk when this returns.

        Raises StoreUnavailable.
        """
        begin = f"BEGIN; SET LOCAL statement_timeout = '{_SECONDS[lane]:g}s'"
        if durable:
            begin += "; SET LOCAL synchronous_commit = on"
        for _ in range(MOST_TRIES):
            try:
                return await self._run(lane, begin, work)
            except _AGAIN:
                continue
        raise StoreUnavailable

    async def look(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """What `work` returns; all its statements see one and the same state.

        Raises Overloaded when one takes too long, StoreUnavailable.
        """
        begin = (
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; "
            f"SET LOCAL statement_timeout = '{_SECONDS[Lane.ANSWER]:g}s'"
        )
        try:
            return await self._run(Lane.ANSWER, begin, work)
        except StoreUnavailable as failure:
            if isinstance(failure.__cause__, asyncpg.QueryCanceledError):
                raise _too_slow() from None
            raise

    async def at_once(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """What `work` returns; it is one statement, and so needs no transaction around it."""
        return await self._run(Lane.SESSION, "", work)

    async def _run(self, lane: Lane, begin: str, work: Callable[[Connection], Awaitable[T]]) -> T:
        with failures_translated():
            async with self._connection(lane) as connection:
                try:
                    async with asyncio.timeout(_SECONDS[lane] + _SILENCE_SECONDS):
                        if begin:
                            await connection.execute(begin)
                        result = await work(connection)
                        if begin:
                            await connection.execute("COMMIT")
                        return result
                except TimeoutError:
                    connection.terminate()
                    raise
                except BaseException:
                    await _roll_back(connection)
                    raise

    @asynccontextmanager
    async def _connection(self, lane: Lane) -> AsyncIterator[Connection]:
        pool, share = self._pool, self._shares[lane]
        if pool is None:
            raise StoreUnavailable
        async with asyncio.timeout(_SECONDS[lane]):
            await share.acquire()
        try:
            connection = await pool.acquire(timeout=CONNECT_SECONDS)
            try:
                yield connection
            finally:
                await pool.release(connection, timeout=CLOSE_SECONDS)
        finally:
            share.release()


async def _nothing_to_reset(connection: "Connection") -> None:
    """What a transaction sets ends with it, and nothing is set outside of one."""


async def _roll_back(connection: "Connection") -> None:
    """Ends what was begun, whatever state the connection is in."""
    try:
        async with asyncio.timeout(_SILENCE_SECONDS):
            if connection.is_in_transaction():
                await connection.execute("ROLLBACK")
    except (*_UNAVAILABLE, asyncpg.PostgresError):
        connection.terminate()


def _too_slow() -> Overloaded:
    return Overloaded("the query takes too long; ask for something more specific")
