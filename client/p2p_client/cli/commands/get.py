"""`get`: fetch one content, see it arrive, and have it verified under its name.

Folders and globs are in `get_tree.py`.
"""

import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from p2p_client.cli.options import GlobalOptions, parse_user

if TYPE_CHECKING:
    from p2p_client.cli.commands.get_tree import Wish
    from p2p_client.cli.progress import DownloadView
    from p2p_client.cli.render import Output
    from p2p_client.config import Settings
    from p2p_client.finding.resolve import Content
    from p2p_client.peer import Peer

Target = Annotated[
    str,
    typer.Argument(
        metavar="TARGET",
        help="b3:DIGEST or the beginning of one, OWNER:PATH, a path, a name; "
        "OWNER:FOLDER/ for all that is in it; 'OWNER:*.csv' for all files that fit.",
    ),
]
SaveAs = Annotated[
    Path | None, typer.Option("-o", "--output", metavar="FILE", help="Save as FILE.")
]
SaveIn = Annotated[
    Path | None,
    typer.Option("-d", "--directory", metavar="DIR", help="Save in DIR.  [default: here]"),
]


def get(
    context: typer.Context,
    target: Target,
    owner: Annotated[
        str | None, typer.Option("--from", metavar="OWNER", help="The one that this user shares.")
    ] = None,
    output: SaveAs = None,
    directory: SaveIn = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a file that is there already.")
    ] = False,
    seed: Annotated[
        bool,
        typer.Option(
            "--seed", help="Let others fetch it from here, already now, until you stop this."
        ),
    ] = False,
    limit_down: Annotated[
        str | None,
        typer.Option(metavar="RATE", help="Fetch no faster, such as 20MB (a second)."),
    ] = None,
    limit_up: Annotated[
        str | None,
        typer.Option(metavar="RATE", help="With --seed: serve all together no faster."),
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait until somebody shares it, then fetch it.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be fetched, and fetch nothing.")
    ] = False,
) -> None:
    """Fetch a file or a folder from all who have it; resumes by itself."""
    from p2p_client.errors import UsageError

    if output is not None and directory is not None:
        raise UsageError("-o and -d exclude each other: name a file, or a folder")
    if limit_up is not None and not seed:
        raise UsageError("--limit-up is for what others fetch from here: it goes with --seed")
    if output is not None and target.endswith("/"):
        raise UsageError(f"-o names one file, but {target!r} means many: name a folder with -d")
    from p2p_client.cli.commands.get_tree import Wish, get_many, show_dry_run
    from p2p_client.cli.failures import Stopped
    from p2p_client.cli.progress import DownloadView
    from p2p_client.cli.run import run
    from p2p_client.finding.targets import is_tree_target

    options = context.ensure_object(GlobalOptions)
    settings = options.settings(limit_down=limit_down, limit_up=limit_up)
    whose = parse_user(owner) if owner else None
    wish = Wish(target, whose, output, directory, overwrite, seed, wait)
    if dry_run:
        run(show_dry_run(settings, options.output, wish))
        return
    many = is_tree_target(target) and (target.endswith("/") or not wait)
    if many and get_many(settings, options.output, wish):
        return
    view = DownloadView(options.output)
    work = _get(settings, options.output, view, wish)
    try:
        run(work)
    except Stopped as stopped:
        if view.finished:
            if stopped.signal_number == signal.SIGINT:
                raise
            return  # it was seeding: as of a share, that is how it ends
        if not view.started:
            raise
        raise stopped.resumable() from None


async def _get(settings: "Settings", printer: "Output", view: "DownloadView", wish: "Wish") -> None:
    from p2p_client.cli.progress import finished_line
    from p2p_client.cli.run import tell_first_contact
    from p2p_client.peer import Peer

    with view:
        async with Peer(settings, on_notice=view.say) as peer:
            await (peer.listen() if wish.seed else peer.join())
            tell_first_contact(peer, view.say)
            found = await _awaited(peer, view, wish) if wish.wait else wish.target
            try:
                done = await peer.download(
                    found,
                    owner=wish.owner,
                    output=wish.output,
                    directory=wish.directory,
                    overwrite=wish.overwrite,
                    seed=wish.seed,
                    on_event=view.show,
                )
                printer.result(finished_line(done))
                if wish.seed:
                    await _go_on(peer, printer)
            finally:
                # From the moment on at which it was told as finished: then one may be stopped.
                if wish.seed and view.finished:
                    printer.record({"event": "stopped", "uploaded_bytes": peer.uploaded_bytes})


async def _go_on(peer: "Peer", output: "Output") -> None:
    """Shares until told to stop."""
    from p2p_client.cli.commands.share import unreachable_sentence

    ready = await peer.share()
    if ready.endpoint is None:
        output.notice(unreachable_sentence(ready))
    output.hint("Others can fetch it from here. Ctrl-C stops.")
    await peer.stopped()


async def _awaited(peer: "Peer", view: "DownloadView", wish: "Wish") -> "Content":
    """What the target means, as soon as it means something; says that it waits, where it does."""
    from p2p_client.errors import NotFound

    try:
        return await peer.resolve(wish.target, owner=wish.owner)
    except NotFound:
        view.say(f"waiting until somebody shares {wish.target}")
        return await peer.appears(wish.target, owner=wish.owner)
