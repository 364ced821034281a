"""What every store promises about announces and about deleting what is gone."""

from dataclasses import replace

import pytest
from tests.server.store.factories import (
    NO_LIMIT,
    a_partial,
    a_resource,
    a_session,
    a_snapshot,
    digest,
    found,
    online,
    paths,
    purged,
    revision,
    sharing,
)

from p2p_server.directory.errors import RevisionMismatch, TooManyResources
from p2p_server.directory.models import Batch, Criteria, Digest, PeerRow
from p2p_server.store.base import Store


async def the_peer(store: Store) -> PeerRow:
    (row,) = await store.peers("", None, 10)
    return row


def batch_of(index: int, *names: str, snapshot_id: str = "s", last: bool = False) -> Batch:
    return Batch(
        revision(7),
        resources=tuple(map(a_resource, names)),
        snapshot_id=snapshot_id,
        batch_index=index,
        last=last,
    )


class CatalogRules:
    async def test_a_delta_adds_changes_and_withdraws(self, store: Store) -> None:
        peer = (await sharing(store, *map(a_resource, ("a", "bb", "ccc")))).peer_id
        changed = a_resource("bb", "other content", media_type="text/plain")
        delta = Batch(
            revision(2),
            revision(1),
            resources=(changed, a_resource("dddd")),
            withdrawn_paths=("ccc", "never there"),
        )

        assert await store.announce(peer, delta, NO_LIMIT) == revision(2)

        assert await found(store) == [a_resource("a"), changed, a_resource("dddd")]
        row = await the_peer(store)
        assert (row.resource_count, row.size_bytes) == (3, 1 + len("other content") + 4)

    async def test_an_identical_resend_changes_nothing(self, store: Store) -> None:
        peer = (await sharing(store, a_resource("a"))).peer_id
        delta = Batch(revision(2), revision(1), withdrawn_paths=("a",))

        assert await store.announce(peer, delta, NO_LIMIT) == revision(2)
        assert await store.announce(peer, delta, NO_LIMIT) == revision(2)

        assert (await the_peer(store)).resource_count == 0

    async def test_a_base_not_held_is_refused_and_changes_nothing(self, store: Store) -> None:
        peer = (await sharing(store, a_resource("a"))).peer_id

        with pytest.raises(RevisionMismatch) as refusal:
            await store.announce(
                peer, Batch(revision(9), revision(8), withdrawn_paths=("a",)), NO_LIMIT
            )

        assert refusal.value.held == revision(1)
        assert await paths(store) == ["a"]
        assert await store.held_revision(peer) == revision(1)

    async def test_a_path_named_twice_in_a_batch_is_what_was_said_last(self, store: Store) -> None:
        first, second = a_resource("a", "first"), a_resource("a", "second one")

        await sharing(store, first, second)

        assert await found(store) == [second]
        assert (await the_peer(store)).size_bytes == second.size_bytes

    async def test_a_path_withdrawn_and_announced_in_one_delta_stays(self, store: Store) -> None:
        peer = (await sharing(store, a_resource("a"))).peer_id
        both = Batch(
            revision(2), revision(1), resources=(a_resource("a", "new"),), withdrawn_paths=("a",)
        )

        await store.announce(peer, both, NO_LIMIT)

        assert await found(store) == [a_resource("a", "new")]
        assert (await the_peer(store)).resource_count == 1

    async def test_case_twins_are_two_resources(self, store: Store) -> None:
        await sharing(store, a_resource("Readme"), a_resource("README"), a_resource("readme"))

        assert sorted(await paths(store)) == ["README", "Readme", "readme"]
        assert len(await paths(store, Criteria(words=("readme",)))) == 3
        assert await paths(store, Criteria(path="README")) == ["README"]

    async def test_the_old_catalog_is_answered_until_the_last_batch_of_a_snapshot(
        self, store: Store
    ) -> None:
        peer = (await sharing(store, a_resource("old"), a_resource("both"))).peer_id

        assert await store.announce(peer, batch_of(0, "both"), NO_LIMIT) == revision(1)
        assert await store.announce(peer, batch_of(1, "new"), NO_LIMIT) == revision(1)
        assert await paths(store) == ["both", "old"]
        assert await store.announce(peer, batch_of(2, "z", last=True), NO_LIMIT) == revision(7)

        assert await paths(store) == ["both", "new", "z"]
        assert (await the_peer(store)).resource_count == 3
        assert await store.held_revision(peer) == revision(7)

    async def test_batches_of_a_snapshot_may_be_repeated_but_leave_no_gap(
        self, store: Store
    ) -> None:
        peer = (await online(store)).peer_id
        await store.announce(peer, batch_of(0, "a"), NO_LIMIT)
        await store.announce(peer, batch_of(0, "repeated"), NO_LIMIT)

        with pytest.raises(RevisionMismatch):
            await store.announce(peer, batch_of(2, "c", last=True), NO_LIMIT)

        await store.announce(peer, batch_of(1, "b", last=True), NO_LIMIT)
        assert await store.announce(peer, batch_of(1, "b", last=True), NO_LIMIT) == revision(7)
        assert await store.announce(peer, batch_of(0, "repeated"), NO_LIMIT) == revision(7)
        assert await paths(store) == ["a", "b"]

    async def test_another_snapshot_drops_what_was_staged(self, store: Store) -> None:
        peer = (await online(store)).peer_id
        await store.announce(peer, batch_of(0, "dropped"), NO_LIMIT)
        await store.announce(peer, batch_of(0, "a", snapshot_id="t"), NO_LIMIT)

        with pytest.raises(RevisionMismatch):
            await store.announce(peer, batch_of(1, "dropped too"), NO_LIMIT)

        await store.announce(peer, batch_of(1, "b", snapshot_id="t", last=True), NO_LIMIT)
        assert await paths(store) == ["a", "b"]

    async def test_an_empty_snapshot_empties_the_library(self, store: Store) -> None:
        peer = (await sharing(store, a_resource("a"))).peer_id

        await store.announce(peer, a_snapshot(2), NO_LIMIT)

        assert await paths(store) == []
        row = await the_peer(store)
        assert (row.resource_count, row.size_bytes) == (0, 0)

    async def test_a_user_may_list_so_many_resources_over_all_peers(self, store: Store) -> None:
        await sharing(store, a_resource("a"), a_resource("b"), session=a_session(peer="laptop"))
        desktop = (await online(store, a_session(peer="desktop"))).peer_id
        await store.announce(desktop, a_snapshot(1, a_resource("c")), 3)

        for too_many in (
            Batch(revision(2), revision(1), resources=(a_resource("d"),)),
            Batch(revision(2), revision(1), partials=(a_partial("d"),)),
            a_snapshot(2, a_resource("d"), a_resource("e")),
            replace(a_snapshot(2, a_resource("d"), a_resource("e")), last=False),
        ):
            with pytest.raises(TooManyResources) as refusal:
                await store.announce(desktop, too_many, 3)
            assert refusal.value.facts == {"limit": "3"}

        assert await store.held_revision(desktop) == revision(1)
        assert await paths(store) == ["a", "b", "c"]
        exchange = Batch(
            revision(2), revision(1), resources=(a_resource("d"),), withdrawn_paths=("c",)
        )
        assert await store.announce(desktop, exchange, 3) == revision(2)
        assert await store.announce(desktop, a_snapshot(3, a_resource("e")), 3) == revision(3)

    async def test_sizes_that_no_disk_has_are_added_up_all_the_same(self, store: Store) -> None:
        most = 2**63 - 1
        huge = [a_resource(name, size_bytes=most) for name in "abc"]
        peer = (await sharing(store, *huge)).peer_id
        assert (await the_peer(store)).size_bytes == most  # what the wire can say

        await store.announce(peer, Batch(revision(2), revision(1), (), ("a", "b")), NO_LIMIT)

        assert (await the_peer(store)).size_bytes == most
        await store.announce(peer, Batch(revision(3), revision(2), (), ("c",)), NO_LIMIT)
        assert (await the_peer(store)).size_bytes == 0

    async def test_partial_contents_come_and_go(self, store: Store) -> None:
        peer = (await online(store)).peer_id
        await store.announce(
            peer, a_snapshot(1, partials=(a_partial("x"), a_partial("y"))), NO_LIMIT
        )
        await store.announce(
            peer,
            Batch(
                revision(2),
                revision(1),
                partials=(a_partial("z"), a_partial("x")),
                withdrawn_partials=(digest("y"), digest("never there")),
            ),
            NO_LIMIT,
        )

        held, _ = await store.locate([Digest(digest(c)) for c in "xyz"], None, 10)

        assert [(holding.digest, holding.partial) for holding in held] == [
            (digest("x"), True),
            (digest("z"), True),
        ]
        assert await paths(store) == []

    async def test_purge_deletes_in_slices_what_nobody_is_answered(self, store: Store) -> None:
        gone = await sharing(
            store, *(a_resource(f"g{i}") for i in range(25)), session=a_session("gone")
        )
        stays = await sharing(store, *(a_resource(f"old{i}") for i in range(10)))
        await store.announce(stays.peer_id, a_snapshot(2, a_resource("new")), NO_LIMIT)
        await store.announce(gone.peer_id, batch_of(0, "staged"), NO_LIMIT)
        await store.end_sessions([gone.token_hash], ended_at=100)

        assert await purged(store, ended_before=100, most_rows=4) >= 11
        assert await store.held_revision(gone.peer_id) == revision(1)
        assert await purged(store, ended_before=101, most_rows=4) >= 26

        assert await paths(store) == ["new"]
        assert await store.open_session(gone) == revision(0, epoch="")

    async def test_client_only_sessions_are_purged_as_soon_as_they_end(self, store: Store) -> None:
        session = await online(store, a_session(listed=False))
        assert await purged(store) == 0

        await store.end_sessions([session.token_hash], ended_at=100)

        assert await purged(store, ended_before=0) == 1
        await store.open_session(session)

    async def test_purge_leaves_a_snapshot_that_is_being_staged(self, store: Store) -> None:
        peer = (await online(store)).peer_id
        await store.announce(peer, batch_of(0, "a"), NO_LIMIT)

        assert await purged(store) == 0

        await store.announce(peer, batch_of(1, "b", last=True), NO_LIMIT)
        assert await paths(store) == ["a", "b"]
