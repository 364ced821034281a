"""What happens at the directory that an operator may want to read. Logs are made of these."""

from dataclasses import dataclass

from p2p_server.directory.models import EndpointStatus, PeerId


@dataclass(frozen=True, slots=True)
class Registered:
    user: str
    peer_id: PeerId
    host: str
    listed: bool
    is_new_user: bool
    client_software: str


@dataclass(frozen=True, slots=True)
class Judged:
    """All candidate endpoints of a peer have been dialled."""

    user: str
    peer_id: PeerId
    statuses: tuple[EndpointStatus, ...]


@dataclass(frozen=True, slots=True)
class Announced:
    user: str
    peer_id: PeerId
    resources: int
    size_bytes: int
    withdrawn: int
    rejected: int
    is_snapshot: bool


@dataclass(frozen=True, slots=True)
class Left:
    user: str
    peer_id: PeerId
    listed: bool


@dataclass(frozen=True, slots=True)
class Expired:
    user: str
    peer_id: PeerId
    listed: bool


@dataclass(frozen=True, slots=True)
class Removed:
    """The session's user was removed, or it was replaced, by another process on the same store."""

    user: str
    peer_id: PeerId


Event = Registered | Judged | Announced | Left | Expired | Removed
