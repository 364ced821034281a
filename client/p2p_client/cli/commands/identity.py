"""`identity` and `id`: who we are, and what files are. No network."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from p2p_client.cli.options import GlobalOptions

if TYPE_CHECKING:
    from p2p_client.state import StateFolder

READ_BYTES = 8 << 20

identity = typer.Typer(
    rich_markup_mode=None,
    help="Show your key, or move it to another machine.",
    no_args_is_help=False,
)


@identity.command("show")
def show(context: typer.Context) -> None:
    """The fingerprint of your key (made now where there is none), and what you joined."""
    from p2p_client.net.identity import load_or_create

    options = context.ensure_object(GlobalOptions)
    output = options.output
    state = _state_folder(options)
    ours = load_or_create(state.identity_file)
    joined = state.joined()
    server = ",".join(map(str, joined.server)) if joined else None
    user = joined.user if joined else None
    output.record(
        {
            "fingerprint": ours.fingerprint,
            "user": user,
            "server": server,
            "state_dir": str(state.path),
        }
    )
    output.result(f"fingerprint  {ours.fingerprint}")
    output.result(f"user         {user or 'none yet: run `p2p-client join HOST:PORT --user NAME`'}")
    if server:
        output.result(f"directory    {server}")
    output.result(f"kept in      {state.path}")


@identity.command("export")
def export(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Must not exist yet.")],
) -> None:
    """Write your key and certificate to FILE, readable by you only: whoever has it is you."""
    from p2p_client.errors import LocalRefusal
    from p2p_client.net.identity import export_identity, load

    options = context.ensure_object(GlobalOptions)
    output = options.output
    state = _state_folder(options)
    ours = load(state.identity_file)
    if ours is None:
        raise LocalRefusal(f"there is no key in {state.path} yet: `p2p-client join` makes one")
    export_identity(ours, file)
    output.record({"event": "exported", "path": str(file), "fingerprint": ours.fingerprint})
    output.result(f"wrote {file}: keep it as secret as a password, it is {ours.fingerprint}")


@identity.command("import")
def import_(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Made by `identity export`.")],
) -> None:
    """Take over the key in FILE; a different one that is there already is not replaced."""
    from p2p_client.net.identity import import_identity, load

    options = context.ensure_object(GlobalOptions)
    output = options.output
    state = _state_folder(options)
    import_identity(file, state.identity_file)
    ours = load(state.identity_file)
    assert ours is not None, "import_identity left none"
    output.record({"event": "imported", "path": str(file), "fingerprint": ours.fingerprint})
    output.result(f"you are {ours.fingerprint} now")


def _state_folder(options: GlobalOptions) -> "StateFolder":
    from p2p_client.state import StateFolder, default_state_dir

    return StateFolder(options.settings().state_dir or default_state_dir())


def id_(
    context: typer.Context,
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="Files to digest.")],
) -> None:
    """Print the digest of files, as b3sum does."""
    from p2p_client.errors import LocalRefusal

    options = context.ensure_object(GlobalOptions)
    output = options.output
    refused = False
    for file in files:
        try:
            digest, size_bytes = digest_of(file)
        except OSError as error:
            refused = True
            output.error(LocalRefusal(f"cannot read {file}: {error.strerror or error}"))
            continue
        output.record({"path": str(file), "digest": f"b3:{digest}", "size_bytes": size_bytes})
        output.result(f"b3:{digest}  {file}")
    if refused:
        raise typer.Exit(LocalRefusal.exit_status)


def digest_of(file: Path) -> tuple[str, int]:
    """BLAKE3 and size in bytes of what the file holds. Raises OSError.

    Cost: reads it once, in pieces, on all cores.
    """
    from blake3 import blake3

    hasher = blake3(max_threads=blake3.AUTO)
    size_bytes = 0
    buffer = bytearray(READ_BYTES)
    with file.open("rb", buffering=0) as stream:
        while count := stream.readinto(buffer):
            hasher.update(memoryview(buffer)[:count])
            size_bytes += count
    return hasher.hexdigest(), size_bytes
