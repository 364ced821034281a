"""The values that travel between the peer's parts: plain, frozen, free of protobuf and I/O.

`net/directory/from_wire.py` and `to_wire.py` turn what the directory says into these and back.
"""

from collections.abc import Sequence
from datetime import datetime
from enum import Enum
from typing import NewType

from p2p_client.records import dataclass

Digest = NewType("Digest", str)
"""BLAKE3 of a whole content: 64 lower-case hexadecimal characters, without `b3:`."""

ManifestDigest = NewType("ManifestDigest", str)
"""BLAKE3 of a canonical manifest: 64 lower-case hexadecimal characters."""

PeerId = NewType("PeerId", str)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a peer accepts connections: an address literal and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Revision:
    """The state of a library; see `Revision` in types.proto. The default means "nothing held"."""

    epoch: str = ""
    counter: int = 0


@dataclass(frozen=True, slots=True)
class Resource:
    """One shared file as listed."""

    path: str
    size_bytes: int
    digest: Digest
    manifest_digest: ManifestDigest
    modified_at: datetime  # aware, UTC
    media_type: str = ""

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class PartialContent:
    """A content of which we have a part, while we download it."""

    digest: Digest
    manifest_digest: ManifestDigest
    size_bytes: int


@dataclass(frozen=True, slots=True)
class ListedPeer:
    """A peer online, as the directory lists it."""

    peer_id: PeerId
    user: str
    endpoints: tuple[Endpoint, ...]  # best first; empty: none that we could reach
    online_since: datetime  # aware, UTC
    resource_count: int
    size_bytes: int

    @property
    def endpoint(self) -> Endpoint | None:
        return self.endpoints[0] if self.endpoints else None


@dataclass(frozen=True, slots=True)
class ListedResource:
    """A resource and the peer that shares it."""

    resource: Resource
    peer: ListedPeer


@dataclass(frozen=True, slots=True)
class Source:
    """A peer to fetch from, with what it takes to be let in."""

    peer_id: PeerId
    user: str
    endpoints: tuple[Endpoint, ...]
    certificate_der: bytes  # empty in an insecure network
    grant: str
    grant_expires_at: datetime  # by the directory's clock


@dataclass(frozen=True, slots=True)
class Holding:
    """A content at a source, under one manifest."""

    digest: Digest
    source: Source
    manifest_digest: ManifestDigest
    size_bytes: int
    partial: bool = False


class Order(Enum):
    PATH = "path"
    LARGEST = "largest"
    SMALLEST = "smallest"
    NEWEST = "newest"


@dataclass(frozen=True, slots=True)
class Query:
    """What to find: all that is set must hold. The meanings are those of QueryRequest."""

    text: str = ""
    glob: str = ""
    path: str = ""
    name: str = ""
    owner: str = ""
    digest_prefix: str = ""  # 8 to 64 lower-case hex, without `b3:`
    min_size_bytes: int | None = None
    max_size_bytes: int | None = None
    media_type: str = ""
    order: Order = Order.PATH


class Happened(Enum):
    """What a watch tells; the meanings are those of WatchEventKind."""

    APPEARED = "appeared"
    CHANGED = "changed"
    GONE = "gone"
    PEER_CAME = "peer_came"
    PEER_LEFT = "peer_left"
    STARTED_ANEW = "started_anew"
    CAUGHT_UP = "caught_up"


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """One event of a watch."""

    kind: Happened
    peer: ListedPeer | None = None  # in all but the events about the watch itself
    resource: Resource | None = None  # in events of a resource

    @property
    def listed(self) -> ListedResource | None:
        """The resource with its peer, in events of a resource."""
        if self.resource is None or self.peer is None:
            return None
        return ListedResource(self.resource, self.peer)


class Verdict(Enum):
    """What the directory found of one of our candidate endpoints."""

    PENDING = "pending"
    REACHABLE = "reachable"
    LOCAL_ONLY = "local-only"
    UNREACHABLE = "unreachable"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class EndpointStatus:
    endpoint: Endpoint
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class RejectedItem:
    """A resource that the directory would not list."""

    item: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class AnnounceBatch:
    """One Announce. A delta has `base`; a batch of a snapshot has `snapshot_id`."""

    revision: Revision
    resources: Sequence[Resource] = ()
    withdrawn_paths: Sequence[str] = ()
    base: Revision | None = None
    snapshot_id: str = ""
    batch_index: int = 0
    last: bool = False
    partials: Sequence[PartialContent] = ()
    withdrawn_partials: Sequence[Digest] = ()


@dataclass(frozen=True, slots=True)
class DirectoryInfo:
    """Who a directory is and what it expects; its limits are kept within ours."""

    directory_id: str  # 64 lower-case hex
    software_version: str
    insecure: bool
    challenge: bytes
    max_announce_items: int
    max_request_bytes: int
    max_page_size: int
    max_locate_digests: int


@dataclass(frozen=True, slots=True)
class Renewed:
    """A lease renewed, its durations kept within bounds."""

    lease_seconds: float
    heartbeat_interval_seconds: float
    directory_time: datetime  # aware, UTC
    held: Revision
    endpoint_statuses: tuple[EndpointStatus, ...]


@dataclass(frozen=True, slots=True)
class Granted:
    """A session. The token is not in it: only the DirectoryClient knows it."""

    directory_id: str
    grant_key_der: bytes
    observed_host: str
    max_announce_items: int
    max_request_bytes: int
    renewed: Renewed


@dataclass(frozen=True, slots=True)
class Announced:
    """What the directory holds after a batch, and what it would not take."""

    held: Revision
    rejected: tuple[RejectedItem, ...]
