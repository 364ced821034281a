"""Which announces follow what is held of a library, and which were taken already.

Owns the rules of Announce in directory.proto about revisions and snapshots, as functions of what is
held: a store asks them inside the transaction that will change it, and carries the decision out. It
does not look at resources or count them.
"""

from dataclasses import dataclass
from enum import Enum

from p2p_server.directory.errors import FieldInvalid, RevisionMismatch
from p2p_server.directory.models import Batch, Revision


class Decision(Enum):
    """What a store does with a batch."""

    APPLY = "apply"  # the delta changes the catalog; its revision is held then
    ACKNOWLEDGE = "acknowledge"  # taken before: nothing changes
    RESTAGE = "restage"  # drop what is staged; the batch is the first of a new snapshot
    STAGE = "stage"  # the batch joins what is staged


@dataclass(frozen=True, slots=True)
class Staged:
    """A snapshot some of whose batches were taken."""

    snapshot_id: str
    revision: Revision
    next_batch_index: int


def decide_delta(held: Revision, base: Revision, revision: Revision) -> Decision:
    """What to do with a batch that leads from `base` to `revision`.

    Arriving where we are is a resend, whatever its base: the peer counts, so one revision is one
    state of its library. A snapshot that is being staged is left alone by deltas; at its end it
    replaces them with the catalog.

    Raises:
        FieldInvalid: `revision` can follow `base` in no library.
        RevisionMismatch: `base` is not what is held.
    """
    if not base.epoch:
        raise RevisionMismatch(held)
    if revision.epoch != base.epoch or revision.counter <= base.counter:
        raise FieldInvalid("revision", "must be in the epoch of `base` with a greater counter")
    if revision == held:
        return Decision.ACKNOWLEDGE
    if base != held:
        raise RevisionMismatch(held)
    return Decision.APPLY


def decide_snapshot(
    held: Revision, taken_snapshot_id: str, staged: Staged | None, batch: Batch
) -> Decision:
    """What to do with a batch of a snapshot. With RESTAGE and STAGE, `batch.last` means: swap.

    Args:
        taken_snapshot_id: the snapshot that was swapped in last; empty: none was. Its batches are
            acknowledged again, also after later deltas, because their answer may have been lost.

    Raises:
        FieldInvalid: the batch contradicts itself or its snapshot.
        RevisionMismatch: the batch continues a snapshot that is not staged, or leaves a gap.
    """
    if not batch.revision.epoch:
        raise FieldInvalid("revision", "a snapshot leads to a revision with an epoch")
    if batch.batch_index < 0:
        raise FieldInvalid("snapshot.batch_index", "must not be negative")
    if batch.withdrawn_paths or batch.withdrawn_partials:
        raise FieldInvalid("snapshot", "nothing is withdrawn in a snapshot: leave it out instead")
    if staged is not None and staged.snapshot_id == batch.snapshot_id:
        return _continue(held, staged, batch)
    if taken_snapshot_id and taken_snapshot_id == batch.snapshot_id:
        return Decision.ACKNOWLEDGE
    if batch.batch_index == 0:
        return Decision.RESTAGE
    raise RevisionMismatch(held)


def _continue(held: Revision, staged: Staged, batch: Batch) -> Decision:
    if batch.revision != staged.revision:
        raise FieldInvalid("revision", "all batches of one snapshot carry the same revision")
    if batch.batch_index < staged.next_batch_index:
        return Decision.ACKNOWLEDGE
    if batch.batch_index > staged.next_batch_index:
        raise RevisionMismatch(held)
    return Decision.STAGE
