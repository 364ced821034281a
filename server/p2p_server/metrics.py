"""Prometheus metrics: what is counted, and the page on which it is read.

Loaded only with --metrics. Numbers come from what the directory does anyway: its finished calls,
its events, its parts; only totals are asked of the store, now and then and not at each reading. The
page is served by a thread of its own, which reads what is in memory.
"""

import asyncio
import errno
import functools
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, cast

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
    start_http_server,
)
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from p2p_server.config import Address
from p2p_server.directory.directory import Directory
from p2p_server.directory.events import Announced, Event, Expired
from p2p_server.directory.models import Totals
from p2p_server.rpc.calls import FinishedCall
from p2p_server.rpc.serve import ListenFailed
from p2p_server.store.base import Store
from p2p_server.version import software_version

_CALL_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 30)
_STORE_SECONDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 3, 10)


class Metrics:
    """All that is counted; `observe` and `tell` take what happens."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a series more for each series
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self._calls = Counter(
            "p2p_rpc_handled",
            "Calls that ended, by method, status code and reason.",
            ("method", "code", "reason"),
            registry=self.registry,
        )
        self._call_seconds = Histogram(
            "p2p_rpc_seconds",
            "How long calls took; streams (Watch) are counted when they end, not here.",
            ("method",),
            buckets=_CALL_SECONDS,
            registry=self.registry,
        )
        self._store_seconds = Histogram(
            "p2p_store_seconds",
            "How long the store took, waiting for its turn included.",
            ("operation",),
            buckets=_STORE_SECONDS,
            registry=self.registry,
        )
        self._expiries = self._counter("p2p_expiries", "Sessions ended for want of heartbeats.")
        self._announced = self._counter("p2p_announced_resources", "Resources taken in announces.")
        self._rejected = self._counter("p2p_rejected_items", "Items of announces not taken.")
        self._totals = Totals(0, 0, 0)
        self._lag = self._gauge("p2p_event_loop_lag_seconds", "How late the event loop was lately.")
        build = Gauge("p2p_build_info", "Which version runs.", ("version",), registry=self.registry)
        build.labels(software_version()).set(1)
        self._ended: dict[tuple[str, str, str], Counter] = {}
        self._took: dict[str, Histogram] = {}

    def _counter(self, name: str, about: str) -> Counter:
        return Counter(name, about, registry=self.registry)

    def _gauge(self, name: str, about: str, value: Callable[[], float] | None = None) -> Gauge:
        gauge = Gauge(name, about, registry=self.registry)
        if value is not None:
            gauge.set_function(value)
        return gauge

    # --- what happens --------------------------------------------------------------------------

    def observe(self, call: FinishedCall) -> None:
        key = (call.method, call.code, call.outcome)
        ended = self._ended.get(key)  # looking labels up costs as much as counting
        if ended is None:
            ended = self._ended[key] = self._calls.labels(*key)
        ended.inc()
        if call.is_stream:
            return
        took = self._took.get(call.method)
        if took is None:
            took = self._took[call.method] = self._call_seconds.labels(call.method)
        took.observe(call.seconds)

    def tell(self, event: Event) -> None:
        match event:
            case Expired():
                self._expiries.inc()
            case Announced():
                self._announced.inc(event.resources)
                self._rejected.inc(event.rejected)

    def timed(self, store: Store) -> Store:
        """The store, each of its operations timed."""
        return cast("Store", _Timed(store, self._store_seconds))

    def about(self, directory: Directory) -> None:
        """Adds what is read from the parts of a directory."""
        sessions, feed = directory.sessions, directory.feed
        self._gauge("p2p_leases", "Sessions that hold a lease.", lambda: len(sessions))
        self._gauge("p2p_lease_seconds", "The lease granted now.", lambda: sessions.lease_seconds)
        self._gauge("p2p_peers", "Peers in answers.", lambda: self._totals.peers)
        self._gauge("p2p_resources", "Resources in answers.", lambda: self._totals.resources)
        self._gauge("p2p_listed_bytes", "Their size together.", lambda: self._totals.size_bytes)
        self._gauge("p2p_watchers", "Open watches.", lambda: len(feed))
        self._gauge("p2p_watch_log_events", "Events held for watchers.", lambda: feed.log.weight)
        self.registry.register(
            _Counted("p2p_watch_events", "Events put out.", lambda: feed.counts.told)
        )
        self.registry.register(
            _Counted(
                "p2p_watch_restarts", "Times all watches began anew.", lambda: feed.counts.lost
            )
        )

    async def look(self, store: Store) -> None:
        """Refreshes what the store must be asked for, and how late the loop is. Now and then."""
        before = time.monotonic()
        await asyncio.sleep(0.05)
        self._lag.set(max(0.0, time.monotonic() - before - 0.05))
        self._totals = await store.totals()

    # --- the page ------------------------------------------------------------------------------

    @contextmanager
    def served(self, listen: Address) -> Iterator[Address]:
        """Serves the page within the block; where, with the port bound. Raises ListenFailed."""
        host = listen.host.strip("[]")
        try:
            server, thread = start_http_server(listen.port, host, self.registry)
        except OSError as error:
            in_use = error.errno == errno.EADDRINUSE
            why = "another program listens there" if in_use else error.strerror
            raise ListenFailed(
                f"cannot serve metrics at {listen}: {why or os.strerror(error.errno or 0)}; "
                "choose another address with --metrics"
            ) from None
        try:
            yield Address(listen.host, server.server_port)
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


class _Counted(Collector):
    """A counter of which the count is kept elsewhere."""

    def __init__(self, name: str, about: str, count: Callable[[], int]) -> None:
        self._name = name
        self._about = about
        self._count = count

    def collect(self) -> Iterator[Metric]:
        yield CounterMetricFamily(self._name, self._about, value=self._count())


class _Timed:
    """Any object whose coroutine methods are timed by name; all else passes through."""

    def __init__(self, inner: Any, seconds: Histogram) -> None:
        self._inner = inner
        self._seconds = seconds

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if not asyncio.iscoroutinefunction(found):
            return found
        took = self._seconds.labels(name)

        @functools.wraps(found)
        async def timed(*arguments: Any, **named: Any) -> Any:
            started_at = time.perf_counter()
            try:
                return await found(*arguments, **named)
            finally:
                took.observe(time.perf_counter() - started_at)

        self.__dict__[name] = timed  # asked for once
        return timed
