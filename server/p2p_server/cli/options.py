"""The options of the command line, and what they come to: given flags to a Config."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer

from p2p_server.config import (
    DEFAULT_LEASE_SECONDS,
    DEFAULT_LISTEN,
    Config,
    LogFormat,
    database_of,
    parse_address,
    parse_lease,
)
from p2p_server.directory.models import Limits

Listen = Annotated[
    str | None,
    typer.Option(metavar="HOST:PORT", help=f"Where to listen.  [default: {DEFAULT_LISTEN}]"),
]
StateDir = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Folder for the directory's database.")
]
StoreUrl = Annotated[
    str | None,
    typer.Option(
        "--store", metavar="URL", help="Database: sqlite:///PATH, a path, or postgresql://…"
    ),
]
Lease = Annotated[
    float | None,
    typer.Option(
        metavar="SECONDS",
        help=f"How long a silent peer stays listed.  [default: {DEFAULT_LEASE_SECONDS:g}]",
    ),
]
MetricsAt = Annotated[
    str | None,
    typer.Option("--metrics", metavar="HOST:PORT", help="Serve Prometheus metrics there."),
]
Insecure = Annotated[bool, typer.Option("--insecure", help="No TLS: for loopback and debugging.")]
Format = Annotated[LogFormat | None, typer.Option(help="How to log.  [default: text]")]
Version = Annotated[bool, typer.Option("--version", help="Show the version and exit.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]


@dataclass(frozen=True, slots=True)
class Flags:
    """As given, before or after the command; None: not given."""

    listen: str | None = None
    state_dir: Path | None = None
    store: str | None = None
    lease: float | None = None
    insecure: bool = False
    log_format: LogFormat | None = None
    metrics: str | None = None
    limits: Limits | None = None

    def over(self, earlier: "Flags") -> "Flags":
        given = {
            name: value
            for name in self.__slots__
            if (value := getattr(self, name)) not in {None, False}
        }
        return replace(earlier, **given)

    def config(self) -> Config:
        return Config(
            listen=parse_address(DEFAULT_LISTEN if self.listen is None else self.listen),
            database=database_of(self.store, self.state_dir),
            lease_seconds=parse_lease(DEFAULT_LEASE_SECONDS if self.lease is None else self.lease),
            insecure=self.insecure,
            log_format=self.log_format or LogFormat.TEXT,
            lease_is_exact=self.lease is not None,
            metrics=None if self.metrics is None else parse_address(self.metrics, "--metrics"),
            limits=self.limits or Limits(),
        )
