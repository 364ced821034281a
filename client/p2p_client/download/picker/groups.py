"""Which sources belong together, and which of these groups is tried first.

Pieces of one download come only from sources with one manifest, for a manifest proves nothing by
itself: mixing two of them would let one liar spoil what honest sources gave.
"""

from collections.abc import Collection, Sequence

from p2p_client.models import Holding, ManifestDigest, PeerId, Source
from p2p_client.records import dataclass


@dataclass(frozen=True, slots=True)
class Group:
    """The sources of one content under one manifest, whole ones first; at least one."""

    manifest_digest: ManifestDigest
    holdings: tuple[Holding, ...]

    def wholes_beside(self, suspects: Collection[PeerId]) -> int:
        """How many have all of it and are none of the suspects."""
        return sum(
            not holding.partial and holding.source.peer_id not in suspects
            for holding in self.holdings
        )

    @property
    def sources(self) -> tuple[Source, ...]:
        return tuple(holding.source for holding in self.holdings)


def groups_of(
    holdings: Sequence[Holding],
    *,
    banned: Collection[ManifestDigest] = (),
    preferred: ManifestDigest | None = None,
    suspects: Collection[PeerId] = (),
) -> list[Group]:
    """The groups worth trying, best first: the preferred one, then the most whole sources, not
    counting the suspects among them.

    A source without an endpoint cannot be asked and is left out. Ties go to the group with more
    partial sources, then to the lower manifest digest, so the order depends on the arguments alone.

    Args:
        banned: manifests known to lie about this content.
        suspects: those that have lied about this content before. They may list a new manifest as
            often as they like: it is tried after those that others list.
        preferred: the manifest that an earlier run has verified pieces against.
    """
    found: dict[ManifestDigest, dict[str, Holding]] = {}
    for holding in holdings:
        if not holding.source.endpoints or holding.manifest_digest in banned:
            continue
        group = found.setdefault(holding.manifest_digest, {})
        known = group.setdefault(holding.source.peer_id, holding)
        if known.partial and not holding.partial:
            group[holding.source.peer_id] = holding
    groups = [
        Group(digest, tuple(sorted(members.values(), key=lambda holding: holding.partial)))
        for digest, members in found.items()
    ]
    return sorted(
        groups,
        key=lambda group: (
            group.manifest_digest != preferred,
            -group.wholes_beside(suspects),
            -len(group.holdings),
            group.manifest_digest,
        ),
    )
