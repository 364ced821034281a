"""What a directory is started with: one frozen value, checked, made by the command line."""

import math
import re
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from platformdirs import user_state_path

from p2p_server.directory.models import Limits

DEFAULT_LISTEN: Final = "[::]:50051"
DEFAULT_LEASE_SECONDS: Final = 30.0
LEAST_LEASE_SECONDS: Final = 1.0
MOST_LEASE_SECONDS: Final = 3600.0
DATABASE_NAME: Final = "directory.db"

_ADDRESS = re.compile(r"(?:\[([^\[\]]+)\]|([^\[\]:]+)):([0-9]{1,5})")
_LOOPBACK = re.compile(r"localhost|127\.[0-9.]+|::1")


class UsageError(Exception):
    """A flag that makes no sense; the text is one line for the operator."""


class LogFormat(Enum):
    TEXT = "text"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class Address:
    """HOST:PORT to listen at; port 0: any that is free."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        return _LOOPBACK.fullmatch(self.host) is not None


@dataclass(frozen=True, slots=True)
class PostgresUrl:
    """A database that several instances share."""

    url: str

    def __str__(self) -> str:
        return without_password(self.url)


@dataclass(frozen=True, slots=True)
class Config:
    listen: Address
    database: Path | PostgresUrl
    lease_seconds: float
    insecure: bool
    log_format: LogFormat
    lease_is_exact: bool = True  # False: it grows with the number of peers
    metrics: Address | None = None
    limits: Limits = field(default_factory=Limits)


def parse_address(text: str, option: str = "--listen") -> Address:
    """Raises UsageError."""
    found = _ADDRESS.fullmatch(text)
    if found is None or int(found[3]) > 65_535:
        raise UsageError(f"{option} {text!r} is not HOST:PORT, such as {DEFAULT_LISTEN}")
    return Address(found[1] or found[2], int(found[3]))


def parse_lease(seconds: float) -> float:
    """Raises UsageError."""
    if math.isnan(seconds) or not LEAST_LEASE_SECONDS <= seconds <= MOST_LEASE_SECONDS:
        raise UsageError(
            f"--lease {seconds:g} is not within {LEAST_LEASE_SECONDS:g} and "
            f"{MOST_LEASE_SECONDS:g} seconds"
        )
    return seconds


def without_password(url: str) -> str:
    """Which database that is, for logs and errors. Raises ValueError."""
    parts = urlsplit(url)
    # To the last @: a password may have, against the rules, a character that ends it too early.
    place = url.partition("://")[2].rpartition("@")[2]
    return f"{parts.scheme}://{place.partition('?')[0].partition('#')[0]}"


def database_of(store: str | None, state_dir: Path | None) -> Path | PostgresUrl:
    """What `--store` means, or else the file in the state folder. Raises UsageError."""
    if store is None:
        return (state_dir or user_state_path("p2p-server")) / DATABASE_NAME
    scheme, separator, rest = store.partition("://")
    if scheme in {"postgresql", "postgres"} and separator:
        try:
            without_password(store)
        except ValueError as error:
            raise UsageError(f"--store is not a URL: {error}") from None
        return PostgresUrl(store)
    if not separator and store:
        return Path(store)
    if scheme != "sqlite" or not rest.startswith("/") or rest == "/":
        raise UsageError(f"--store {store!r} is neither sqlite:///PATH, postgresql://… nor a path")
    return Path("/" + rest.lstrip("/"))
