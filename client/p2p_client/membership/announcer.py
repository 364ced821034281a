"""What to announce next: cuts what the directory is missing into batches it will take. Pure.

A plan leads from what is held to what the catalog was when the plan was made, and is carried to its
end even if the catalog has moved on: the rest is the next plan. It outlives interruptions, for an
identical resend is taken again.

The revisions inside a delta of several batches are made up, and mean something only together with
the rest of their plan: "held" is worth a delta from it only if a plan of ours has ended there.
"""

from collections import deque
from collections.abc import Sequence
from typing import TypeVar

from p2p_client.library.catalog import Catalog, Changes
from p2p_client.models import AnnounceBatch, Digest, PartialContent, Resource, Revision
from p2p_client.records import dataclass

MOST_ITEMS = 5_000
MOST_BYTES = 900 << 10
_SHARE_OF_REQUEST = 0.85  # sizes are estimated; a request has a frame, too
_PARTIAL_BYTES = 160
_RESOURCE_BYTES = 190  # all of an encoded Resource but its path and media type, rounded up
_PATH_BYTES = 8
_ENDS_KEPT = 64


@dataclass(frozen=True, slots=True)
class _Gone:
    """A partial content that is withdrawn."""

    digest: Digest


Item = TypeVar("Item", bound=Resource | PartialContent | _Gone | str)


@dataclass(slots=True)
class _Plan:
    revision: Revision
    batches: Sequence[AnnounceBatch]
    next_index: int = 0

    @property
    def next(self) -> AnnounceBatch:
        return self.batches[self.next_index]


class Announcer:
    """Decides the batches for one catalog; at most one of them is under way at a time."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._most_items = MOST_ITEMS
        self._most_bytes = MOST_BYTES
        self._plan: _Plan | None = None
        self._ends: deque[Revision] = deque(maxlen=_ENDS_KEPT)
        self._snapshot_is_due = False
        self._snapshots = 0

    @property
    def is_midway(self) -> bool:
        """Whether a plan has begun and not ended."""
        return self._plan is not None

    def limit(self, max_items: int, max_request_bytes: int) -> None:
        """Keeps to what the directory takes, where that is less than what we would send."""
        self._most_items = max(1, min(MOST_ITEMS, max_items))
        self._most_bytes = min(MOST_BYTES, int(max_request_bytes * _SHARE_OF_REQUEST))

    def is_whole(self, held: Revision) -> bool:
        """Whether a directory that holds this has a state that our catalog really was in."""
        return held == self._catalog.revision or held in self._ends

    def next_batch(self, held: Revision) -> AnnounceBatch | None:
        """What a directory that holds `held` should get now; None: it has everything.

        Cost: O(changes) when a plan is made, else O(1).
        """
        plan = self._continued(held)
        if plan is None and held != self._catalog.revision:
            plan = self._delta(held) or self._snapshot()
        self._plan = plan
        return None if plan is None else plan.next

    def taken(self, held: Revision) -> bool:
        """The batch was taken and the directory holds `held`; False: that makes no sense."""
        plan = self._plan
        if plan is None:
            return True
        batch = plan.next
        plan.next_index += 1
        if plan.next_index < len(plan.batches):
            return bool(batch.snapshot_id) or held == batch.revision
        self._plan = None
        if held != plan.revision:
            return False
        self._ends.append(plan.revision)
        return True

    def mismatched(self) -> None:
        """The directory has no use for the batch: it will get a snapshot from its beginning."""
        self._plan = None
        self._snapshot_is_due = True

    def too_large(self) -> bool:
        """Cuts smaller from now on; False: it cannot be cut smaller."""
        if self._plan is None or self._most_items == 1:
            return False
        batch = self._plan.next
        items = len(batch.resources) + len(batch.withdrawn_paths)
        items += len(batch.partials) + len(batch.withdrawn_partials)
        if items <= 1:
            return False
        self._most_items = max(1, items // 2)
        self.mismatched()
        return True

    def _continued(self, held: Revision) -> _Plan | None:
        """The plan under way, if it still leads on from what is held."""
        plan = self._plan
        if plan is None or held == plan.revision:
            # The answer to the last batch was lost, but it was taken.
            if plan is not None:
                self._ends.append(plan.revision)
            return None
        if plan.next.snapshot_id:
            return plan
        if plan.next.revision == held:
            plan.next_index += 1
        return plan if plan.next.base == held else None

    def _delta(self, held: Revision) -> _Plan | None:
        if self._snapshot_is_due or not self.is_whole(held):
            return None
        changes = self._catalog.changes_since(held)
        if changes is None:
            return None
        # What is withdrawn first: it makes room under a limit of the directory.
        items: list[str | _Gone | Resource | PartialContent] = [
            *changes.withdrawn_paths,
            *map(_Gone, changes.withdrawn_partials),
            *changes.resources,
            *changes.partials,
        ]
        parts = self._cut(items)
        counters = _counters(changes, len(parts))
        if counters is None:
            return None
        # From here on the directory may hold made-up revisions greater than `held`.
        self._ends = deque((end for end in self._ends if end.counter <= held.counter), _ENDS_KEPT)
        if held not in self._ends:
            self._ends.append(held)
        revisions = [Revision(held.epoch, counter) for counter in counters]
        bases = [held, *revisions[:-1]]
        batches = [
            _delta_batch(base, revision, part)
            for base, revision, part in zip(bases, revisions, parts, strict=True)
        ]
        return _Plan(changes.revision, batches)

    def _snapshot(self) -> _Plan:
        self._snapshot_is_due = False
        self._snapshots += 1
        revision, resources = self._catalog.snapshot()
        snapshot_id = f"{revision.epoch[:40]}-{self._snapshots}"
        items: list[Resource | PartialContent] = [*resources, *self._catalog.partials]
        parts = self._cut(items)
        batches = [
            AnnounceBatch(
                revision,
                tuple(item for item in part if isinstance(item, Resource)),
                partials=tuple(item for item in part if isinstance(item, PartialContent)),
                snapshot_id=snapshot_id,
                batch_index=index,
                last=index == len(parts) - 1,
            )
            for index, part in enumerate(parts)
        ]
        return _Plan(revision, batches)

    def _cut(self, items: Sequence[Item]) -> list[tuple[Item, ...]]:
        """At least one part, be it empty; a single item that is too large is a part by itself."""
        parts: list[tuple[Item, ...]] = []
        start, size_bytes = 0, 0
        for index, item in enumerate(items):
            added = _size_of(item)
            is_full = index - start >= self._most_items or size_bytes + added > self._most_bytes
            if is_full and index > start:
                parts.append(tuple(items[start:index]))
                start, size_bytes = index, 0
            size_bytes += added
        return [*parts, tuple(items[start:])]


def _delta_batch(
    base: Revision, revision: Revision, part: Sequence[str | _Gone | Resource | PartialContent]
) -> AnnounceBatch:
    return AnnounceBatch(
        revision,
        resources=tuple(item for item in part if isinstance(item, Resource)),
        withdrawn_paths=tuple(item for item in part if isinstance(item, str)),
        partials=tuple(item for item in part if isinstance(item, PartialContent)),
        withdrawn_partials=tuple(item.digest for item in part if isinstance(item, _Gone)),
        base=base,
    )


def _counters(changes: Changes, parts: int) -> list[int] | None:
    """A counter for the end of each part, ascending, the last one the true one; None: there are not
    enough numbers between, which a catalog that counts every change never shows."""
    first, last = changes.base.counter, changes.revision.counter
    return None if last - first < parts else [*range(first + 1, first + parts), last]


def _size_of(item: str | _Gone | Resource | PartialContent) -> int:
    """How many bytes it takes in a request, estimated from above."""
    if isinstance(item, (PartialContent, _Gone)):
        return _PARTIAL_BYTES
    if isinstance(item, str):
        return _PATH_BYTES + (len(item) if item.isascii() else len(item.encode()))
    return _RESOURCE_BYTES + _size_of(item.path) + len(item.media_type)
