"""The values the directory works with: plain, frozen, free of protobuf, SQL and I/O."""

from dataclasses import dataclass, field
from enum import Enum
from typing import NewType

PeerId = NewType("PeerId", str)
Digest = NewType("Digest", str)
"""64 lower-case hexadecimal characters."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    host: str  # an address literal in its canonical form
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Verdict(Enum):
    """What dialling a candidate endpoint showed; the meanings are those of EndpointVerdict."""

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
class Revision:
    """The state of a library. The default means "nothing held"."""

    epoch: str = ""
    counter: int = 0


NOTHING_HELD = Revision()


@dataclass(frozen=True, slots=True)
class Resource:
    path: str
    size_bytes: int
    digest: Digest
    manifest_digest: Digest
    modified_at: float  # Unix seconds by the sharer's disk
    media_type: str = ""

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class PartialContent:
    digest: Digest
    manifest_digest: Digest
    size_bytes: int


@dataclass(frozen=True, slots=True)
class User:
    """A name bound to a key."""

    name: str
    key_fingerprint: str  # SHA-256 of the DER SPKI, 64 lower-case hex
    bound_at: float  # Unix seconds


@dataclass(frozen=True, slots=True)
class Session:
    """One peer's registration, as kept in the store."""

    peer_id: PeerId
    user: str
    token_hash: bytes  # SHA-256 of the bearer token; the token itself is nowhere kept
    certificate_der: bytes
    listed: bool
    observed_host: str
    online_since: float  # Unix seconds
    endpoint_statuses: tuple[EndpointStatus, ...] = ()


@dataclass(frozen=True, slots=True)
class PeerRow:
    """A listed peer as answers need it."""

    peer_id: PeerId
    user: str
    certificate_der: bytes
    observed_host: str
    online_since: float
    endpoint_statuses: tuple[EndpointStatus, ...]
    resource_count: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class ResourceRow:
    """A resource found, and its place in the order asked for."""

    resource: Resource
    peer_id: PeerId
    sort_key: "SortKey"


@dataclass(frozen=True, slots=True)
class SortKey:
    """Where a page ended: the value sorted by, then the ties' order. Travels in page tokens."""

    value: str | int
    folded_path: str
    row: int  # the store's own number of the row: the last tie-break


class Order(Enum):
    PATH = "path"
    LARGEST = "largest"
    SMALLEST = "smallest"
    NEWEST = "newest"


@dataclass(frozen=True, slots=True)
class Criteria:
    """What a Query asks for, checked and normalised: all that is set must hold."""

    words: tuple[str, ...] = ()  # casefolded NFC; each a substring of the folded path
    glob: str = ""  # casefolded NFC; syntax of QueryRequest.glob
    path: str = ""
    name: str = ""
    owner: str = ""  # casefolded
    digest_prefix: str = ""
    min_size_bytes: int | None = None
    max_size_bytes: int | None = None
    media_type: str = ""  # "type/sub", or "type/" for all of a kind
    order: Order = Order.PATH


@dataclass(frozen=True, slots=True)
class HoldingRow:
    """One source of one content."""

    digest: Digest
    peer_id: PeerId
    manifest_digest: Digest
    size_bytes: int
    partial: bool


@dataclass(frozen=True, slots=True)
class Batch:
    """One Announce after the item checks. A delta has `base`, a snapshot's batch `snapshot_id`."""

    revision: Revision
    base: Revision = NOTHING_HELD
    resources: tuple[Resource, ...] = ()
    withdrawn_paths: tuple[str, ...] = ()
    partials: tuple[PartialContent, ...] = ()
    withdrawn_partials: tuple[Digest, ...] = ()
    snapshot_id: str = ""
    batch_index: int = 0
    last: bool = False


@dataclass(frozen=True, slots=True)
class Limits:
    """What callers are held to; told in GetDirectoryInfo."""

    max_announce_items: int = 5_000
    max_request_bytes: int = 1 << 20
    max_page_size: int = 1_000
    default_page_size: int = 100
    max_page_bytes: int = 1 << 20
    max_locate_digests: int = 1_000
    max_resources_per_user: int = 2_000_000
    max_peers_per_user: int = 64
    max_path_bytes: int = 1_024
    max_path_levels: int = 64
    max_endpoints: int = 16
    max_watchers: int = 4_096
    max_watchers_per_user: int = 64
    max_announces_per_minute: int = 3_000  # of one user; 0: any number
    # A campus behind one address fits in, and fills a few dozen MiB; 0: any number.
    max_sessions_per_address: int = 8_192
    max_calls: int = 512  # at once; questions are refused before that, heartbeats last
    max_streams_per_connection: int = 128  # calls and watches of one connection at once


@dataclass(frozen=True, slots=True)
class Totals:
    """All that is in answers together."""

    peers: int
    resources: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Page:
    """Resources found, in order, and the peers that share them."""

    rows: tuple[ResourceRow, ...]
    peers: dict[PeerId, PeerRow] = field(default_factory=dict)
