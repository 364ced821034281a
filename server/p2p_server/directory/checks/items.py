"""The items of an Announce, one by one: what breaks a rule is left out by name, the rest stands."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from p2p_server.directory.checks.names import is_digest, is_label, is_media_type, path_fault
from p2p_server.directory.errors import FieldInvalid, TooLarge
from p2p_server.directory.models import Batch, Limits, PartialContent, Resource, Revision

_MOST_ITEM_CHARACTERS = 256
_EARLIEST = -62_135_596_800.0  # year 1, the least a Timestamp may hold
_LATEST = 253_402_300_800.0  # year 10000


@dataclass(frozen=True, slots=True)
class RejectedItem:
    item: str  # path or digest as sent, cut
    reason: str  # PATH_INVALID or ITEM_INVALID
    message: str


def checked_batch(batch: Batch, limits: Limits) -> tuple[Batch, list[RejectedItem]]:
    """The batch without the items that break a rule, and those.

    Raises FieldInvalid, TooLarge for what is wrong with the batch as a whole.
    """
    _check_form(batch, limits)
    rejected: list[RejectedItem] = []
    resources: dict[str, Resource] = {}
    for resource in batch.resources:
        if unlawful := _resource_fault(resource, resources, limits):
            rejected.append(unlawful)
        else:
            resources[resource.path] = resource
    partials = {partial.digest: partial for partial in batch.partials if not _fault_of(partial)}
    rejected += [
        _rejected(partial.digest, "ITEM_INVALID", fault)
        for partial in batch.partials
        if (fault := _fault_of(partial))
    ]
    kept = replace(
        batch,
        resources=tuple(resources.values()),
        withdrawn_paths=_known_form(batch.withdrawn_paths, resources, limits),
        partials=tuple(partials.values()),
        withdrawn_partials=tuple(
            digest
            for digest in dict.fromkeys(batch.withdrawn_partials)
            if is_digest(digest) and digest not in partials
        ),
    )
    return kept, rejected


def _check_form(batch: Batch, limits: Limits) -> None:
    items = (batch.resources, batch.withdrawn_paths, batch.partials, batch.withdrawn_partials)
    if sum(map(len, items)) > limits.max_announce_items:
        raise TooLarge(limits.max_announce_items, "items")
    checked_revision("revision", batch.revision)
    if batch.snapshot_id:
        if not is_label(batch.snapshot_id):
            raise FieldInvalid("snapshot.snapshot_id", "1 to 64 characters of A-Z a-z 0-9 _ -")
    else:
        checked_revision("base", batch.base)


def checked_revision(field: str, revision: Revision) -> Revision:
    """A revision that can be, "nothing held" included. Raises FieldInvalid."""
    if revision.counter < 0:
        raise FieldInvalid(f"{field}.counter", "must not be negative")
    if revision.epoch and not is_label(revision.epoch):
        raise FieldInvalid(f"{field}.epoch", "1 to 64 characters of A-Z a-z 0-9 _ -")
    if not revision.epoch and revision.counter:
        raise FieldInvalid(f"{field}.epoch", "must be set when the counter is")
    return revision


def _resource_fault(
    resource: Resource, taken: dict[str, Resource], limits: Limits
) -> RejectedItem | None:
    if fault := path_fault(resource.path, limits):
        return _rejected(resource.path, "PATH_INVALID", fault)
    if fault := _field_fault(resource):
        return _rejected(resource.path, "ITEM_INVALID", fault)
    if resource.path in taken:
        return _rejected(resource.path, "ITEM_INVALID", "the path stands twice in the batch")
    return None


def _field_fault(resource: Resource) -> str:
    if fault := _fault_of(resource):
        return fault
    if not _EARLIEST <= resource.modified_at < _LATEST:
        return "modify_time is not a valid time"
    if resource.media_type and not is_media_type(resource.media_type):
        return "media_type is not a media type of at most 127 bytes"
    return ""


def _fault_of(content: Resource | PartialContent) -> str:
    if content.size_bytes < 0:
        return "size_bytes is negative"
    if not is_digest(content.digest):
        return "digest is not 64 lower-case hexadecimal characters"
    if not is_digest(content.manifest_digest):
        return "manifest_digest is not 64 lower-case hexadecimal characters"
    return ""


def _known_form(
    paths: Iterable[str], announced: dict[str, Resource], limits: Limits
) -> tuple[str, ...]:
    """The withdrawn paths that can be held at all; what the same batch announces stays."""
    return tuple(
        path
        for path in dict.fromkeys(paths)
        if path not in announced and not path_fault(path, limits)
    )


def _rejected(item: str, reason: str, message: str) -> RejectedItem:
    return RejectedItem(item[:_MOST_ITEM_CHARACTERS], reason, message)
