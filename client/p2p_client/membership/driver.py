"""Carries out what the membership machine decides: calls, timers, notices.

Decides nothing itself. Also the door for everybody else's calls to the directory: `call` gives them
a session and a second try.
"""

import asyncio
import contextlib
import random
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from datetime import UTC, datetime
from typing import TypeVar

from p2p_client.errors import DirectoryRefused, DirectoryUnreachable, PeerError
from p2p_client.library.catalog import Catalog
from p2p_client.membership.calls import Calls
from p2p_client.membership.clock import DirectoryClock
from p2p_client.membership.events import (
    Adopt,
    CallFailed,
    CatalogChanged,
    Command,
    Event,
    Fail,
    LeaveAsked,
    Observe,
    SessionGone,
    SetTimer,
    Started,
    Tell,
    Timer,
    TimerFired,
)
from p2p_client.membership.machine import SESSION_GONE, Machine, State
from p2p_client.models import (
    Endpoint,
    EndpointStatus,
    Granted,
    PeerId,
    RejectedItem,
    Verdict,
)
from p2p_client.net.directory import DirectoryClient
from p2p_client.net.identity import Identity

LEAVE_SECONDS = 2.0
JUDGING_SECONDS = 15.0  # a directory dials back for 3 s; one that never says so is not waited for
FIRST_RETRY_SECONDS = 0.2
LONGEST_RETRY_SECONDS = 1.0

T = TypeVar("T")


class Membership:
    """Our session at the directory, for as long as `run` runs.

    Args:
        catalog: what we share; None: a client-only, unlisted session.
        endpoints: candidate addresses, already listening.
        listen_port: where we listen on all interfaces; 0: nowhere.
        load: active and most uploads, asked at every heartbeat.
        on_notice: told one sentence per event worth one.
        on_granted: told at every admission, before anything is announced in it.
    """

    def __init__(
        self,
        directory: DirectoryClient,
        identity: Identity,
        user: str,
        peer_id: PeerId,
        *,
        catalog: Catalog | None = None,
        endpoints: Sequence[Endpoint] = (),
        listen_port: int = 0,
        load: Callable[[], tuple[int, int]] = lambda: (0, 0),
        on_notice: Callable[[str], None] = lambda _: None,
        on_granted: Callable[[Granted], None] | None = None,
    ) -> None:
        self.clock = DirectoryClock(datetime.now(UTC), time.monotonic())
        self.granted: Granted | None = None
        self._directory = directory
        self._catalog = catalog
        self._calls = Calls(
            directory,
            identity,
            user,
            peer_id,
            listed=catalog is not None,
            endpoints=tuple(endpoints),
            listen_port=listen_port,
            load=load,
        )
        self._on_notice = on_notice
        self._on_granted = on_granted
        self._machine = Machine(str(directory), catalog, random.random)
        self._mailbox: asyncio.Queue[Event] = asyncio.Queue()
        self._timers: dict[Timer, asyncio.TimerHandle] = {}
        self._catalog_is_dirty = False
        self._moved = asyncio.Event()
        self._latest_error: PeerError | None = None
        self._fatal: PeerError | None = None
        self._is_running = False
        self._has_ended = False

    # --- what others see -----------------------------------------------------------------------

    @property
    def endpoint_statuses(self) -> tuple[EndpointStatus, ...]:
        return self._machine.endpoint_statuses

    @property
    def grant_key_der(self) -> bytes:
        """The key that verifies grants; empty before the first admission."""
        return b"" if self.granted is None else self.granted.grant_key_der

    @property
    def rejected(self) -> tuple[RejectedItem, ...]:
        """What the directory would not list, each once."""
        announcing = self._machine.announcing
        return () if announcing is None else tuple(announcing.rejected.values())

    async def joined(self) -> Granted:
        """The session, as soon as there is one.

        Raises what makes one impossible; DirectoryUnreachable (or the refusal that stands in the
        way) after the directory timeout.
        """
        try:
            async with asyncio.timeout(self._directory.timeout_seconds):
                await self._until(lambda: self._machine.has_session)
        except TimeoutError:
            raise self._latest_error or DirectoryUnreachable(
                f"the directory {self._directory} does not answer"
            ) from None
        assert self.granted is not None
        return self.granted

    async def call(self, work: Callable[[DirectoryClient], Awaitable[T]]) -> T:
        """Does it in a session: registers again where the directory has forgotten ours, and tries
        again within the directory timeout where it does not answer. `work` may run several times.
        """
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + self._directory.timeout_seconds
        pause, has_registered_again = FIRST_RETRY_SECONDS, False
        while True:
            await self.joined()
            session = self._machine.session
            try:
                return await work(self._directory)
            except DirectoryUnreachable:
                if loop.time() + pause > give_up_at:
                    raise
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_RETRY_SECONDS)
            except DirectoryRefused as error:
                if error.reason not in SESSION_GONE or has_registered_again:
                    raise
                has_registered_again = True
                await self._registered_again(session, error)

    async def announced(self) -> None:
        """Waits until the directory holds what the catalog has now, and has judged our endpoints.

        Raises what the directory has against the catalog as a whole, and what ends the session.
        """
        announcing = self._machine.announcing
        if announcing is None:
            return
        wanted = announcing.revision
        await self._until(lambda: announcing.holds(wanted) or announcing.error is not None)
        if announcing.error is not None:
            raise announcing.error
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(JUDGING_SECONDS):
                await self._until(lambda: not self._is_being_judged())

    async def leave(self) -> None:
        """Ends the session now, as far as the directory can be told in 2 s; `run` then returns."""
        if not self._is_running:
            return
        self._post(LeaveAsked())
        with contextlib.suppress(TimeoutError, PeerError):
            async with asyncio.timeout(LEAVE_SECONDS):
                await self._until(lambda: self._machine.state is State.LEFT)

    # --- running -------------------------------------------------------------------------------

    async def run(self) -> None:
        """Lives until it has left or is cancelled; raises what makes a session impossible."""
        if self._catalog is not None:
            self._catalog.subscribe(self._catalog_changed)
        self._is_running = True
        self._post(Started())
        try:
            async with asyncio.TaskGroup() as calls:
                await self._work(calls)
        finally:
            self._is_running, self._has_ended = False, True
            for timer in self._timers.values():
                timer.cancel()
            self._wake()
        if self._fatal is not None:
            raise self._fatal

    async def _work(self, group: asyncio.TaskGroup) -> None:
        running: set[asyncio.Task[None]] = set()
        while self._machine.state not in (State.LEFT, State.FAILED):
            event = await self._mailbox.get()
            if isinstance(event, CatalogChanged):
                self._catalog_is_dirty = False
            for command in self._machine.handle(event):
                call = self._calls.of(command)
                if call is None:
                    self._carry_out(command)
                    continue
                task = group.create_task(self._make(call))
                running.add(task)
                task.add_done_callback(running.discard)
            self._wake()
        for task in running:
            task.cancel()

    async def _make(self, call: Coroutine[object, object, Event]) -> None:
        event = await call
        if isinstance(event, CallFailed):
            self._latest_error = event.error
        self._post(event)

    def _carry_out(self, command: Command) -> None:
        match command:
            case SetTimer(timer, seconds):
                self._set_timer(timer, seconds)
            case Adopt(granted):
                self._adopt(granted)
            case Observe(directory_time):
                self.clock.observe(directory_time, time.monotonic())
            case Tell(text):
                self._on_notice(text)
            case Fail(error):
                self._fatal = error

    def _adopt(self, granted: Granted) -> None:
        self.granted, self._latest_error = granted, None
        self.clock.observe(granted.renewed.directory_time, time.monotonic())
        if self._on_granted is not None:
            self._on_granted(granted)

    def _set_timer(self, timer: Timer, seconds: float) -> None:
        running = self._timers.pop(timer, None)
        if running is not None:
            running.cancel()
        loop = asyncio.get_running_loop()
        self._timers[timer] = loop.call_later(seconds, self._post, TimerFired(timer))

    def _catalog_changed(self) -> None:
        if not self._catalog_is_dirty:
            self._catalog_is_dirty = True
            self._post(CatalogChanged())

    def _post(self, event: Event) -> None:
        if self._is_running:
            self._mailbox.put_nowait(event)

    # --- waiting -------------------------------------------------------------------------------

    def _wake(self) -> None:
        self._moved.set()
        self._moved = asyncio.Event()

    async def _until(self, holds: Callable[[], bool]) -> None:
        """Raises what ended the session for good, if that comes first."""
        while not holds():
            if self._fatal is not None:
                raise self._fatal
            if self._has_ended:
                raise DirectoryUnreachable(f"the session at {self._directory} has ended")
            await self._moved.wait()

    async def _registered_again(self, session: int, error: DirectoryRefused) -> None:
        self._post(SessionGone(session))
        try:
            async with asyncio.timeout(self._directory.timeout_seconds):
                await self._until(lambda: self._machine.session > session)
        except TimeoutError:
            raise error from None

    def _is_being_judged(self) -> bool:
        return any(at.verdict is Verdict.PENDING for at in self._machine.endpoint_statuses)
