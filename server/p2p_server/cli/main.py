"""The command line of the directory: flags to a Config, failures to one line and an exit status.

Exit status: 0 stopped as asked, 1 a failure while starting or running, 2 usage.
"""

import asyncio
import json
import os
from typing import TYPE_CHECKING, Annotated, Any

import typer

from p2p_server.cli import upkeep, users
from p2p_server.cli.failures import fail, reason
from p2p_server.cli.options import (
    Flags,
    Format,
    Insecure,
    Lease,
    Listen,
    MetricsAt,
    StateDir,
    StoreUrl,
    Version,
)
from p2p_server.config import Config, LogFormat, UsageError
from p2p_server.directory.models import Limits

if TYPE_CHECKING:
    from p2p_server.app import RunningDirectory

app = typer.Typer(
    help="The directory of a peer-to-peer network: knows who is online and what they share.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(users.app, name="users")
app.command()(upkeep.check)
app.command()(upkeep.backup)
app.command()(upkeep.restore)

DEFAULT_LIMITS = Limits()


def most(about: str) -> Any:
    """An option for a limit."""
    return typer.Option(min=0, help=about, show_default=True)


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


def _serve(flags: Flags) -> None:
    try:
        config = flags.config()
    except UsageError as error:
        fail(str(error), 2)
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
        fail(reason(error), 1)
    except KeyringBroken as error:
        fail(f"the directory's identity in {config.database} is broken: {error}", 1)


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
