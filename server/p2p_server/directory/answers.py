"""What the directory's verbs are asked and answer, between the rules and the wire.

Answers come as pages that may still be cut shorter, since only the wire knows how many bytes a row
takes.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from p2p_server.directory.checks.criteria import Asked
from p2p_server.directory.checks.items import RejectedItem
from p2p_server.directory.models import Endpoint, Limits, PeerId, PeerRow, Revision
from p2p_server.directory.presence.registration import PeerLoad
from p2p_server.directory.trust.grants import Grant
from p2p_server.directory.watching.log import Happening

Row = TypeVar("Row")
Peer = TypeVar("Peer")


@dataclass(frozen=True, slots=True)
class ShownPeer:
    """A peer as a certain caller may see it."""

    row: PeerRow
    endpoints: tuple[Endpoint, ...]
    load: PeerLoad


@dataclass(frozen=True, slots=True)
class Source:
    """A peer to fetch from, with the permission to."""

    row: PeerRow
    endpoints: tuple[Endpoint, ...]
    grant: Grant


@dataclass(frozen=True, slots=True)
class Paged(Generic[Row, Peer]):
    """Rows in order and the peers that they name."""

    rows: Sequence[Row]
    peers: Mapping[PeerId, Peer]
    next_token: str  # empty: nothing follows these rows
    token_after: Callable[[Row], str]  # for a page that has to end earlier


@dataclass(frozen=True, slots=True)
class Wish:
    """A WatchRequest, unchecked."""

    asked: Asked
    only_new: bool
    with_peers: bool
    resume_token: str


@dataclass(frozen=True, slots=True)
class ShownEvents:
    """Some events as a certain caller may see them, and where to resume after them."""

    events: Sequence[Happening]
    peers: Mapping[PeerId, ShownPeer]
    resume_token: str


@dataclass(frozen=True, slots=True)
class Description:
    directory_id: str
    limits: Limits
    challenge: bytes
    directory_time: float


@dataclass(frozen=True, slots=True)
class Taken:
    """What an announce came to."""

    held: Revision
    rejected: Sequence[RejectedItem]


def paged(
    rows: Sequence[Row], size: int, peers: Mapping[PeerId, Peer], token_after: Callable[[Row], str]
) -> Paged[Row, Peer]:
    """A page of `size` rows, of which one more were asked for to see whether more follow."""
    kept = rows[:size]
    next_token = token_after(kept[-1]) if len(rows) > size else ""
    return Paged(kept, peers, next_token, token_after)
