"""What every store promises about secrets, users and sessions."""

from dataclasses import replace

import pytest
from tests.server.store.factories import (
    NO_LIMIT,
    PENDING,
    REACHABLE,
    a_resource,
    a_session,
    a_snapshot,
    a_user,
    online,
    paths,
    purged,
    revision,
    sharing,
)

from p2p_server.directory.errors import PeerIdTaken, StoreUnavailable
from p2p_server.directory.models import NOTHING_HELD, Endpoint, EndpointStatus, PeerId, Verdict
from p2p_server.store.base import Store


class AccountRules:
    async def test_secrets_are_made_once(self, store: Store) -> None:
        made = await store.secrets(lambda: {"key": b"\0\xff", "other": b""})

        assert made == {"key": b"\0\xff", "other": b""}
        assert await store.secrets(lambda: {"key": b"another"}) == made

    async def test_secrets_that_cannot_be_made_leave_none_behind(self, store: Store) -> None:
        with pytest.raises(ZeroDivisionError):
            await store.secrets(lambda: {"key": b"x" * (1 // 0)})

        assert await store.secrets(lambda: {"key": b"good"}) == {"key": b"good"}

    async def test_a_name_belongs_to_the_first_key_without_regard_to_case(
        self, store: Store
    ) -> None:
        ann = a_user("Ann")

        assert await store.bind_user(ann) == ann
        assert await store.bind_user(a_user("aNN", key="another")) == ann
        assert await store.users() == [ann]

    async def test_users_are_listed_by_name(self, store: Store) -> None:
        for name in ("carl", "Ann", "bob"):
            await store.bind_user(a_user(name))

        assert [user.name for user in await store.users()] == ["Ann", "bob", "carl"]

    async def test_a_removed_user_leaves_nothing_and_the_name_is_free(self, store: Store) -> None:
        session = await sharing(store, a_resource("a.txt"))
        await sharing(store, a_resource("b.txt"), session=a_session("bob"))

        assert await store.remove_user("ANN")

        assert not await store.remove_user("ann")
        assert await store.find_session(session.token_hash) is None
        assert await paths(store) == ["b.txt"]
        other = a_user("ann", key="another")
        assert await store.bind_user(other) == other
        await store.open_session(session)
        assert await store.held_revision(session.peer_id) == NOTHING_HELD
        await purged(store)
        assert await paths(store) == ["b.txt"]

    async def test_a_session_is_found_by_its_token_and_comes_back_whole(self, store: Store) -> None:
        session = replace(a_session(), endpoint_statuses=(*PENDING, *REACHABLE))
        await store.bind_user(a_user())

        assert await store.open_session(session) == NOTHING_HELD

        assert await store.find_session(session.token_hash) == session
        assert await store.find_session(b"?" * 32) is None
        assert list(await store.sessions()) == [session]

    async def test_a_session_needs_a_user(self, store: Store) -> None:
        with pytest.raises(StoreUnavailable):
            await store.open_session(a_session("nobody"))

    async def test_a_peer_of_another_user_is_refused(self, store: Store) -> None:
        session = await online(store)
        await store.bind_user(a_user("bob"))

        with pytest.raises(PeerIdTaken):
            await store.open_session(replace(a_session("bob"), peer_id=session.peer_id))

        assert list(await store.sessions()) == [replace(session, endpoint_statuses=REACHABLE)]

    async def test_a_new_session_of_a_peer_replaces_the_old_and_keeps_the_catalog(
        self, store: Store
    ) -> None:
        old = await sharing(store, a_resource("a.txt"))
        new = replace(a_session(token="new"), endpoint_statuses=REACHABLE)

        assert await store.open_session(new) == revision(1)

        assert await store.find_session(old.token_hash) is None
        assert await store.find_session(new.token_hash) == new
        assert await paths(store) == ["a.txt"]  # the same endpoints: visible all the time
        await store.set_endpoints(old.peer_id, old.token_hash, (), False)
        assert await paths(store) == ["a.txt"]  # the old session has no say any more

    async def test_a_peer_with_other_endpoints_is_invisible_until_they_are_judged(
        self, store: Store
    ) -> None:
        await sharing(store, a_resource("a.txt"))
        moved = (EndpointStatus(Endpoint("10.0.0.1", 50_001), Verdict.PENDING),)
        new = replace(a_session(token="new"), endpoint_statuses=moved)

        await store.open_session(new)

        assert await paths(store) == []
        await store.set_endpoints(new.peer_id, new.token_hash, moved, True)
        assert await paths(store) == ["a.txt"]

    async def test_a_peer_is_invisible_without_endpoints_and_without_being_listed(
        self, store: Store
    ) -> None:
        await store.bind_user(a_user())
        listed, unlisted = a_session(peer="listed"), a_session(peer="unlisted", listed=False)
        for session in (listed, unlisted):
            await store.open_session(session)
            await store.announce(session.peer_id, a_snapshot(1, a_resource("a")), NO_LIMIT)

        assert await paths(store) == []
        await store.set_endpoints(unlisted.peer_id, unlisted.token_hash, REACHABLE, True)
        assert await paths(store) == []
        await store.set_endpoints(listed.peer_id, listed.token_hash, REACHABLE, True)
        assert await paths(store) == ["a"]
        await store.set_endpoints(listed.peer_id, listed.token_hash, PENDING, False)
        assert await paths(store) == []

    async def test_an_ended_session_is_hidden_at_once_and_its_catalog_kept(
        self, store: Store
    ) -> None:
        session = await sharing(store, a_resource("a.txt"))

        await store.end_sessions([session.token_hash, b"?" * 32], ended_at=500)

        assert await paths(store) == []
        assert await store.find_session(session.token_hash) is None
        assert await store.sessions() == []
        await store.set_endpoints(session.peer_id, session.token_hash, REACHABLE, True)
        assert await paths(store) == []
        back = replace(a_session(token="back"), endpoint_statuses=REACHABLE)
        assert await store.open_session(back) == revision(1)
        assert await paths(store) == []  # it may be somewhere else by now
        await store.set_endpoints(back.peer_id, back.token_hash, REACHABLE, True)
        assert await paths(store) == ["a.txt"]

    async def test_an_end_decided_before_the_peer_came_back_ends_nothing_new(
        self, store: Store
    ) -> None:
        old = await sharing(store, a_resource("a.txt"))
        new = replace(a_session(token="new"), endpoint_statuses=REACHABLE)
        await store.open_session(new)

        await store.end_sessions([old.token_hash], ended_at=500)

        assert await store.find_session(new.token_hash) == new
        assert await paths(store) == ["a.txt"]

    async def test_unknown_peers_are_ignored(self, store: Store) -> None:
        stranger = PeerId("nobody")

        await store.set_endpoints(stranger, b"?" * 32, REACHABLE, True)
        await store.end_sessions([b"?" * 32], ended_at=1)

        assert await store.announce(stranger, a_snapshot(1), NO_LIMIT) == NOTHING_HELD
        assert await store.held_revision(stranger) == NOTHING_HELD
