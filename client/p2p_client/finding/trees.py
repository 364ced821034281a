"""From what a person typed to the tree of files it means: whose it is, and which files.

`resolve.py` does the same for targets that mean one content.
"""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import field

from p2p_client.download.tree.plan import Tree, TreeFile
from p2p_client.errors import Ambiguous, LocalRefusal, NotFound, UsageError
from p2p_client.finding.resolve import MOST_CANDIDATES_NAMED, IsOnline
from p2p_client.finding.targets import Pattern
from p2p_client.models import ListedResource, Query
from p2p_client.records import dataclass

Pages = Callable[[Query], AsyncGenerator[Sequence[ListedResource], None]]
"""All pages of what a query finds, in order."""

MOST_FILES = 1_000_000


async def find_tree(
    target: str, owner: str | None, pages: Pages, is_online: IsOnline
) -> Tree | None:
    """The tree that `target` means, of `owner` where given; None: it is the name of one file.

    Raises:
        NotFound: nothing online fits.
        Ambiguous: owners share different trees of that name, or one owner two states of one tree.
        LocalRefusal: more files than can be sensible.
    """
    text = target
    head, colon, tail = target.partition(":")
    if colon and head and tail and not owner:
        # Whoever has something of that name is online: no need to ask for that alone.
        pattern = Pattern.of(tail)
        found = await _gather(pattern, head, pages)
        if found.owners or await is_online(head):
            return await _choose(pattern, head, found)
    if not text:
        raise UsageError("the target is empty: name a path, OWNER:PATH or b3:DIGEST")
    pattern = Pattern.of(text)
    return await _choose(pattern, owner or "", await _gather(pattern, owner or "", pages))


@dataclass(slots=True)
class _Found:
    """What was listed, by owner and path; `is_literal`: some of it is in the folder, or is the
    file, of that very name."""

    is_literal: bool = False
    owners: dict[str, dict[str, TreeFile]] = field(default_factory=dict)
    clashes: list[str] = field(default_factory=list)  # paths with several contents of one owner

    def add(self, listed: ListedResource) -> None:
        resource, peer = listed.resource, listed.peer
        files = self.owners.setdefault(peer.user, {})
        digest = bytes.fromhex(resource.digest)
        known = files.get(resource.path)
        if known is None:
            files[resource.path] = TreeFile(
                resource.path,
                resource.size_bytes,
                digest,
                bytes.fromhex(resource.manifest_digest),
                resource.modified_at,
                resource.media_type,
                (peer,),
            )
        elif known.digest != digest:
            for state in (known.digest.hex(), resource.digest):
                self.clashes.append(f"b3:{state}")
        elif peer not in known.peers:
            known.peers = (*known.peers, peer)


async def _gather(pattern: Pattern, owner: str, pages: Pages) -> _Found:
    """All that the pattern means, literally where there is such a folder, else as a glob."""
    found, literal, count = _Found(), _Found(is_literal=True), 0
    async with aclosing(pages(pattern.query(owner))) as listing:
        async for page in listing:
            for listed in page:
                path = listed.resource.path
                means = pattern.is_below if pattern.is_folder else pattern.is_name_of
                if means(path):
                    literal.add(listed)
                elif pattern.has_wildcards:
                    found.add(listed)
            count += len(page)
            if count > MOST_FILES:
                raise LocalRefusal(
                    f"{pattern.text!r} means more than {MOST_FILES:,} files: name less at once",
                    reason="TOO_MANY_FILES",
                )
    return literal if literal.owners else found


async def _choose(pattern: Pattern, owner: str, found: _Found) -> Tree | None:
    if found.is_literal and not pattern.is_folder:
        return None
    if not found.owners:
        whose = f"{owner} shares" if owner else "nobody online shares"
        raise NotFound(
            f"{whose} no {'folder ' if pattern.is_folder else ''}{pattern.text!r}: see what is "
            "there with `p2p-client search`"
        )
    if found.clashes:
        raise Ambiguous(
            f"{pattern.text!r} holds files of one owner and name with different contents, from "
            "several machines: fetch these by their digests",
            list(dict.fromkeys(found.clashes))[:MOST_CANDIDATES_NAMED],
        )
    users = sorted(found.owners)
    trees = [found.owners[user] for user in users]
    if any(_digests(tree) != _digests(trees[0]) for tree in trees[1:]):
        raise Ambiguous(
            f"{pattern.text!r} stands for different files of {len(users)} users: name one as "
            "OWNER:PATH, or by --from OWNER",
            [f"{user}:{pattern.text}" for user in users[:MOST_CANDIDATES_NAMED]],
        )
    for other in trees[1:]:
        for path, file in other.items():
            trees[0][path].peers += file.peers
    is_folder = pattern.is_folder and found.is_literal
    return Tree(
        f"{users[0]}:{pattern.text}",
        users[0],
        pattern.cut if is_folder else 0,
        pattern.top if is_folder else "",
        tuple(trees[0].values()),
    )


def _digests(tree: dict[str, TreeFile]) -> dict[str, bytes]:
    return {path: file.digest for path, file in tree.items()}
