"""`share`: serve files and folders in place until told to stop."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from p2p_client.cli.options import GlobalOptions
from p2p_client.cli.render import Output, endpoint_or_none
from p2p_client.cli.sizes import show_size

if TYPE_CHECKING:
    from p2p_client.config import Settings
    from p2p_client.library.events import LibraryEvent
    from p2p_client.peer import Peer
    from p2p_client.presence.sharing import ShareReady

MOST_SKIPPED_NAMED = 20


def share(
    context: typer.Context,
    paths: Annotated[list[str], typer.Argument(metavar="PATH", help="Files and folders.")],
    listen: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Where to serve.  [default: any free port]"),
    ] = None,
    advertise: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HOST:PORT", help="A further address that leads here; may be repeated."
        ),
    ] = None,
    limit_up: Annotated[
        str | None,
        typer.Option(metavar="RATE", help="Serve all together no faster, such as 20MB (a second)."),
    ] = None,
) -> None:
    """Share files and folders until stopped."""
    from p2p_client.cli.run import run_until_stopped
    from p2p_client.errors import UsageError

    if "" in paths:  # as a path that would be this folder: a script's unset variable shares it all
        raise UsageError("a PATH is empty: name files and folders, `.` for this one")
    options = context.ensure_object(GlobalOptions)
    settings = options.settings(listen=listen, advertise=advertise or (), limit_up=limit_up)
    run_until_stopped(_share(settings, [Path(path) for path in paths], options.output))


async def _share(settings: "Settings", paths: Sequence[Path], output: Output) -> None:
    from p2p_client.cli.progress import HashingView
    from p2p_client.cli.run import tell_first_contact
    from p2p_client.peer import Peer

    view = HashingView(output)
    told = _Told(output)

    def on_event(event: "LibraryEvent") -> None:
        view.show(event)
        told.show(event)

    async with Peer(settings, on_notice=output.notice) as peer:
        with view:
            ready = await peer.share(*paths, on_event=on_event)
        tell_first_contact(peer, output.notice)
        told.everything_so_far(ready)
        _tell_ready(ready, output)
        with tell_stopped(peer, output):
            await peer.stopped()


@contextlib.contextmanager
def tell_stopped(peer: "Peer", output: Output) -> Iterator[None]:
    """Tells programs at the end what others fetched from us."""
    try:
        yield
    finally:
        output.record({"event": "stopped", "uploaded_bytes": peer.uploaded_bytes})


def _tell_ready(ready: "ShareReady", output: Output) -> None:
    for rejected in ready.rejected:
        output.notice(f"the directory does not list {rejected.item}: {rejected.message}")
    if ready.endpoint is None:
        output.notice(unreachable_sentence(ready))
    output.record(
        {
            "event": "ready",
            "endpoint": endpoint_or_none(ready.endpoint),
            "resources": ready.resources,
            "size_bytes": ready.size_bytes,
            "skipped": len(ready.skipped),
            "rejected": len(ready.rejected),
        }
    )
    output.result(ready_sentence(ready))
    output.hint("Ctrl-C stops sharing.")


def ready_sentence(ready: "ShareReady") -> str:
    """What is shared, and where; said once everything is announced."""
    files = f"{ready.resources} {'file' if ready.resources == 1 else 'files'}"
    where = f"at {ready.endpoint}" if ready.endpoint else "at no address that others can reach"
    return f"sharing {files}, {show_size(ready.size_bytes)}, {where}"


def unreachable_sentence(ready: "ShareReady") -> str:
    """Why nobody can fetch from us, and what to do about it."""
    tried = ", ".join(
        f"{status.endpoint} ({status.verdict.value})" for status in ready.endpoint_statuses
    )
    return (
        "the directory could not reach us, so nobody finds what we share; it tried: "
        f"{tried or 'no address at all'}. Open the port in the firewall (--listen HOST:PORT fixes "
        "it), or name an address that leads here with --advertise HOST:PORT"
    )


class _Told:
    """Says once of each thing that it is not shared, when the library finds it."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._skipped: set[str] = set()

    def show(self, event: "LibraryEvent") -> None:
        from p2p_client.library.events import Listed, Notice, Skipped, Withdrawn

        match event:
            case Skipped():
                self._skip(event.path, event.why)
            case Notice():
                self._output.notice(event.text)
            case Listed() if self._output.verbose:
                self._output.notice(f"announcing {event.path}")
            case Withdrawn() if self._output.verbose:
                self._output.notice(f"withdrawing {event.path}")

    def everything_so_far(self, ready: "ShareReady") -> None:
        for skipped in ready.skipped:
            self._skip(skipped.path, skipped.why)
        unnamed = len(self._skipped) - MOST_SKIPPED_NAMED
        if unnamed > 0 and not self._output.verbose:
            self._output.notice(f"{unnamed} more are not shared: -v names each")

    def _skip(self, path: str, why: str) -> None:
        if path in self._skipped:
            return
        self._skipped.add(path)
        if len(self._skipped) <= MOST_SKIPPED_NAMED or self._output.verbose:
            self._output.notice(f"not shared: {path}: it {why}")
