"""`get OWNER:FOLDER/`, `get 'OWNER:*.csv'` and `get --dry-run`: many files by one command."""

import asyncio
import gc
from pathlib import Path

from p2p_client.cli.commands.search import resource_record
from p2p_client.cli.failures import Stopped
from p2p_client.cli.render import Output
from p2p_client.cli.run import run, tell_first_contact
from p2p_client.cli.sizes import show_size
from p2p_client.cli.trees import TreeView, failure_of, file_record, files_of, tree_line
from p2p_client.config import Settings
from p2p_client.download.place.names import safe_name
from p2p_client.download.tree.events import TreeFinished
from p2p_client.download.tree.plan import Tree
from p2p_client.errors import UsageError
from p2p_client.finding.targets import is_tree_target
from p2p_client.peer import Peer
from p2p_client.records import dataclass


@dataclass(frozen=True, slots=True)
class Wish:
    """What to fetch, whose, and where to."""

    target: str
    owner: str | None
    output: Path | None
    directory: Path | None
    overwrite: bool
    seed: bool
    wait: bool


def get_many(settings: Settings, output: Output, wish: Wish) -> bool:
    """Fetches a tree; False: the target is the name of one file.

    Raises TransferFailed when files could not be had, and what Peer.download_tree raises.
    """
    # There are many objects and no cycles: looking through them all again and again costs much.
    gc.set_threshold(100_000, 50, 50)
    view = TreeView(output)
    try:
        done = run(_get_many(settings, view, wish))
    except Stopped as stopped:
        if not view.started:
            raise
        raise stopped.resumable() from None
    if done is None:
        return False
    output.result(tree_line(done))
    if done.failed_files:
        raise failure_of(done, view.failed)
    return True


async def _get_many(settings: Settings, view: TreeView, wish: Wish) -> TreeFinished | None:
    with view:
        async with Peer(settings, on_notice=view.say) as peer:
            await peer.join()
            tell_first_contact(peer, view.say)
            if wish.target.endswith("/"):
                _check_one(wish)
                return await peer.download_tree(
                    wish.target,
                    owner=wish.owner,
                    directory=wish.directory,
                    overwrite=wish.overwrite,
                    on_event=view.show,
                )
            # What fetching needs is loaded while the directory lists the files, page by page.
            loading = asyncio.get_running_loop().run_in_executor(None, _load_what_fetches)
            tree = await peer.find_tree(wish.target, owner=wish.owner)
            await loading
            if tree is None:
                return None
            _check_one(wish)
            return await peer.download_tree(
                tree,
                directory=wish.directory,
                overwrite=wish.overwrite,
                on_event=view.show,
            )


def _load_what_fetches() -> None:
    import p2p_client.download.tree.fetch  # noqa: F401


def _check_one(wish: Wish) -> None:
    """Raises UsageError for what is for one file only."""
    if wish.wait:
        raise UsageError(f"--wait is for one file, but {wish.target!r} means many")
    if wish.seed:
        raise UsageError(
            f"--seed is for one file, but {wish.target!r} means many: fetch them, then share the "
            "folder with `p2p-client share`"
        )
    if wish.output is not None:
        raise UsageError(
            f"-o names one file, but {wish.target!r} means many: name a folder for them with -d"
        )


async def show_dry_run(settings: Settings, output: Output, wish: Wish) -> None:
    """Says what would be fetched, and where to."""
    async with Peer(settings, on_notice=output.notice) as peer:
        await peer.join()
        tell_first_contact(peer, output.notice)
        tree = None
        if is_tree_target(wish.target):
            tree = await peer.find_tree(wish.target, owner=wish.owner)
        if tree is None:
            content = await peer.resolve(wish.target, owner=wish.owner)
    folder = wish.directory or Path()
    if tree is not None:
        _check_one(wish)
        _show_tree(output, tree, folder)
        return
    place = wish.output or folder / safe_name(content.name)
    first = content.owners[0]
    output.record({**resource_record(first), "target": str(place)})
    _show_rows(output, [(show_size(content.size_bytes), f"{content.target} -> {place}")])


def _show_tree(output: Output, tree: Tree, folder: Path) -> None:
    for file in tree.files:
        output.record(file_record(tree, file, folder))
    if output.json:
        return
    rows = [
        (show_size(file.size_bytes), f"{tree.owner}:{file.path} -> {folder / tree.place(file)}")
        for file in tree.files
    ]
    _show_rows(output, rows)
    output.hint(f"{files_of(len(tree.files))}, {show_size(tree.size_bytes)}; nothing was fetched")


def _show_rows(output: Output, rows: list[tuple[str, str]]) -> None:
    output.table(("SIZE", "OWNER:PATH -> TARGET"), rows, right=("SIZE",))
