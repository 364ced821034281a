"""What a store tells those who follow it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

from tests.server.store.factories import (
    NO_LIMIT,
    PENDING,
    a_resource,
    a_session,
    a_snapshot,
    a_user,
    online,
    revision,
    sharing,
)

from p2p_server.directory.models import Batch, PeerId
from p2p_server.directory.watching.changes import (
    CatalogChanged,
    CatalogFilled,
    Change,
    PeerCame,
    PeerLeft,
)
from p2p_server.store.base import SharedStore, Store


class Follower:
    """What was told so far, in words: `came peer-of-ann`, `appeared a`, `changed a`, `gone a`."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self._more = asyncio.Event()

    def take(self, change: Change) -> None:
        match change:
            case CatalogChanged():
                self.told += [f"gone {r.path}" for r in change.gone]
                self.told += [f"changed {after.path}" for _, after in change.changed]
                self.told += [f"appeared {r.path}" for r in change.appeared]
            case CatalogFilled() | PeerCame() | PeerLeft():
                word = {"CatalogFilled": "filled", "PeerCame": "came", "PeerLeft": "left"}
                self.told.append(f"{word[type(change).__name__]} {change.peer.peer_id}")
            case _:
                self.told.append("lost")
        self._more.set()

    async def until(self, last: str) -> list[str]:
        """What is told up to and with that; it is forgotten then."""
        async with asyncio.timeout(10):
            while last not in self.told:
                self._more.clear()
                await self._more.wait()
        at = self.told.index(last) + 1
        found, self.told = self.told[:at], self.told[at:]
        return found


@asynccontextmanager
async def followed(store: Store) -> AsyncIterator[Follower]:
    follower = Follower()
    async with asyncio.TaskGroup() as tasks:
        hearing = None
        if hasattr(store, "run"):
            hearing = tasks.create_task(cast(SharedStore, store).run())
            await asyncio.sleep(0.2)
        await store.follow(follower.take)
        follower.told.clear()
        yield follower
        await store.follow(None)
        if hearing is not None:
            hearing.cancel()


class ChangeRules:
    async def test_peers_are_told_to_come_and_leave(self, store: Store) -> None:
        async with followed(store) as follower:
            session = await online(store)
            came = await follower.until("came peer-of-ann")
            await store.end_sessions([session.token_hash], 5.0)

            left = await follower.until("left peer-of-ann")

        assert (came, left) == (["came peer-of-ann"], ["left peer-of-ann"])

    async def test_a_peer_that_is_judged_anew_leaves_and_comes(self, store: Store) -> None:
        session = await online(store)
        async with followed(store) as follower:
            await store.set_endpoints(session.peer_id, session.token_hash, PENDING, False)
            left = await follower.until("left peer-of-ann")
            await store.set_endpoints(session.peer_id, session.token_hash, PENDING, True)

            came = await follower.until("came peer-of-ann")

        assert (left, came) == (["left peer-of-ann"], ["came peer-of-ann"])

    async def test_a_first_catalog_is_told_as_a_whole(self, store: Store) -> None:
        session = await online(store)
        async with followed(store) as follower:
            await store.announce(session.peer_id, a_snapshot(1, a_resource("a")), NO_LIMIT)

            assert await follower.until("filled peer-of-ann") == ["filled peer-of-ann"]

    async def test_a_delta_is_told_by_what_it_changes(self, store: Store) -> None:
        session = await sharing(store, *map(a_resource, ["a", "b", "c"]))
        async with followed(store) as follower:
            delta = Batch(
                revision(2),
                revision(1),
                (a_resource("a"), a_resource("b", "new"), a_resource("d")),
                ("c", "never there"),
            )
            await store.announce(session.peer_id, delta, NO_LIMIT)

            assert await follower.until("appeared d") == ["gone c", "changed b", "appeared d"]

    async def test_what_nobody_is_answered_is_not_told(self, store: Store) -> None:
        await store.bind_user(a_user())
        await store.open_session(a_session())
        async with followed(store) as follower:
            peer_id = a_session().peer_id
            await store.announce(peer_id, a_snapshot(1, a_resource("a")), NO_LIMIT)
            await online(store, a_session("bob"))

            assert await follower.until("came peer-of-bob") == ["came peer-of-bob"]

    async def test_a_catalog_is_read_by_path_also_of_a_peer_that_left(self, store: Store) -> None:
        session = await sharing(store, *map(a_resource, ["b", "a", "c"]))
        await store.end_sessions([session.token_hash], 5.0)

        first = await store.catalog_of(session.peer_id, "", 2)
        rest = await store.catalog_of(session.peer_id, first[-1].path, 2)

        assert [r.path for r in (*first, *rest)] == ["a", "b", "c"]
        assert first[0] == a_resource("a")
        assert await store.catalog_of(PeerId("nobody"), "", 2) == []

    async def test_totals_are_of_those_in_answers(self, store: Store) -> None:
        await sharing(store, a_resource("a", "12345"), a_resource("b", "123"))
        gone = await sharing(store, a_resource("c"), session=a_session("bob"))
        await store.end_sessions([gone.token_hash], 5.0)

        totals = await store.totals()

        assert (totals.peers, totals.resources, totals.size_bytes) == (1, 2, 8)
        await store.ping()
