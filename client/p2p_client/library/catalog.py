"""What we list, and how it changed: the library's side of Announce. Pure.

Every change raises the counter by one. What changed after a given counter can be told as long as
the tombstones of withdrawn paths are kept; beyond that, and for another epoch, only a snapshot
brings a directory up to date.
"""

from collections.abc import Callable

from p2p_client.models import Digest, PartialContent, Resource, Revision
from p2p_client.records import dataclass

MOST_TOMBSTONES = 100_000


@dataclass(frozen=True, slots=True)
class _OfPartial:
    """Names a partial content among the paths: no path looks like it."""

    digest: Digest


@dataclass(frozen=True, slots=True)
class Changes:
    """What leads from `base` to `revision`; each path and digest at most once, in either list."""

    base: Revision
    revision: Revision
    resources: tuple[Resource, ...] = ()
    withdrawn_paths: tuple[str, ...] = ()
    partials: tuple[PartialContent, ...] = ()
    withdrawn_partials: tuple[Digest, ...] = ()


class Catalog:
    """The resources of one run of a sharing peer, by path; and its partial contents, by digest.

    Args:
        epoch: names this run; two epochs never compare.
        most_tombstones: withdrawn paths remembered; older revisions need a snapshot.
    """

    def __init__(self, epoch: str, *, most_tombstones: int = MOST_TOMBSTONES) -> None:
        self._epoch = epoch
        self._counter = 0
        self._most_tombstones = most_tombstones
        self._floor = 0  # changes up to this counter may be forgotten
        self._resources: dict[str, Resource] = {}
        self._partials: dict[Digest, PartialContent] = {}
        # Counters of the last change of each, oldest first; and the withdrawn ones of these.
        self._changed: dict[str | _OfPartial, int] = {}
        self._tombstones: dict[str | _OfPartial, int] = {}
        self._size_bytes = 0
        self._settled = False
        self._subscribers: list[Callable[[], None]] = []

    @property
    def revision(self) -> Revision:
        return Revision(self._epoch, self._counter)

    @property
    def resource_count(self) -> int:
        return len(self._resources)

    @property
    def size_bytes(self) -> int:
        return self._size_bytes

    @property
    def settled(self) -> bool:
        """Whether the first scan has put all that the hash cache knew."""
        return self._settled

    @settled.setter
    def settled(self, settled: bool) -> None:
        if settled != self._settled:
            self._settled = settled
            self._tell()

    def subscribe(self, callback: Callable[[], None]) -> None:
        """Calls back after every change; the callback must be quick and must not change us."""
        self._subscribers.append(callback)

    def get(self, path: str) -> Resource | None:
        return self._resources.get(path)

    def put(self, resource: Resource) -> None:
        """Lists a resource under its path, in place of the one before."""
        before = self._resources.get(resource.path)
        if before == resource:
            return
        self._resources[resource.path] = resource
        self._size_bytes += resource.size_bytes - (before.size_bytes if before else 0)
        self._tombstones.pop(resource.path, None)
        self._mark(resource.path)

    def withdraw(self, path: str) -> None:
        """Lists the path no longer; nothing happens when it is not listed."""
        before = self._resources.pop(path, None)
        if before is None:
            return
        self._size_bytes -= before.size_bytes
        self._bury(path)

    def put_partial(self, partial: PartialContent) -> None:
        """Lists a partial content under its digest, in place of the one before."""
        if self._partials.get(partial.digest) == partial:
            return
        self._partials[partial.digest] = partial
        key = _OfPartial(partial.digest)
        self._tombstones.pop(key, None)
        self._mark(key)

    def withdraw_partial(self, digest: Digest) -> None:
        """Lists it no longer; nothing happens when it is not listed."""
        if self._partials.pop(digest, None) is not None:
            self._bury(_OfPartial(digest))

    @property
    def partials(self) -> tuple[PartialContent, ...]:
        return tuple(self._partials.values())

    def changes_since(self, held: Revision) -> Changes | None:
        """What a directory that holds `held` is missing; None: it needs a snapshot.

        Cost: O(changes), newest first, not O(catalog).
        """
        if held.epoch != self._epoch or not self._floor <= held.counter <= self._counter:
            return None
        changed: list[Resource | PartialContent] = []
        withdrawn: list[str | _OfPartial] = []
        for key, counter in reversed(self._changed.items()):
            if counter <= held.counter:
                break
            item = self._item(key)
            if item is None:
                withdrawn.append(key)
            else:
                changed.append(item)
        changed.reverse()
        withdrawn.reverse()
        return Changes(
            held,
            self.revision,
            resources=tuple(item for item in changed if isinstance(item, Resource)),
            withdrawn_paths=tuple(key for key in withdrawn if isinstance(key, str)),
            partials=tuple(item for item in changed if isinstance(item, PartialContent)),
            withdrawn_partials=tuple(
                key.digest for key in withdrawn if isinstance(key, _OfPartial)
            ),
        )

    def _item(self, key: str | _OfPartial) -> Resource | PartialContent | None:
        if isinstance(key, _OfPartial):
            return self._partials.get(key.digest)
        return self._resources.get(key)

    def snapshot(self) -> tuple[Revision, tuple[Resource, ...]]:
        """All resources; `partials` belong to the same revision."""
        return self.revision, tuple(self._resources.values())

    def _bury(self, key: str | _OfPartial) -> None:
        self._tombstones[key] = self._counter + 1
        if len(self._tombstones) > self._most_tombstones:
            self._forget_oldest()
        self._mark(key)

    def _mark(self, key: str | _OfPartial) -> None:
        self._counter += 1
        self._changed.pop(key, None)  # re-inserted last, so that the order is by counter
        self._changed[key] = self._counter
        self._tell()

    def _forget_oldest(self) -> None:
        key, counter = next(iter(self._tombstones.items()))
        del self._tombstones[key]
        self._changed.pop(key, None)
        self._floor = max(self._floor, counter)

    def _tell(self) -> None:
        for callback in self._subscribers:
            callback()
