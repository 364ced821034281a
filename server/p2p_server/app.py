"""Composes a directory and runs it: what is started in which order, and stopped in the reverse."""

import asyncio
import contextlib
import fcntl
import gc
import logging
import os
import resource
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import (
    AbstractContextManager,
    AsyncExitStack,
    asynccontextmanager,
    contextmanager,
    nullcontext,
)
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from p2p_server import logs
from p2p_server.background import Pulse, purge, repeat, working
from p2p_server.config import Address, Config, PostgresUrl
from p2p_server.dialback.dialback import Dialback
from p2p_server.dialback.probes import insecure_probe, tls_probe
from p2p_server.directory.directory import Directory, Surroundings
from p2p_server.directory.models import Limits
from p2p_server.directory.presence.leases import LeaseTerms
from p2p_server.directory.trust.keyring import make_secrets, open_keyring
from p2p_server.rpc.calls import note_at_debug
from p2p_server.rpc.serve import DirectoryServer
from p2p_server.store.base import SharedStore, Store
from p2p_server.store.errors import StoreUnusable
from p2p_server.store.sqlite import SqliteStore

if TYPE_CHECKING:
    from p2p_server.metrics import Metrics

# So long may a thread of the store, back from SQLite, wait for a busy event loop, or that for it.
SWITCH_SECONDS: Final = 0.001
SWEEP_SECONDS: Final = 0.25
FEED_SWEEP_SECONDS: Final = 10.0
FEED_RETRY_SECONDS: Final = 0.1
TOTALS_SECONDS: Final = 10.0
PURGE_SECONDS: Final = 10.0
GRACE_SECONDS: Final = 4.0

T = TypeVar("T")

log = logging.getLogger(__name__)


class SystemClock:
    def monotonic(self) -> float:
        return time.monotonic()

    def wall(self) -> float:
        return time.time()


class AsyncSignal:
    """Implements `Signal` of the directory's watching."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def set(self) -> None:
        self._event.set()

    async def wait(self, seconds: float) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._event.wait()
        was_set = self._event.is_set()
        self._event.clear()
        return was_set


@dataclass(frozen=True, slots=True)
class RunningDirectory:
    """A directory that serves."""

    listen: Address  # with the port that is really bound
    fingerprint: str
    server: DirectoryServer
    directory: Directory
    metrics: Address | None = None  # where its metrics are read


async def serve(config: Config, on_ready: Callable[[RunningDirectory], None]) -> None:
    """Serves until SIGTERM or SIGINT. Raises what `running` raises."""
    _raise_open_files_limit()
    sys.setswitchinterval(SWITCH_SECONDS)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with running(config) as directory:
        # What is loaded now stays: to look for garbage among it held everybody up for 25 ms.
        gc.collect()
        gc.freeze()
        on_ready(directory)
        await stop.wait()
        log.info("stopping")
    log.info("stopped")


def _raise_open_files_limit() -> None:
    """Every peer online is an open connection; the usual limit of 1,024 is soon met."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


@asynccontextmanager
async def running(config: Config, limits: Limits | None = None) -> AsyncIterator[RunningDirectory]:
    """Serves within the block.

    Raises StoreUnusable, KeyringBroken, ListenFailed, OSError.
    """
    limits = limits or config.limits
    alone: AbstractContextManager[None] = nullcontext()
    if isinstance(config.database, Path):
        config.database.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        alone = alone_on(config.database)
    with alone:
        async with _running(config, limits) as directory:
            yield directory


def store_at(database: Path | PostgresUrl) -> tuple[Store, SharedStore | None]:
    """The store, and the same once more if several instances may use it. Raises StoreUnusable."""
    if isinstance(database, Path):
        return SqliteStore(database), None
    try:
        from p2p_server.store.postgres import PostgresStore
    except ModuleNotFoundError as missing:
        if missing.name != "asyncpg":
            raise
        raise StoreUnusable(
            "--store postgresql://… needs asyncpg: pip install 'p2p-share[postgres]'"
        ) from None
    shared = PostgresStore(database.url)
    return shared, shared


@contextmanager
def alone_on(database: Path) -> Iterator[None]:
    """Two directories on one database would end each other's leases. Raises StoreUnusable."""
    descriptor = os.open(f"{database}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreUnusable(
                f"another directory runs on {database}: stop it, or give this one a --state-dir of "
                "its own"
            ) from None
        yield
    finally:
        os.close(descriptor)


@asynccontextmanager
async def _running(config: Config, limits: Limits) -> AsyncIterator[RunningDirectory]:
    metrics = None if config.metrics is None else _new_metrics()
    store, shared = store_at(config.database)
    await store.open()
    async with AsyncExitStack() as stack:
        stack.push_async_callback(store.close)
        keyring = open_keyring(await store.secrets(lambda: make_secrets(os.urandom)))
        wake = asyncio.Event()
        directory = Directory(
            store if metrics is None else metrics.timed(store),
            keyring,
            _surroundings(wake, metrics),
            terms=LeaseTerms(config.lease_seconds, is_exact=config.lease_is_exact),
            limits=limits,
            shared=shared,
        )
        await directory.sessions.restore()
        page = None
        if metrics is not None and config.metrics is not None:
            metrics.about(directory)
            page = stack.enter_context(metrics.served(config.metrics))
        server = DirectoryServer(
            directory,
            limits,
            keyring,
            insecure=config.insecure,
            observe=note_at_debug if metrics is None else _both(note_at_debug, metrics.observe),
        )
        listen = Address(config.listen.host, await server.start(config.listen))
        stack.push_async_callback(server.stop, 0)
        probe = insecure_probe() if config.insecure else tls_probe()
        work = [
            Dialback(directory.reachability, probe, wake).run(),
            *_repeated(store, directory, server, metrics),
        ]
        if shared is not None:
            work.append(shared.run())
        async with working(work):
            yield RunningDirectory(listen, keyring.directory_id, server, directory, page)
            await server.stop(GRACE_SECONDS)


def _surroundings(wake_dialback: asyncio.Event, metrics: "Metrics | None") -> Surroundings:
    return Surroundings(
        clock=SystemClock(),
        entropy=os.urandom,
        tell=logs.tell if metrics is None else _both(logs.tell, metrics.tell),
        wake_dialback=wake_dialback.set,
        new_signal=AsyncSignal,
        pause=asyncio.sleep,
    )


def _repeated(
    store: Store, directory: Directory, server: DirectoryServer, metrics: "Metrics | None"
) -> list[Coroutine[object, object, None]]:
    steps = [
        repeat(FEED_RETRY_SECONDS, directory.feed.run),
        repeat(FEED_SWEEP_SECONDS, directory.feed.sweep),
        repeat(SWEEP_SECONDS, Pulse(store, directory, server.set_serving).beat),
        repeat(PURGE_SECONDS, lambda: purge(store)),
    ]
    if metrics is not None:
        steps.append(repeat(TOTALS_SECONDS, partial(metrics.look, store)))
    return steps


def _new_metrics() -> "Metrics":
    from p2p_server.metrics import Metrics  # its library is loaded where it is wanted

    return Metrics()


def _both(first: Callable[[T], None], second: Callable[[T], None]) -> Callable[[T], None]:
    def tell(what: T) -> None:
        first(what)
        second(what)

    return tell
