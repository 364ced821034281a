"""From what a person typed to one content: the rules for TARGET.

A target is, in this order: `b3:` and a digest or the unique beginning of one; `OWNER:PATH` where
that owner is online; a full path; a basename. Owners of the same content are one choice.
"""

from collections.abc import Awaitable, Callable, Iterable

from p2p_client.content.digest import parse_prefix, show
from p2p_client.errors import Ambiguous, NotFound, UsageError
from p2p_client.models import Digest, ListedResource, Query
from p2p_client.records import dataclass

Search = Callable[[Query], Awaitable[list[ListedResource]]]
IsOnline = Callable[[str], Awaitable[bool]]

MOST_CANDIDATES_NAMED = 20


@dataclass(frozen=True, slots=True)
class Content:
    """One content and everybody who shares it, whatever they call it; never without an owner."""

    digest: Digest
    size_bytes: int
    owners: tuple[ListedResource, ...]

    @property
    def path(self) -> str:
        return self.owners[0].resource.path

    @property
    def name(self) -> str:
        return self.owners[0].resource.name

    @property
    def target(self) -> str:
        """What to type to mean this very content, as long as its owner keeps it."""
        return f"{self.owners[0].peer.user}:{self.path}"


def contents_of(listed: Iterable[ListedResource]) -> list[Content]:
    """Groups resources by content, in the order in which the contents first appear."""
    groups: dict[Digest, list[ListedResource]] = {}
    for item in listed:
        groups.setdefault(item.resource.digest, []).append(item)
    return [
        Content(digest, items[0].resource.size_bytes, tuple(items))
        for digest, items in groups.items()
    ]


async def resolve(target: str, owner: str | None, search: Search, is_online: IsOnline) -> Content:
    """The one content that `target` means, of `owner` where given.

    Raises:
        UsageError: an empty target, or `b3:` without 8 to 64 hexadecimal characters.
        NotFound: nothing online fits.
        Ambiguous: several different contents fit.
    """
    listed = await _matches(target, owner or "", search, is_online)
    contents = contents_of(listed)
    if not contents:
        raise NotFound(await _nothing_found(target, owner, search))
    if len(contents) > 1:
        candidates = [_candidate(content, listed) for content in contents]
        shown = candidates[:MOST_CANDIDATES_NAMED]
        more = len(candidates) - len(shown)
        raise Ambiguous(
            f"{target!r} stands for {len(contents)} different contents"
            f"{f', the first {len(shown)} of them below' if more else ''}: "
            "name one as OWNER:PATH, by --from OWNER, or by its digest",
            shown,
        )
    return contents[0]


async def _matches(
    target: str, owner: str, search: Search, is_online: IsOnline
) -> list[ListedResource]:
    if not target:
        raise UsageError("the target is empty: name a path, OWNER:PATH or b3:DIGEST")
    if target.lower().startswith("b3:"):
        prefix = parse_prefix(target)
        if prefix is not None:
            return await search(Query(digest_prefix=prefix, owner=owner))
    head, colon, tail = target.partition(":")
    if colon and head and tail and not owner and await is_online(head):
        return await _by_path_or_name(tail, head, search)
    if head.lower() == "b3" and colon:  # and no user is called b3
        raise UsageError(f"{target!r} is no digest: b3: and 8 to 64 hexadecimal characters")
    return await _by_path_or_name(target, owner, search)


async def _by_path_or_name(path: str, owner: str, search: Search) -> list[ListedResource]:
    found = await search(Query(path=path, owner=owner))
    if not found and "/" not in path:
        found = await search(Query(name=path, owner=owner))
    return found


def _candidate(content: Content, listed: list[ListedResource]) -> str:
    """`OWNER:PATH`, or the digest where that user shares different files under that very path."""
    first = content.owners[0]
    twins = {
        item.resource.digest
        for item in listed
        if (item.peer.user, item.resource.path) == (first.peer.user, first.resource.path)
    }
    # A user may be called b3, and a path look like a digest.
    clear = len(twins) == 1 and parse_prefix(content.target) is None
    return content.target if clear else show(content.digest)


async def _nothing_found(target: str, owner: str | None, search: Search) -> str:
    if owner:
        others = contents_of(await _by_path_or_name(target, "", search))
        if others:
            users = sorted({item.peer.user for content in others for item in content.owners})
            return f"{owner} shares no {target!r}, but {', '.join(users[:5])} does"
        return f"{owner} shares no {target!r} now"
    return f"nobody online shares {target!r}: see what is there with `p2p-client search`"
