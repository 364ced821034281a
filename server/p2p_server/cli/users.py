"""`users list` and `users remove`: looking after user names, in any store."""

import asyncio
import json
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from p2p_server.cli.failures import fail, reason
from p2p_server.cli.options import AsJson, Flags, StateDir, StoreUrl
from p2p_server.config import PostgresUrl, UsageError, database_of

if TYPE_CHECKING:
    from p2p_server.store.base import Store

T = TypeVar("T")

app = typer.Typer(help="Look after user names.", no_args_is_help=True)


@app.command("list")
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


@app.command("remove")
def remove_user(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME")],
    state_dir: StateDir = None,
    store: StoreUrl = None,
) -> None:
    """Free a name whose key was lost; its sessions end, what it shared is no longer listed."""
    flags = Flags(state_dir=state_dir, store=store).over(context.obj)
    if not _with_store(flags, lambda database: database.remove_user(name)):
        fail(f"there is no user {name!r}", 1)
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
            fail(f"there is no directory database at {database}; see --state-dir and --store", 1)
        return asyncio.run(run(database))
    except UsageError as error:
        fail(str(error), 2)
    except (StoreUnusable, StoreUnavailable, OSError) as error:
        fail(reason(error), 1)
