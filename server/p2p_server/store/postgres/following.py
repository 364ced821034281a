"""From what instances tell each other to the changes that watchers are told of.

Notifications name peers, and for a delta what was put, what was withdrawn and what stood there
before. Whether a peer came or left shows by looking at it and remembering which were visible. Hears
what this instance does in the same way and order as what others do, so that all of them tell the
same.
"""

from collections.abc import Sequence

from p2p_server.directory.models import PeerId, PeerRow, Resource
from p2p_server.directory.watching.changes import (
    CatalogChanged,
    CatalogFilled,
    Lost,
    PeerCame,
    PeerLeft,
    TellChange,
    differ,
)
from p2p_server.store.postgres.answers import holders
from p2p_server.store.postgres.catalog.feed import Delta
from p2p_server.store.postgres.pool import Pool

_PAGE = 1_000


class Following:
    """Used by the task that hears, one call after another."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._tell: TellChange | None = None
        self._visible: dict[PeerId, PeerRow] = {}

    @property
    def is_on(self) -> bool:
        return self._tell is not None

    def set(self, tell: TellChange | None) -> None:
        self._tell = tell

    async def begin(self) -> None:
        """Looks who is visible."""
        if self._tell is None:
            return
        visible: dict[PeerId, PeerRow] = {}
        after: tuple[str, PeerId] | None = None
        while True:
            rows = await self._pool.look(
                lambda c, after=after: holders.peers(c, "", after, _PAGE)  # type: ignore[misc]  # mypy#10740
            )
            visible |= {row.peer_id: row for row in rows}
            if len(rows) < _PAGE:
                break
            after = (rows[-1].user.casefold(), rows[-1].peer_id)
        self._visible = visible

    async def begin_anew(self) -> None:
        """After something may not have been heard."""
        await self.begin()
        if self._tell is not None:
            self._tell(Lost())

    async def sessions(self, peer_ids: Sequence[PeerId]) -> None:
        """These may have come or left."""
        if self._tell is None:
            return
        now = await self._pool.at_once(lambda c: holders.visible_peers(c, peer_ids))
        gone = [p for p in peer_ids if p in self._visible and p not in now]
        left = await self._pool.at_once(lambda c: holders.known(c, gone)) if gone else ()
        if len(left) < len(gone):  # removed: what they shared cannot be told any more
            self._tell(Lost())
        for peer_id in peer_ids:
            before, row = self._visible.pop(peer_id, None), now.get(peer_id)
            if row is not None:
                self._visible[peer_id] = row
            if before is None and row is not None:
                self._tell(PeerCame(row))
            elif before is not None and row is None:
                self._tell(PeerLeft(before))

    async def catalog(self, peer_id: PeerId, delta: Delta | None, *, is_first: bool) -> None:
        """A batch was applied; `is_first`: it is the first catalog that the peer has."""
        if self._tell is None or peer_id not in self._visible:
            return
        now = await self._pool.at_once(lambda c: holders.visible_peers(c, [peer_id]))
        row = self._visible[peer_id] = now.get(peer_id, self._visible[peer_id])
        if is_first:
            self._tell(CatalogFilled(row))
        elif delta is None:
            self._tell(Lost())
        else:
            self._tell(_changed(row, delta))


def _changed(row: PeerRow, delta: Delta) -> CatalogChanged:
    before: dict[str, Resource] = {resource.path: resource for resource in delta.before}
    put = {resource.path: resource for resource in delta.batch.resources}
    return CatalogChanged(
        row,
        appeared=tuple(new for path, new in put.items() if path not in before),
        changed=tuple(
            (before[path], new)
            for path, new in put.items()
            if path in before and differ(before[path], new)
        ),
        gone=tuple(old for path, old in before.items() if path not in put),
    )
