"""`search` and `peers`: what is there, and who is."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from p2p_client.cli.options import GlobalOptions, parse_user
from p2p_client.cli.render import Output, endpoint_or_none, local_time, rfc3339
from p2p_client.cli.sizes import parse_size, show_size

if TYPE_CHECKING:
    from p2p_client.config import Settings
    from p2p_client.models import ListedPeer, ListedResource, Query

DEFAULT_LIMIT = 1_000
SHOWN_HEX = 12  # of a digest in a table: unique among billions of files, and enough for `get`

Words = Annotated[
    list[str] | None,
    typer.Argument(metavar="WORDS", help="Each must stand somewhere in the path."),
]
OfOwner = Annotated[str | None, typer.Option("--owner", metavar="USER", help="Only of this user.")]
Glob = Annotated[
    str | None, typer.Option(metavar="GLOB", help="A pattern for the name, or the whole path.")
]
MediaType = Annotated[
    str | None, typer.Option("--type", metavar="TYPE", help="Like image/png, or image.")
]
Size = Annotated[str | None, typer.Option(metavar="SIZE", help="Like 10MB or 1.5GiB.")]

Limit = Annotated[int, typer.Option(metavar="N", help="Show at most so many; 0: all.")]
DigestPrefix = Annotated[
    str | None, typer.Option(metavar="DIGEST", help="Or the first 8 or more digits of one.")
]


def search(
    context: typer.Context,
    words: Words = None,
    owner: OfOwner = None,
    glob: Glob = None,
    media_type: MediaType = None,
    min_size: Size = None,
    max_size: Size = None,
    digest: DigestPrefix = None,
    limit: Limit = DEFAULT_LIMIT,
) -> None:
    """Find resources; without any words or options, all of them."""
    from p2p_client.cli.run import run
    from p2p_client.errors import UsageError

    if limit < 0:
        raise UsageError(f"--limit {limit} is less than nothing: give 1 or more, or 0 for all")
    query = query_of(words, owner, glob, media_type, min_size, max_size, digest)
    options = context.ensure_object(GlobalOptions)
    run(_search(query, limit, options.settings(), options.output))


def query_of(
    words: list[str] | None,
    owner: str | None,
    glob: str | None,
    media_type: str | None,
    min_size: str | None,
    max_size: str | None,
    digest: str | None,
) -> "Query":
    """What the options of `search` and `watch` ask for. Raises UsageError."""
    from p2p_client.errors import UsageError
    from p2p_client.models import Query

    least, most = _size("--min-size", min_size), _size("--max-size", max_size)
    if least is not None and most is not None and least > most:
        raise UsageError(f"--min-size {min_size} is above --max-size {max_size}")
    return Query(
        text=" ".join(words or ()),
        glob=glob or "",
        owner=parse_user(owner) if owner else "",
        digest_prefix=_prefix(digest) if digest else "",
        min_size_bytes=least,
        max_size_bytes=most,
        media_type=media_type or "",
    )


def _size(option: str, text: str | None) -> int | None:
    from p2p_client.errors import UsageError

    if text is None:
        return None
    try:
        return parse_size(text)
    except ValueError as error:
        raise UsageError(f"{option}: {error}") from None


def _prefix(text: str) -> str:
    from p2p_client.content.digest import parse_prefix
    from p2p_client.errors import UsageError

    prefix = parse_prefix(text if ":" in text else f"b3:{text}")
    if prefix is None:
        raise UsageError(f"--digest: {text!r} is no digest: b3: and 8 to 64 hexadecimal characters")
    return prefix


async def _search(query: "Query", limit: int, settings: "Settings", output: Output) -> None:
    from p2p_client.cli.run import tell_first_contact
    from p2p_client.peer import Peer

    # One more than shown, to know whether there are more.
    wanted = limit + 1 if limit else 1 << 62
    async with Peer(settings, on_notice=output.notice) as peer:
        await peer.join()
        tell_first_contact(peer, output.notice)
        found = await peer.search(query, limit=wanted)
    shown = found[:limit] if limit else found
    for item in shown:
        output.record(resource_record(item))
    output.table(
        ("SIZE", "MODIFIED", "DIGEST", "OWNER:PATH"),
        [_resource_row(item) for item in shown],
        right=("SIZE",),
    )
    if len(found) > len(shown):
        output.hint(f"more were found than the {len(shown)} shown: narrow it down, or --limit 0")
    elif not output.json:
        output.hint(_summary(shown))


def _summary(shown: Sequence["ListedResource"]) -> str:
    if not shown:
        return "nothing found"
    users = {item.peer.user for item in shown}
    contents = {item.resource.digest for item in shown}
    alike = f", {len(contents)} different" if len(contents) != len(shown) else ""
    return (
        f"{_count(len(shown), 'resource')}{alike}, of {_count(len(users), 'user')}; "
        "fetch one with: p2p-client get OWNER:PATH"
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def resource_record(item: "ListedResource") -> dict[str, object]:
    """A resource as `search --json` prints it."""
    return {
        "name": item.resource.name,
        "path": item.resource.path,
        "size_bytes": item.resource.size_bytes,
        "digest": f"b3:{item.resource.digest}",
        "owner": item.peer.user,
        "endpoint": endpoint_or_none(item.peer.endpoint),
        "mtime": rfc3339(item.resource.modified_at),
        "media_type": item.resource.media_type,
    }


def _resource_row(item: "ListedResource") -> tuple[str, ...]:
    return (
        show_size(item.resource.size_bytes),
        local_time(item.resource.modified_at),
        f"b3:{item.resource.digest[:SHOWN_HEX]}",
        f"{item.peer.user}:{item.resource.path}",
    )


def peers(context: typer.Context) -> None:
    """Who is online and shares."""
    from p2p_client.cli.run import run

    options = context.ensure_object(GlobalOptions)
    run(_peers(options.settings(), options.output))


async def _peers(settings: "Settings", output: Output) -> None:
    from p2p_client.cli.run import tell_first_contact
    from p2p_client.peer import Peer

    async with Peer(settings, on_notice=output.notice) as peer:
        await peer.join()
        tell_first_contact(peer, output.notice)
        online = await peer.peers()
    for listed in online:
        output.record(peer_record(listed))
    output.table(
        ("RESOURCES", "SIZE", "ONLINE SINCE", "ENDPOINT", "USER"),
        [_peer_row(listed) for listed in online],
        right=("RESOURCES", "SIZE"),
    )
    if not online:
        output.hint("nobody is online")


def peer_record(listed: "ListedPeer") -> dict[str, object]:
    """A peer as `peers --json` prints it."""
    return {
        "user": listed.user,
        "peer_id": listed.peer_id,
        "endpoint": endpoint_or_none(listed.endpoint),
        "resources": listed.resource_count,
        "size_bytes": listed.size_bytes,
        "since": rfc3339(listed.online_since),
    }


def _peer_row(listed: "ListedPeer") -> tuple[str, ...]:
    return (
        str(listed.resource_count),
        show_size(listed.size_bytes),
        local_time(listed.online_since),
        endpoint_or_none(listed.endpoint) or "not reachable from here",
        listed.user,
    )
