"""Which sources belong together, and which of these groups is tried first.

Pieces of one download come only from sources with one manifest, for a manifest proves nothing by
itself: mixing two of them would let one liar spoil what honest sources gave.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from p2p_client.models import Holding, ManifestDigest, Source


@dataclass(frozen=True, slots=True)
class Group:
    """The whole sources of one content under one manifest; at least one."""

    manifest_digest: ManifestDigest
    holdings: tuple[Holding, ...]

    @property
    def sources(self) -> tuple[Source, ...]:
        return tuple(holding.source for holding in self.holdings)


def groups_of(
    holdings: Sequence[Holding],
    *,
    banned: Collection[ManifestDigest] = (),
    preferred: ManifestDigest | None = None,
) -> list[Group]:
    """The groups worth trying, best first: the preferred one, then the most sources.

    Sources that hold only a part are left out: nothing tells which part. A source without an
    endpoint cannot be asked and is left out too. Ties go to the lower manifest digest, so the
    order depends on the arguments alone.

    Args:
        banned: manifests known to lie about this content.
        preferred: the manifest that an earlier run has verified pieces against.
    """
    found: dict[ManifestDigest, dict[str, Holding]] = {}
    for holding in holdings:
        if holding.partial or not holding.source.endpoints or holding.manifest_digest in banned:
            continue
        group = found.setdefault(holding.manifest_digest, {})
        group.setdefault(holding.source.peer_id, holding)
    groups = [Group(digest, tuple(members.values())) for digest, members in found.items()]
    return sorted(
        groups,
        key=lambda group: (
            group.manifest_digest != preferred,
            -len(group.holdings),
            group.manifest_digest,
        ),
    )
