"""The command line of the directory: flags to a Config, failures to one line and an exit status.

Exit status: 0 stopped as asked, 1 a failure while starting or running, 2 usage.
"""

import asyncio
import json
import os
import sys
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar

import typer

from p2p_server.cli import upkeep
from p2p_server.config import (
    DEFAULT_LEASE_SECONDS,
    DEFAULT_LISTEN,
    Config,
    LogFormat,
    PostgresUrl,
    UsageError,
    database_of,
    parse_address,
    parse_lease,
)
from p2p_server.directory.models import Limits

if TYPE_CHECKING:
    from p2p_server.app import RunningDirectory
    from p2p_server.store.base import Store

T = TypeVar("T")

app = typer.Typer(
    help="The directory of a peer-to-peer network: knows who is online and what they share.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
users = typer.Typer(help="Look after user names.", no_args_is_help=True)
app.add_typer(users, name="users")
app.command()(upkeep.check)
app.command()(upkeep.backup)
app.command()(upkeep.restore)

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
DEFAULT_LIMITS = Limits()


def most(about: str) -> Any:
    """An option for a limit."""
    return typer.Option(min=0, help=about, show_default=True)


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


@app.callback(invoke_without_command=True)
def main_command(
    context: typer.Context,
    listen: Listen = None,
    state_dir: StateDir = None,
    store: StoreUrl = None,
    lease: Lease = None,
    insecure: Insecure = False,
    log_format: Format = None,
    metrics: MetricsAt = None,
    version: Version = False,
) -> None:
    if version:
        from p2p_server.version import software_version

        typer.echo(f"p2p-server {software_version()}")
        raise typer.Exit
    context.obj = Flags(listen, state_dir, store, lease, insecure, log_format, metrics)
    if context.invoked_subcommand is None:
        _serve(context.obj)


@app.command()
def serve(
    context: typer.Context,
    listen: Listen = None,
    state_dir: StateDir = None,
    store: StoreUrl = None,
    lease: Lease = None,
    insecure: Insecure = False,
    log_format: Format = None,
    metrics: MetricsAt = None,
    max_resources_per_user: Annotated[int, most("Resources that one user may list.")] = (
        DEFAULT_LIMITS.max_resources_per_user
    ),
    max_peers_per_user: Annotated[int, most("Peers that one user may have online.")] = (
        DEFAULT_LIMITS.max_peers_per_user
    ),
    max_sessions_per_address: Annotated[int, most("Sessions from one address; 0: any.")] = (
        DEFAULT_LIMITS.max_sessions_per_address
    ),
    max_announces_per_minute: Annotated[int, most("Announces of one user; 0: any.")] = (
        DEFAULT_LIMITS.max_announces_per_minute
    ),
    max_watchers: Annotated[int, most("Watches of all users at once.")] = (
        DEFAULT_LIMITS.max_watchers
    ),
    max_watchers_per_user: Annotated[int, most("Watches of one user at once.")] = (
        DEFAULT_LIMITS.max_watchers_per_user
    ),
    max_calls: Annotated[int, most("Calls at once; questions are refused first.")] = (
        DEFAULT_LIMITS.max_calls
    ),
    max_streams_per_connection: Annotated[int, most("Calls of one connection at once.")] = (
        DEFAULT_LIMITS.max_streams_per_connection
    ),
    max_request_bytes: Annotated[
        int, typer.Option(min=64 << 10, max=4 << 20, help="Bytes of one request.")
    ] = DEFAULT_LIMITS.max_request_bytes,
) -> None:
    """Run the directory until stopped (the default)."""
    limits = Limits(
        max_resources_per_user=max_resources_per_user,
        max_peers_per_user=max_peers_per_user,
        max_sessions_per_address=max_sessions_per_address,
        max_announces_per_minute=max_announces_per_minute,
        max_watchers=max_watchers,
        max_watchers_per_user=max_watchers_per_user,
        max_calls=max_calls,
        max_streams_per_connection=max_streams_per_connection,
        max_request_bytes=max_request_bytes,
    )
    flags = Flags(listen, state_dir, store, lease, insecure, log_format, metrics, limits)
    _serve(flags.over(context.obj))


@users.command("list")
def list_users(
    context: typer.Context,
    state_dir: StateDir = None,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """List the user names and the keys they belong to."""
    flags = Flags(state_dir=state_dir, store=store).over(context.obj)
    for user in _with_store(flags, lambda database: database.users()):
        bound_at = datetime.fromtimestamp(user.bound_at, UTC).isoformat(timespec="seconds")
        if as_json:
            row = {"user": user.name, "fingerprint": user.key_fingerprint, "bound_at": bound_at}
            typer.echo(json.dumps(row))
        else:
            typer.echo(f"{user.name:<24} {user.key_fingerprint}  {bound_at}")


@users.command("remove")
def remove_user(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME")],
    state_dir: StateDir = None,
    store: StoreUrl = None,
) -> None:
    """Free a name whose key was lost; its sessions end, what it shared is no longer listed."""
    flags = Flags(state_dir=state_dir, store=store).over(context.obj)
    if not _with_store(flags, lambda database: database.remove_user(name)):
        _fail(f"there is no user {name!r}", 1)
    typer.echo(f"removed {name}")


def _with_store(flags: Flags, work: Callable[["Store"], Coroutine[Any, Any, T]]) -> T:
    from p2p_server.app import store_at
    from p2p_server.directory.errors import StoreUnavailable
    from p2p_server.store.errors import StoreUnusable

    async def run(database: Path | PostgresUrl) -> T:
        store, _ = store_at(database)
        await store.open()
        try:
            return await work(store)
        finally:
            await store.close()

    try:
        database = database_of(flags.store, flags.state_dir)
        if isinstance(database, Path) and not database.is_file():
            _fail(f"there is no directory database at {database}; see --state-dir and --store", 1)
        return asyncio.run(run(database))
    except UsageError as error:
        _fail(str(error), 2)
    except (StoreUnusable, StoreUnavailable, OSError) as error:
        _fail(_reason(error), 1)


def _serve(flags: Flags) -> None:
    try:
        config = flags.config()
    except UsageError as error:
        _fail(str(error), 2)
    # gRPC's own lines are neither one record a line nor of use to an operator.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from p2p_server import logs
    from p2p_server.app import serve as run
    from p2p_server.directory.errors import StoreUnavailable
    from p2p_server.directory.trust.keyring import KeyringBroken
    from p2p_server.rpc.serve import ListenFailed
    from p2p_server.store.errors import StoreUnusable

    logs.configure(config.log_format)
    if config.insecure and not config.listen.is_loopback:
        logs.log.warning(
            "--insecure beyond loopback: everybody on the way can read and change what passes"
        )
    try:
        asyncio.run(run(config, lambda running: _show_ready(config, running)))
    except (ListenFailed, StoreUnusable, StoreUnavailable, OSError) as error:
        _fail(_reason(error), 1)
    except KeyringBroken as error:
        _fail(f"the directory's identity in {config.database} is broken: {error}", 1)


def _show_ready(config: Config, running: "RunningDirectory") -> None:
    listen, fingerprint = str(running.listen), running.fingerprint
    metrics = None if running.metrics is None else str(running.metrics)
    if config.log_format is LogFormat.JSON:
        ready = {"event": "ready", "listen": listen, "fingerprint": fingerprint}
        line = json.dumps(ready | ({} if metrics is None else {"metrics": metrics}))
    else:
        line = f"directory ready on {listen}, fingerprint {fingerprint}"
        line += "" if metrics is None else f", metrics at http://{metrics}/metrics"
    print(line, flush=True)


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)


def _fail(message: str, status: int) -> NoReturn:
    print(f"p2p-server: {message}", file=sys.stderr)
    raise SystemExit(status)
