"""Threads that own connections and do one piece of work after another.

A lane with one thread is the writer, one with several the readers. The event loop never waits for
the disk, and no connection is ever used by two. Work goes to the thread that was busy last: its
connection has the pages that the next work is likely to need.
"""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from enum import IntEnum
from heapq import heappop, heappush
from itertools import count
from typing import Generic, TypeVar

import apsw

from p2p_server.directory.errors import StoreUnavailable
from p2p_server.store.sqlite.connection import failures_translated

T = TypeVar("T")


class Urgency(IntEnum):
    """Sessions come before catalogs: a thousand announces must not let anybody's lease end."""

    STOP = 0
    SESSION = 1
    CATALOG = 2
    UPKEEP = 3


class _Job(Generic[T]):
    """Work to do and the future that waits for it."""

    def __init__(self, work: Callable[[apsw.Connection], T]) -> None:
        self._work = work
        self.done: Future[T] = Future()

    def do(self, connection: apsw.Connection) -> None:
        if not self.done.set_running_or_notify_cancel():
            return  # nobody waits any more
        try:
            with failures_translated():
                result = self._work(connection)
        except BaseException as failure:  # whatever it is, it belongs to who waits
            self.done.set_exception(failure)
        else:
            self.done.set_result(result)

    def refuse(self) -> None:
        if self.done.set_running_or_notify_cancel():
            self.done.set_exception(StoreUnavailable())


def _promise() -> Future[None]:
    """A future that a thread will keep, whether or not somebody stops waiting for it."""
    promise: Future[None] = Future()
    promise.set_running_or_notify_cancel()
    return promise


class _Jobs:
    """What waits to be done, the most urgent first, and who waits for work, the latest last."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._waiting: list[tuple[Urgency, int, _Job[object] | None]] = []
        self._arrival = count()
        self._idle: list[threading.Lock] = []

    def put(self, urgency: Urgency, job: _Job[T] | None) -> None:
        """None: a thread is to end."""
        with self._guard:
            heappush(self._waiting, (urgency, next(self._arrival), job))  # type: ignore[misc]  # of any result
            bell = self._idle.pop() if self._idle else None
        if bell is not None:
            bell.release()

    def get(self, bell: threading.Lock) -> _Job[object] | None:
        """Waits for work; `bell` is the thread's own, and taken."""
        while True:
            with self._guard:
                if self._waiting:
                    return heappop(self._waiting)[2]
                self._idle.append(bell)
            bell.acquire()

    def left(self) -> list[_Job[object]]:
        """All that nobody will do any more."""
        with self._guard:
            left, self._waiting = self._waiting, []
        return [job for _, _, job in left if job is not None]


class Lane:
    """`thread_count` threads, each with a connection of its own, over one queue.

    Work that began is carried to its end, also when its caller was cancelled meanwhile.
    """

    def __init__(
        self, name: str, connect: Callable[[], apsw.Connection], thread_count: int
    ) -> None:
        self._name = name
        self._connect = connect
        self._thread_count = thread_count
        self._jobs = _Jobs()
        self._threads: list[threading.Thread] = []
        self._connections: list[apsw.Connection] = []
        self._ended: list[Future[None]] = []
        self._is_open = False

    async def start(self) -> None:
        """Opens the connections, each in its thread. Raises what `connect` raises."""
        opened = [_promise() for _ in range(self._thread_count)]
        self._ended = [_promise() for _ in range(self._thread_count)]
        self._threads = [
            threading.Thread(target=self._live, args=pair, name=f"{self._name}-{i}", daemon=True)
            for i, pair in enumerate(zip(opened, self._ended, strict=True))
        ]
        self._is_open = True
        for thread in self._threads:
            thread.start()
        try:
            await asyncio.gather(*map(asyncio.wrap_future, opened))
        except BaseException:
            await self.stop()
            raise

    async def run(
        self, work: Callable[[apsw.Connection], T], urgency: Urgency = Urgency.CATALOG
    ) -> T:
        """What `work` returns or raises, done in one of the threads."""
        if not self._is_open:
            raise StoreUnavailable
        job = _Job(work)
        self._jobs.put(urgency, job)
        return await asyncio.wrap_future(job.done)

    def post(self, work: Callable[[apsw.Connection], object], urgency: Urgency) -> None:
        """Has it done some time, and waits for nothing; what it raises is lost."""
        if self._is_open:
            self._jobs.put(urgency, _Job(work))

    def interrupt(self) -> None:
        """Makes the statements that run now fail."""
        for connection in self._connections:
            connection.interrupt()

    async def stop(self) -> None:
        """Lets what runs come to its end, refuses what waits, closes the connections."""
        self._is_open = False
        for _ in self._threads:
            self._jobs.put(Urgency.STOP, None)
        await asyncio.gather(*map(asyncio.wrap_future, self._ended))
        for thread in self._threads:
            thread.join()  # it has nothing left to do
        self._threads, self._connections, self._ended = [], [], []
        for job in self._jobs.left():
            job.refuse()

    def _live(self, opened: Future[None], ended: Future[None]) -> None:
        try:
            try:
                connection = self._connect()
            except BaseException as failure:  # told to who starts the lane
                opened.set_exception(failure)
                return
            self._connections.append(connection)
            opened.set_result(None)
            bell = threading.Lock()
            bell.acquire()
            try:
                while (job := self._jobs.get(bell)) is not None:
                    job.do(connection)
            finally:
                connection.close()
        finally:
            ended.set_result(None)
