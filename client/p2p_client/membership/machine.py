"""When to register, heartbeat, announce and leave: events in, commands out. Pure.

States:

    OFFLINE --Started--> REGISTERING --Admitted--> REGISTERED <--> LOST
                              ^                       |             |
                              +----- session gone ----+-------------+
    any --LeaveAsked--> LEAVING --> LEFT          any --fatal error--> FAILED

LOST means: we have a session, but the directory did not answer of late. A *session* here is a count
of our admissions; answers to calls made in an earlier one are ignored. The driver carries out the
commands: each call is answered by exactly one event, a timer of a kind replaces the one before.
"""

from collections.abc import Callable
from enum import Enum, auto
from typing import ClassVar, TypeGuard

from p2p_client.errors import (
    DirectoryError,
    DirectoryRefused,
    DirectoryUnreachable,
    DirectoryUntrusted,
    PeerError,
)
from p2p_client.library.catalog import Catalog
from p2p_client.membership.announcing import Announcing
from p2p_client.membership.events import (
    Admitted,
    Adopt,
    BatchTaken,
    Call,
    CallFailed,
    CatalogChanged,
    Command,
    Event,
    Fail,
    HeartbeatTaken,
    LeaveAsked,
    LeaveDone,
    Observe,
    SendHeartbeat,
    SendLeave,
    SendRegister,
    SessionGone,
    SetTimer,
    Started,
    Tell,
    Timer,
    TimerFired,
)
from p2p_client.models import Announced, EndpointStatus, Renewed, Revision

FIRST_RETRY_SECONDS = 0.2
LONGEST_RETRY_SECONDS = 8.0  # with the call itself still within 15 s of the directory's return
RETRIES_PER_LEASE = 3  # a directory that comes back gives us one lease to be heard in

SESSION_GONE = frozenset({"SESSION_UNKNOWN", "SESSION_MISSING"})
_REFUSED_FOR_GOOD = frozenset(
    {
        "USERNAME_TAKEN",
        "PEER_ID_TAKEN",
        "CERTIFICATE_INVALID",
        "PROOF_INVALID",
        "FIELD_INVALID",
        "TRANSPORT_MISMATCH",
        "PROTOCOL_VIOLATED",
        "UNIMPLEMENTED",
    }
)
_UNWELL = frozenset({"INTERNAL", "OVERLOADED", "STORE_UNAVAILABLE"})
# Waiting helps no command that just starts; a session that is on may come back.
_REFUSED_AT_FIRST = frozenset({"TOO_MANY_PEERS", "TOO_MANY_SESSIONS", "TRANSPORT_MISMATCH"})


class State(Enum):
    OFFLINE = auto()
    REGISTERING = auto()
    REGISTERED = auto()
    LOST = auto()
    LEAVING = auto()
    LEFT = auto()
    FAILED = auto()


class Machine:
    """Our life at one directory.

    Args:
        directory: its name, for notices.
        catalog: what we share; None: nothing, the session is client-only.
        jitter: a number in [0, 1) at every call, so that many peers do not act in step.
    """

    HAS_SESSION: ClassVar = frozenset({State.REGISTERED, State.LOST})

    def __init__(
        self, directory: str, catalog: Catalog | None, jitter: Callable[[], float]
    ) -> None:
        self.state = State.OFFLINE
        self.session = 0
        self.endpoint_statuses: tuple[EndpointStatus, ...] = ()
        self.announcing = None if catalog is None else Announcing(catalog)
        self._directory = directory
        self._jitter = jitter
        self._lease_seconds = float("inf")  # as it was granted last
        self._failures = 0  # in a row
        self._is_lost = False  # and we have said so
        self._met_impostor = False  # likewise
        self._register_pending = False
        self._beating = False
        self._gone = 0  # sessions in a row that ended before anything was done in them

    @property
    def has_session(self) -> bool:
        return self.state in self.HAS_SESSION

    def handle(self, event: Event) -> list[Command]:
        """What to do now. Every event is legal in every state: answers and timers may be late."""
        match self.state, event:
            case State.LEAVING, Admitted():
                return [SendLeave()]
            case State.LEAVING, LeaveDone() | CallFailed(call=Call.REGISTER):
                self.state = State.LEFT
                return []
            case ((State.LEAVING | State.LEFT | State.FAILED), _):
                return []
            case State.OFFLINE, Started():
                return self._register()
            case _, LeaveAsked():
                return self._leave()
            case State.REGISTERING, Admitted():
                return self._admitted(event)
            case State.REGISTERING, CallFailed(call=Call.REGISTER, error=error):
                return self._not_admitted(error)
            case State.REGISTERING, TimerFired(Timer.REGISTER):
                return [] if self._register_pending else self._register()
            case ((State.REGISTERED | State.LOST), TimerFired(Timer.HEARTBEAT)):
                return self._beat()
            case ((State.REGISTERED | State.LOST), HeartbeatTaken(session=self.session)):
                return self._renewed(event.renewed)
            case ((State.REGISTERED | State.LOST), BatchTaken(session=self.session)):
                return self._batch_taken(event.announced)
            case ((State.REGISTERED | State.LOST), CallFailed(session=self.session)):
                return self._call_failed(event.call, event.error)
            case ((State.REGISTERED | State.LOST), SessionGone(session=self.session)):
                return self._session_gone()
            case _, TimerFired(Timer.ANNOUNCE):
                return self._time_to_announce()
            case State.REGISTERED, CatalogChanged() if self.announcing is not None:
                return self.announcing.catalog_changed()
        return []

    # --- registering and leaving ---------------------------------------------------------------

    def _register(self) -> list[Command]:
        self.state, self._register_pending = State.REGISTERING, True
        return [SendRegister()]

    def _admitted(self, event: Admitted) -> list[Command]:
        granted = event.granted
        self.state, self._register_pending = State.REGISTERED, False
        self.session += 1
        self._failures = 0
        self._beating = False
        self._lease_seconds = granted.renewed.lease_seconds
        self.endpoint_statuses = granted.renewed.endpoint_statuses
        commands = [Adopt(granted), self._next_heartbeat(granted.renewed), *self._back()]
        if self.announcing is not None:
            commands += self.announcing.admitted(self.session, granted)
        return commands

    def _not_admitted(self, error: PeerError) -> list[Command]:
        self._register_pending = False
        if self._is_fatal(error):
            return self._fail(error)
        return [*self._lost(error), SetTimer(Timer.REGISTER, self._retry_seconds())]

    def _session_gone(self) -> list[Command]:
        """At once the first time; a directory that forgets every session is asked ever slower."""
        self._gone += 1
        if self._gone <= 1:
            return self._register()
        self.state, self._register_pending = State.REGISTERING, False
        self._failures = max(self._failures, self._gone - 2)
        return [SetTimer(Timer.REGISTER, self._retry_seconds())]

    def _leave(self) -> list[Command]:
        has_session, waits = self.has_session, self._register_pending
        self.state = State.LEAVING if has_session or waits else State.LEFT
        return [SendLeave()] if has_session else []

    def _is_fatal(self, error: PeerError) -> bool:
        if self.session == 0 and error.reason in _REFUSED_AT_FIRST:
            return True
        if isinstance(error, DirectoryUntrusted):
            # Whoever answers at the directory's address for a while must not end a running share:
            # it gets no call of ours, and the directory may come back.
            return self.session == 0
        if isinstance(error, DirectoryUnreachable):
            return False
        return not isinstance(error, DirectoryRefused) or error.reason in _REFUSED_FOR_GOOD

    def _fail(self, error: PeerError) -> list[Command]:
        self.state = State.FAILED
        return [Fail(error)]

    # --- heartbeats ----------------------------------------------------------------------------

    def _beat(self) -> list[Command]:
        if self._beating:
            return []
        self._beating = True
        if self.announcing is None:
            return [SendHeartbeat(self.session, Revision())]
        self.announcing.heartbeat_sent()
        return [SendHeartbeat(self.session, self.announcing.revision)]

    def _renewed(self, renewed: Renewed) -> list[Command]:
        self.state = State.REGISTERED
        self._beating = False
        self._failures = self._gone = 0
        self._lease_seconds = renewed.lease_seconds
        self.endpoint_statuses = renewed.endpoint_statuses
        commands = [
            Observe(renewed.directory_time),
            self._next_heartbeat(renewed),
            *self._back(),
        ]
        if self.announcing is not None:
            commands += self.announcing.renewed(self.session, renewed.held)
        return commands

    def _next_heartbeat(self, renewed: Renewed) -> SetTimer:
        early = 1 - 0.1 * self._jitter()
        return SetTimer(Timer.HEARTBEAT, renewed.heartbeat_interval_seconds * early)

    def _call_failed(self, call: Call, error: PeerError) -> list[Command]:
        if call is Call.HEARTBEAT:
            self._beating = False
        elif self.announcing is not None:
            self.announcing.batch_lost()
        if error.reason in SESSION_GONE:
            return self._session_gone()
        if self.announcing is not None and call is Call.ANNOUNCE and _is_final(error):
            return self.announcing.batch_refused(self.session, error)
        if not isinstance(error, DirectoryError):
            return self._fail(error)
        self.state = State.LOST
        return [*self._lost(error), SetTimer(Timer.HEARTBEAT, self._retry_seconds())]

    def _lost(self, error: PeerError) -> list[Command]:
        """One notice per outage, a second one where another key is met in it; none before we ever
        were in: then the caller is told."""
        is_news = isinstance(error, DirectoryUntrusted) and not self._met_impostor
        if self.session == 0 or (self._is_lost and not is_news):
            return []
        self._is_lost, self._met_impostor = True, self._met_impostor or is_news
        return [Tell(f"{error}; retrying, transfers go on")]

    def _back(self) -> list[Command]:
        if not self._is_lost:
            return []
        self._is_lost = self._met_impostor = False
        return [Tell(f"the directory {self._directory} is back")]

    def _retry_seconds(self) -> float:
        """Doubles from 0.2 s to 8 s, or to a part of the lease if less; jittered by half."""
        self._failures += 1
        wanted = FIRST_RETRY_SECONDS * 2.0 ** min(self._failures - 1, 10)
        longest = min(LONGEST_RETRY_SECONDS, self._lease_seconds / RETRIES_PER_LEASE)
        return min(wanted, longest) * (0.5 + 0.5 * self._jitter())

    # --- announcing ----------------------------------------------------------------------------

    def _batch_taken(self, announced: Announced) -> list[Command]:
        if self.announcing is None:
            return []
        self._gone = 0
        return self.announcing.batch_taken(self.session, announced)

    def _time_to_announce(self) -> list[Command]:
        if self.announcing is None:
            return []
        self.announcing.timer_fired()
        return self.announcing.go_on(self.session) if self.state is State.REGISTERED else []


def _is_final(error: PeerError) -> TypeGuard[DirectoryRefused]:
    """Whether the directory refused this very call, and not any call just now."""
    return isinstance(error, DirectoryRefused) and error.reason not in _UNWELL
