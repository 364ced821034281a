"""What a download tells while it runs: frozen values, the one language between it and watchers."""

from pathlib import Path

from p2p_client.models import Digest, Endpoint, PeerId
from p2p_client.records import dataclass


@dataclass(frozen=True, slots=True)
class Started:
    """The target is ours, and bytes are about to flow.

    `resumed_bytes` were verified by an earlier run and are not fetched again; `sources` are the
    user names of those that hold the content, without repeats.
    """

    path: Path
    digest: Digest
    size_bytes: int
    resumed_bytes: int
    sources: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far it is; a few times a second.

    `verified_bytes` counts what is on hand, resumed bytes included, and falls only where the disk
    or a whole manifest was found to lie; `fetched_bytes` counts what came over the wire in this
    run, good or bad, and never falls.
    """

    verified_bytes: int
    fetched_bytes: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Queued:
    """A source lets us wait for one of its upload slots: `position` calls are served before ours,
    of `waiting_count` that wait. When the place changes, once a second at most."""

    user: str
    position: int
    waiting_count: int
    expected_wait_seconds: float | None  # None: it cannot tell


@dataclass(frozen=True, slots=True)
class SourceFailed:
    """A source gave us nothing more for `reason` (UPPER_SNAKE). Once per source and reason."""

    user: str
    peer_id: PeerId
    endpoint: Endpoint | None  # the first one listed; None: it has none
    reason: str
    message: str

    @property
    def address(self) -> str:
        """Where it is, for people; empty where the message says so itself, or nobody knows."""
        address = str(self.endpoint or "")
        return "" if address in self.message else address


@dataclass(frozen=True, slots=True)
class Finished:
    """The file stands under its name, complete, verified and on disk.

    `sources` are the user names of those that gave at least one verified piece in this run, the
    most generous first.
    """

    path: Path
    digest: Digest
    size_bytes: int
    fetched_bytes: int
    resumed_bytes: int
    seconds: float
    sources: tuple[str, ...]


Event = Started | Progress | Queued | SourceFailed | Finished
