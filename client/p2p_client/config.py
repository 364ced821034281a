"""What a peer is started with: one frozen value, made by the command line or by a program."""

import math
from dataclasses import field
from pathlib import Path

from p2p_client.errors import UsageError
from p2p_client.records import dataclass

SLOWEST_BYTES_PER_SECOND = 16 << 10
"""The lowest limit: with a lower one a chunk would take longer than others wait for one."""


@dataclass(frozen=True, slots=True)
class Address:
    """HOST:PORT as a person gave it; the host may be a DNS name."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Settings:
    """How a peer finds its directory and presents itself.

    Fields left at None are taken from what `join` stored in the state folder.
    """

    server: tuple[Address, ...] | None = None
    user: str | None = None
    state_dir: Path | None = None  # None: the platform's state folder
    fingerprint: str | None = None  # of the directory, pinned beforehand; 64 hex, colons allowed
    insecure: bool | None = None  # None: as joined; with nothing joined, TLS
    listen: Address = field(default=Address("::", 0))  # where a sharing peer accepts connections
    advertise: tuple[Address, ...] = ()  # further candidate endpoints
    directory_timeout_seconds: float = 10.0  # how long a command waits for the directory
    max_uploads: int = 64  # streams served at once
    idle_timeout_seconds: float = 30.0  # a stalled source or reader is given up after this
    limit_up_bytes_per_second: float | None = None  # over all uploads; None: no limit
    limit_down_bytes_per_second: float | None = None  # over all downloads
    download_streams: int = 4  # pieces in flight over all sources of one download

    def __post_init__(self) -> None:
        """Raises UsageError for a limit that nothing could keep."""
        for limit in (self.limit_up_bytes_per_second, self.limit_down_bytes_per_second):
            if limit is not None and not (
                math.isfinite(limit) and limit >= SLOWEST_BYTES_PER_SECOND
            ):
                raise UsageError(
                    f"a limit of {limit} bytes a second is none: at least "
                    f"{SLOWEST_BYTES_PER_SECOND}, or None for no limit"
                )
        if self.max_uploads < 1 or self.download_streams < 1:
            raise UsageError("max_uploads and download_streams are at least 1")
