"""Changes of what callers are answered, as a store tells them after they are committed.

Only of visible peers, and only what shows. A store that cannot tell all that changed (because too
much did, or because another process changed it) says `Lost`: whoever watches then starts anew.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from p2p_server.directory.models import PeerRow, Resource


@dataclass(frozen=True, slots=True)
class CatalogChanged:
    """Some resources of one peer."""

    peer: PeerRow  # as it is then
    appeared: tuple[Resource, ...] = ()
    changed: tuple[tuple[Resource, Resource], ...] = ()  # from, to
    gone: tuple[Resource, ...] = ()

    @property
    def size(self) -> int:
        return len(self.appeared) + len(self.changed) + len(self.gone)


def differ(before: Resource, after: Resource) -> bool:
    """Whether anything that is told changed; times count to the microsecond, as in stores."""
    same_time = round(before.modified_at * 1e6) == round(after.modified_at * 1e6)
    return not same_time or before != replace(after, modified_at=before.modified_at)


@dataclass(frozen=True, slots=True)
class CatalogFilled:
    """A visible peer has its first catalog: all in it appeared."""

    peer: PeerRow


@dataclass(frozen=True, slots=True)
class PeerCame:
    """A peer is visible now, with all of its catalog."""

    peer: PeerRow


@dataclass(frozen=True, slots=True)
class PeerLeft:
    """A peer is not visible any more. Its catalog can still be read for a while."""

    peer: PeerRow


@dataclass(frozen=True, slots=True)
class Lost:
    """More changed than is told."""


Change = CatalogChanged | CatalogFilled | PeerCame | PeerLeft | Lost
TellChange = Callable[[Change], None]
