"""What an announce changes of what callers are answered, for those who follow.

A delta is compared by its own paths, a snapshot by the two catalogs. Nothing here runs while nobody
follows, or for a peer that is in no answer.
"""

from dataclasses import dataclass
from typing import Final

import apsw

from p2p_server.directory.models import Batch, Resource
from p2p_server.directory.watching.changes import CatalogChanged, CatalogFilled, Lost, differ
from p2p_server.store.sqlite.answers.holders import peer
from p2p_server.store.sqlite.noting import Note
from p2p_server.store.sqlite.sql import RESOURCE, all_rows, first_row, resource_of

MOST_TOLD: Final = 5_000  # of one snapshot, resource by resource

_NEW = ", ".join(f"new.{column}" for column in RESOURCE.split(", "))
_OLD = ", ".join(f"old.{column}" for column in RESOURCE.split(", "))

_GONE = f"""
SELECT {_OLD} FROM resources AS old INDEXED BY resources_by_catalog WHERE old.catalog = ?1
AND NOT EXISTS (SELECT 1 FROM resources AS new WHERE new.catalog = ?2 AND new.path = old.path)
LIMIT ?3
"""
_APPEARED = f"""
SELECT {_NEW} FROM resources AS new INDEXED BY resources_by_catalog WHERE new.catalog = ?2
AND NOT EXISTS (SELECT 1 FROM resources AS old WHERE old.catalog = ?1 AND old.path = new.path)
LIMIT ?3
"""
_CHANGED = f"""
SELECT {_OLD}, {_NEW} FROM resources AS new INDEXED BY resources_by_catalog
CROSS JOIN resources AS old INDEXED BY resources_by_catalog
ON old.catalog = ?1 AND old.path = new.path
WHERE new.catalog = ?2 AND (new.digest <> old.digest OR new.size_bytes <> old.size_bytes
OR new.modified_us <> old.modified_us OR new.media_type <> old.media_type
OR new.manifest_digest <> old.manifest_digest) LIMIT ?3
"""
_COLUMNS: Final = len(RESOURCE.split(", "))


@dataclass(frozen=True, slots=True)
class Before:
    """What a delta's paths were before it: to be asked for before it is applied."""

    resources: dict[str, Resource]

    @classmethod
    def of(cls, connection: apsw.Connection, catalog: int, batch: Batch) -> "Before":
        found: dict[str, Resource] = {}
        paths = dict.fromkeys((*batch.withdrawn_paths, *(r.path for r in batch.resources)))
        for path in paths:
            row = first_row(
                connection,
                f"SELECT {RESOURCE} FROM resources WHERE catalog = ? AND path = ?",
                (catalog, path),
            )
            if row is not None:
                found[path] = resource_of(row)
        return cls(found)

    def note(self, connection: apsw.Connection, number: int, batch: Batch, note: Note) -> None:
        """To be called when it is applied."""
        row = peer(connection, number)
        assert row is not None
        put = {resource.path: resource for resource in batch.resources}
        change = CatalogChanged(
            row,
            appeared=tuple(r for path, r in put.items() if path not in self.resources),
            changed=tuple(
                (self.resources[path], new)
                for path, new in put.items()
                if path in self.resources and differ(self.resources[path], new)
            ),
            gone=tuple(old for path, old in self.resources.items() if path not in put),
        )
        if change.size:
            note(change)


def note_swap(
    connection: apsw.Connection, number: int, old: int | None, new: int, note: Note
) -> None:
    """That a catalog took the place of another: what differs, or that it cannot be told."""
    row = peer(connection, number)
    assert row is not None
    if old is None:
        note(CatalogFilled(row))
        return
    values = (old, new, MOST_TOLD + 1)
    gone, appeared, changed = (
        all_rows(connection, sql, values) for sql in (_GONE, _APPEARED, _CHANGED)
    )
    if len(gone) + len(appeared) + len(changed) > MOST_TOLD:
        note(Lost())
        return
    change = CatalogChanged(
        row,
        appeared=tuple(map(resource_of, appeared)),
        changed=tuple(
            (resource_of(pair[:_COLUMNS]), resource_of(pair[_COLUMNS:])) for pair in changed
        ),
        gone=tuple(map(resource_of, gone)),
    )
    if change.size:
        note(change)
