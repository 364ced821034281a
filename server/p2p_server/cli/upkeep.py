"""`check`, `backup` and `restore`: what an operator does with the database file.

Exit status: 0 done, or sound; 1 not sound, or a failure; 2 usage.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from p2p_server.cli.failures import fail, reason
from p2p_server.cli.options import Flags
from p2p_server.config import UsageError, database_of

if TYPE_CHECKING:
    from p2p_server.store.sqlite.upkeep import Report

StateDir = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Folder of the directory's database.")
]
StoreUrl = Annotated[
    str | None, typer.Option("--store", metavar="URL", help="Database: sqlite:///PATH, or a path.")
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object.")]


def check(
    context: typer.Context,
    state_dir: StateDir = None,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """Read the whole database and say whether it is sound; a directory may be running."""
    from p2p_server.store.sqlite.upkeep import check as look

    with _failures_told():
        report = look(_database(context.obj, state_dir, store))
    if as_json:
        typer.echo(json.dumps(_record(report)))
    else:
        typer.echo(_text(report))
    if report.faults:
        raise SystemExit(1)


def backup(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to; must not be there yet.")],
    state_dir: StateDir = None,
    store: StoreUrl = None,
) -> None:
    """Write the state of this moment to a file; a directory may be running."""
    from p2p_server.store.sqlite.upkeep import back_up

    with _failures_told():
        size_bytes = back_up(_database(context.obj, state_dir, store), file)
    typer.echo(f"backed up to {file}, {size_bytes:,} bytes; keep it as secret as the directory")


def restore(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file that `backup` wrote.")],
    state_dir: StateDir = None,
    store: StoreUrl = None,
) -> None:
    """Put a backup in the place of the database; stop the directory first."""
    from p2p_server.app import alone_on
    from p2p_server.store.sqlite.upkeep import put_back

    path = _database(context.obj, state_dir, store, must_be_there=False)
    moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    with _failures_told():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with alone_on(path):
            kept = put_back(file, path, f".before-restore-{moment}")
    typer.echo(f"restored {path} from {file}" + (f"; what was there is {kept}" if kept else ""))


def _database(
    places: Flags, state_dir: Path | None, store: str | None, *, must_be_there: bool = True
) -> Path:
    try:
        path = database_of(store or places.store, state_dir or places.state_dir)
    except UsageError as error:
        fail(str(error), 2)
    if not isinstance(path, Path):
        fail("this is for SQLite; PostgreSQL has pg_dump, pg_restore and pg_amcheck", 2)
    if must_be_there and not path.is_file():
        fail(f"there is no directory database at {path}; see --state-dir and --store", 1)
    return path


@contextmanager
def _failures_told() -> Iterator[None]:
    from p2p_server.store.errors import StoreUnusable

    try:
        yield
    except (StoreUnusable, OSError) as error:
        fail(reason(error), 1)


def _record(report: "Report") -> dict[str, object]:
    return {
        "sound": not report.faults,
        "database": str(report.path),
        "schema_version": report.schema_version,
        "known_version": report.known_version,
        "sqlite_version": report.sqlite_version,
        "size_bytes": report.size_bytes,
        "users": report.users,
        "peers": report.peers,
        "resources": report.resources,
        "faults": list(report.faults),
    }


def _text(report: "Report") -> str:
    older = (
        ""
        if report.schema_version == report.known_version
        else (f"; this p2p-server brings it to {report.known_version} when it serves")
    )
    lines = [
        f"{report.path}: {'sound' if not report.faults else 'DAMAGED'}",
        f"  schema version {report.schema_version}{older}; SQLite {report.sqlite_version}",
        f"  {report.users:,} users, {report.peers:,} peers, {report.resources:,} resources, "
        f"{report.size_bytes:,} bytes",
        *(f"  fault: {fault}" for fault in report.faults),
    ]
    if report.faults:
        lines.append("  put a backup in its place: p2p-server restore FILE")
    return "\n".join(lines)
