"""The language between the membership machine and its driver: events in, commands out. Pure."""

from datetime import datetime
from enum import Enum, auto

from p2p_client.errors import PeerError
from p2p_client.models import AnnounceBatch, Announced, Granted, Renewed, Revision
from p2p_client.records import dataclass


class Call(Enum):
    REGISTER = auto()
    HEARTBEAT = auto()
    ANNOUNCE = auto()


class Timer(Enum):
    REGISTER = auto()
    HEARTBEAT = auto()
    ANNOUNCE = auto()


@dataclass(frozen=True, slots=True)
class Started:
    """The driver runs."""


@dataclass(frozen=True, slots=True)
class Admitted:
    """The answer to SendRegister."""

    granted: Granted


@dataclass(frozen=True, slots=True)
class HeartbeatTaken:
    """The answer to SendHeartbeat."""

    session: int
    renewed: Renewed


@dataclass(frozen=True, slots=True)
class BatchTaken:
    """The answer to SendBatch."""

    session: int
    announced: Announced


@dataclass(frozen=True, slots=True)
class CallFailed:
    """The other answer to a command that calls; `session` 0 for a Register."""

    call: Call
    error: PeerError
    session: int = 0


@dataclass(frozen=True, slots=True)
class SessionGone:
    """A call that was not ours found that the directory no longer knows the session."""

    session: int


@dataclass(frozen=True, slots=True)
class TimerFired:
    timer: Timer


@dataclass(frozen=True, slots=True)
class CatalogChanged:
    """At least one change since the last of these."""


@dataclass(frozen=True, slots=True)
class LeaveAsked:
    """The user goes."""


@dataclass(frozen=True, slots=True)
class LeaveDone:
    """Leave was answered, or failed: nothing is to be done about that."""


Event = (
    Started
    | Admitted
    | HeartbeatTaken
    | BatchTaken
    | CallFailed
    | SessionGone
    | TimerFired
    | CatalogChanged
    | LeaveAsked
    | LeaveDone
)


@dataclass(frozen=True, slots=True)
class SendRegister:
    """Ask for a challenge and register."""


@dataclass(frozen=True, slots=True)
class SendHeartbeat:
    session: int
    revision: Revision


@dataclass(frozen=True, slots=True)
class SendBatch:
    session: int
    batch: AnnounceBatch


@dataclass(frozen=True, slots=True)
class SendLeave:
    """Leave; answered by LeaveDone in any case."""


@dataclass(frozen=True, slots=True)
class SetTimer:
    """Fires once; replaces a running one of its kind."""

    timer: Timer
    seconds: float


@dataclass(frozen=True, slots=True)
class Adopt:
    """A session began: grants are checked with its key, times are judged by its clock."""

    granted: Granted


@dataclass(frozen=True, slots=True)
class Observe:
    """The directory told its time."""

    directory_time: datetime


@dataclass(frozen=True, slots=True)
class Tell:
    """A sentence for the user."""

    text: str


@dataclass(frozen=True, slots=True)
class Fail:
    """There is no way on; the error goes to everybody who waits."""

    error: PeerError


Command = (
    SendRegister | SendHeartbeat | SendBatch | SendLeave | SetTimer | Adopt | Observe | Tell | Fail
)
