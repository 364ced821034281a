"""What peers ask of a session and what they are granted."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from p2p_server.directory.events import Event
from p2p_server.directory.models import Endpoint, EndpointStatus, Revision

Tell = Callable[[Event], None]


class Clock(Protocol):
    def monotonic(self) -> float:
        """Seconds since some moment; for durations."""
        ...

    def wall(self) -> float:
        """Unix seconds; for what people and other processes see."""
        ...


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls, as the transport sees it."""

    token: str  # of the session; empty: none
    host: str  # an address literal in its canonical form; empty: the transport knows none


@dataclass(frozen=True, slots=True)
class Application:
    """A Register, unchecked."""

    user: str
    certificate_der: bytes
    peer_id: str
    challenge: bytes
    proof: bytes
    listed: bool = False
    endpoints: tuple[Endpoint, ...] = ()
    listen_port: int = 0
    client_software: str = ""


@dataclass(frozen=True, slots=True)
class PeerLoad:
    active_uploads: int = 0
    max_uploads: int = 0


NO_LOAD = PeerLoad()


@dataclass(frozen=True, slots=True)
class Renewed:
    """A lease from now on."""

    lease_seconds: float
    heartbeat_seconds: float
    directory_time: float  # Unix seconds
    held: Revision
    endpoint_statuses: tuple[EndpointStatus, ...]


@dataclass(frozen=True, slots=True)
class Granted:
    token: str
    observed_host: str
    lease: Renewed
