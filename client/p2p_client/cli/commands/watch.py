"""`watch`: the same as `search`, live."""

from typing import TYPE_CHECKING, Annotated

import typer

from p2p_client.cli.commands.search import (
    DigestPrefix,
    Glob,
    MediaType,
    OfOwner,
    Size,
    Words,
    peer_record,
    query_of,
    resource_record,
)
from p2p_client.cli.options import GlobalOptions
from p2p_client.cli.render import Output, endpoint_or_none
from p2p_client.cli.sizes import show_size

if TYPE_CHECKING:
    from p2p_client.config import Settings
    from p2p_client.models import Query, WatchEvent

OnlyNew = Annotated[
    bool, typer.Option("--new", help="Only what changes from now on, not what is there now.")
]


def watch(
    context: typer.Context,
    words: Words = None,
    owner: OfOwner = None,
    glob: Glob = None,
    media_type: MediaType = None,
    min_size: Size = None,
    max_size: Size = None,
    digest: DigestPrefix = None,
    only_new: OnlyNew = False,
) -> None:
    """See resources appear, change and go, and peers come and leave, until stopped."""
    from p2p_client.cli.run import run_until_stopped

    query = query_of(words, owner, glob, media_type, min_size, max_size, digest)
    options = context.ensure_object(GlobalOptions)
    run_until_stopped(_watch(query, options.settings(), options.output, only_new=only_new))


async def _watch(query: "Query", settings: "Settings", output: Output, *, only_new: bool) -> None:
    from contextlib import aclosing

    from p2p_client.cli.run import tell_first_contact
    from p2p_client.peer import Peer

    async with Peer(settings, on_notice=output.notice) as peer:
        await peer.join()
        tell_first_contact(peer, output.notice)
        async with aclosing(peer.watch(query, only_new=only_new)) as events:
            async for event in events:
                _show(event, output)


def _show(event: "WatchEvent", output: Output) -> None:
    output.record(watch_record(event))
    line = _line(event)
    if line:
        output.result(line)
    elif not output.json:
        output.hint(_ABOUT_THE_WATCH[event.kind.value])


_ABOUT_THE_WATCH = {
    "started_anew": "the directory could not go on where we were: all that is there follows again",
    "caught_up": "that is what is there now; changes follow. Ctrl-C stops watching.",
}
_VERBS = {"peer_came": "came", "peer_left": "left"}


def watch_record(event: "WatchEvent") -> dict[str, object]:
    """An event as `watch --json` prints it."""
    record: dict[str, object] = {"event": event.kind.value}
    if event.listed is not None:
        return record | resource_record(event.listed)
    return record if event.peer is None else record | peer_record(event.peer)


def _line(event: "WatchEvent") -> str:
    verb = _VERBS.get(event.kind.value, event.kind.value)
    if event.listed is not None:
        item = event.listed
        size = show_size(item.resource.size_bytes)
        return f"{verb:<8}  {size:>9}  {item.peer.user}:{item.resource.path}"
    if event.peer is None:
        return ""
    where = endpoint_or_none(event.peer.endpoint) or "not reachable from here"
    return f"{verb:<8}  {'':>9}  {event.peer.user} ({where})"
