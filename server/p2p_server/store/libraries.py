"""What a store holds of one peer's library, as it stands in the peer's row: for either database.

Runs no SQL. Which batch may follow is decided in `directory/revisions.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from p2p_server.directory.models import Batch, Revision
from p2p_server.directory.revisions import Decision, Staged, decide_delta, decide_snapshot

COLUMNS = (
    "number, folded_user, held_epoch, held_counter, taken_snapshot_id, "
    "catalog, resource_count, partial_count, size_total, "
    "staged_snapshot_id, staged_epoch, staged_counter, staged_next_index, "
    "staged_catalog, staged_resource_count, staged_partial_count, staged_size_total"
)


@dataclass(frozen=True, slots=True)
class Catalog:
    """A catalog and how much is in it."""

    number: int
    resource_count: int = 0
    partial_count: int = 0
    size_total: int = 0
    is_new: bool = False

    def changed_by(self, resource_count: int, partial_count: int, size_bytes: int) -> Self:
        """With so much more in it."""
        return replace(
            self,
            resource_count=self.resource_count + resource_count,
            partial_count=self.partial_count + partial_count,
            size_total=self.size_total + size_bytes,
        )


@dataclass(frozen=True, slots=True)
class Library:
    """All that the store holds of one peer's library."""

    peer_number: int
    folded_user: str
    held: Revision
    taken_snapshot_id: str
    catalog: Catalog | None
    staged: Staged | None
    staged_catalog: Catalog | None

    @classmethod
    def of(cls, row: Sequence[Any]) -> Self:
        """From COLUMNS."""
        number, folded_user, epoch, counter, taken_snapshot_id = row[:5]
        staged_id, staged_epoch, staged_counter, next_index = row[9:13]
        revision = Revision(staged_epoch, staged_counter)
        return cls(
            number,
            folded_user,
            Revision(epoch, counter),
            taken_snapshot_id,
            _catalog(*row[5:9]),
            Staged(staged_id, revision, next_index) if staged_id else None,
            _catalog(*row[13:17]),
        )

    def decide(self, batch: Batch) -> Decision:
        """What becomes of the batch. Raises what DirectoryService.Announce documents."""
        if batch.snapshot_id:
            return decide_snapshot(self.held, self.taken_snapshot_id, self.staged, batch)
        return decide_delta(self.held, batch.base, batch.revision)


def _catalog(
    number: int | None, resource_count: int, partial_count: int, size_total: int | str
) -> Catalog | None:
    """`size_total` may be larger than an integer of the database: then it is text, or a decimal."""
    if number is None:
        return None
    return Catalog(number, resource_count, partial_count, int(size_total))
