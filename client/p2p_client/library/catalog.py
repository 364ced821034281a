"""What we list, and how it changed: the library's side of Announce. Pure.

Every change raises the counter by one. What changed after a given counter can be told as long as
the tombstones of withdrawn paths are kept; beyond that, and for another epoch, only a snapshot
brings a directory up to date.
"""

from collections.abc import Callable
from dataclasses import dataclass

from p2p_client.models import Resource, Revision

MOST_TOMBSTONES = 100_000


@dataclass(frozen=True, slots=True)
class Changes:
    """What leads from `base` to `revision`; each path at most once, in either list."""

    base: Revision
    revision: Revision
    resources: tuple[Resource, ...]
    withdrawn_paths: tuple[str, ...]


class Catalog:
    """The resources of one run of a sharing peer, by path.

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
        self._changed: dict[str, int] = {}  # path -> counter of its last change, oldest first
        self._tombstones: dict[str, int] = {}  # the withdrawn ones of these, oldest first
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
        self._tombstones[path] = self._counter + 1
        if len(self._tombstones) > self._most_tombstones:
            self._forget_oldest()
        self._mark(path)

    def changes_since(self, held: Revision) -> Changes | None:
        """What a directory that holds `held` is missing; None: it needs a snapshot.

        Cost: O(changes), newest first, not O(catalog).
        """
        if held.epoch != self._epoch or not self._floor <= held.counter <= self._counter:
            return None
        resources: list[Resource] = []
        withdrawn: list[str] = []
        for path, counter in reversed(self._changed.items()):
            if counter <= held.counter:
                break
            resource = self._resources.get(path)
            if resource is None:
                withdrawn.append(path)
            else:
                resources.append(resource)
        return Changes(held, self.revision, tuple(reversed(resources)), tuple(reversed(withdrawn)))

    def snapshot(self) -> tuple[Revision, tuple[Resource, ...]]:
        return self.revision, tuple(self._resources.values())

    def _mark(self, path: str) -> None:
        self._counter += 1
        self._changed.pop(path, None)  # re-inserted last, so that the order is by counter
        self._changed[path] = self._counter
        self._tell()

    def _forget_oldest(self) -> None:
        path, counter = next(iter(self._tombstones.items()))
        del self._tombstones[path]
        self._changed.pop(path, None)
        self._floor = max(self._floor, counter)

    def _tell(self) -> None:
        for callback in self._subscribers:
            callback()
