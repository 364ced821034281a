"""What every store promises about answers: what matches, in which order, page by page."""

from dataclasses import replace

import pytest
from tests.server.store.factories import (
    NO_LIMIT,
    REACHABLE,
    a_partial,
    a_resource,
    a_session,
    a_snapshot,
    a_user,
    digest,
    found,
    online,
    paths,
    revision,
    sharing,
)

from p2p_server.directory.models import (
    Batch,
    Criteria,
    Digest,
    Order,
    PartialContent,
    PeerId,
    Resource,
)
from p2p_server.directory.query import fold
from p2p_server.store.base import Store

LIBRARY = (
    a_resource("Photos/2024/Été à la mer.JPG", "sea", media_type="image/jpeg"),
    a_resource("photos/2023/alps.png", "alps and more", media_type="image/png"),
    a_resource("music/100% live/ab.flac", "l" * 300, media_type="audio/flac", modified_at=9.0),
    a_resource('odd/"quoted" OR NOT (near*).txt', "q", media_type="text/plain"),
    a_resource("odd/a_b'c;--.txt", "", size_bytes=0, media_type="imagex/other"),
    a_resource("ab", "top level"),
)


def place_in(order: Order, resource: Resource) -> float:
    match order:
        case Order.PATH:
            return 0
        case Order.SMALLEST:
            return resource.size_bytes
        case Order.LARGEST:
            return -resource.size_bytes
        case Order.NEWEST:
            return -resource.modified_at


class AnswerRules:
    @pytest.mark.parametrize(
        ("criteria", "expected"),
        [
            (Criteria(), [0, 1, 2, 3, 4, 5]),
            (Criteria(words=("photos",)), [0, 1]),
            (Criteria(words=("photos", "mer")), [0]),
            (Criteria(words=("été",)), [0]),
            (Criteria(words=("e\u0301te\u0301",)), []),  # words come folded
            (Criteria(words=("ab",)), [2, 5]),
            (Criteria(words=("b",)), [2, 4, 5]),
            (Criteria(words=("0% l",)), [2]),
            (Criteria(words=("%",)), [2]),
            (Criteria(words=("a_b'c;--",)), [4]),
            (Criteria(words=("_",)), [4]),
            (Criteria(words=('"quoted" or not (near*)',)), [3]),
            (Criteria(words=('"',)), [3]),
            (Criteria(words=("or", "not")), [3]),
            (Criteria(words=("*",)), [3]),
            (Criteria(words=("photos/2024/été à la mer.jpg",)), [0]),
            (Criteria(words=("photos/2024/été à la mer.jpg!",)), []),
            (Criteria(words=("pho", "nothing")), []),
            (Criteria(words=("a\0b",)), []),
            (Criteria(words=("é" * 200,)), []),
            (Criteria(glob="*.jpg"), [0]),
            (Criteria(glob="photos/**"), [0, 1]),
            (Criteria(glob="photos/*"), []),
            (Criteria(glob="*/*/*.???"), [0, 1]),
            (Criteria(glob="??"), [5]),
            (Criteria(glob="*"), [0, 1, 2, 3, 4, 5]),
            (Criteria(glob="*a*a*a*a*b"), []),
            (Criteria(glob='**"quoted"**', words=("odd",)), [3]),
            (Criteria(path="photos/2023/alps.png"), [1]),
            (Criteria(path="Photos/2023/alps.png"), []),
            (Criteria(name="ab"), [5]),
            (Criteria(name="Été à la mer.JPG"), [0]),
            (Criteria(name="été à la mer.jpg"), []),
            (Criteria(digest_prefix=digest("sea")), [0]),
            (Criteria(digest_prefix=digest("sea")[:8]), [0]),
            (Criteria(digest_prefix=digest("sea")[:9]), [0]),
            (Criteria(digest_prefix="00000000"), []),
            (Criteria(owner="ann"), [0, 1, 2, 3, 4, 5]),
            (Criteria(owner="bob"), []),
            (Criteria(min_size_bytes=1, max_size_bytes=3), [0, 3]),
            (Criteria(min_size_bytes=0, max_size_bytes=0), [4]),
            (Criteria(min_size_bytes=300), [2]),
            (Criteria(max_size_bytes=2**63 - 1), [0, 1, 2, 3, 4, 5]),
            (Criteria(media_type="image/png"), [1]),
            (Criteria(media_type="image/"), [0, 1]),
            (Criteria(media_type="image"), []),
            (Criteria(words=("photos",), media_type="image/", min_size_bytes=4), [1]),
        ],
        ids=str,
    )
    async def test_criteria_find_what_fulfils_them_all(
        self, store: Store, criteria: Criteria, expected: list[int]
    ) -> None:
        await sharing(store, *LIBRARY)

        for order in Order:
            resources = await found(store, replace(criteria, order=order))
            assert sorted(r.path for r in resources) == sorted(LIBRARY[i].path for i in expected)
            assert all(resource in LIBRARY for resource in resources)

    @pytest.mark.parametrize("page_size", [1, 2, 5, 100])
    @pytest.mark.parametrize("order", Order)
    @pytest.mark.parametrize("word", ["", "dup", "d"])
    async def test_pages_follow_the_order_without_gap_or_repeat(
        self, store: Store, order: Order, page_size: int, word: str
    ) -> None:
        names = [f"Dup/{letter}{i % 3}" for i, letter in enumerate("zAbCa" * 3)]
        for user in ("ann", "bob", "carl"):
            resources = [
                a_resource(name, size_bytes=i % 4, modified_at=100.5 - i % 3)
                for i, name in enumerate(names)
            ]
            await sharing(store, *resources, session=a_session(user))

        criteria = Criteria(words=(word,) if word else (), order=order)
        resources = await found(store, criteria, page_size)

        assert len(resources) == 3 * len(set(names))
        keys = [(place_in(order, resource), fold(resource.path)) for resource in resources]
        assert keys == sorted(keys)
        assert all(resources.count(resource) == 3 for resource in resources)

    async def test_an_owner_is_one_user_with_all_peers(self, store: Store) -> None:
        await sharing(store, a_resource("a"), session=a_session("Ann", peer="laptop"))
        await sharing(store, a_resource("b"), session=a_session("Ann", peer="desktop"))
        await sharing(store, a_resource("c"), session=a_session("bob"))

        for order in Order:
            assert sorted(await paths(store, Criteria(owner="ann", order=order))) == ["a", "b"]

    async def test_a_page_tells_who_shares(self, store: Store) -> None:
        session = await sharing(store, a_resource("a"), a_resource("bb"))

        page = await store.query(Criteria(), None, 10)

        assert [row.peer_id for row in page.rows] == [session.peer_id] * 2
        peer = page.peers[session.peer_id]
        assert (peer.user, peer.observed_host, peer.online_since) == ("ann", "10.0.0.1", 100.25)
        assert peer.certificate_der == session.certificate_der
        assert peer.endpoint_statuses == REACHABLE
        assert (peer.resource_count, peer.size_bytes) == (2, 3)

    async def test_peers_are_listed_by_user_and_peer_id_page_by_page(self, store: Store) -> None:
        for user, peer in (("bob", "p2"), ("Ann", "p3"), ("bob", "p1"), ("Zoe", "p0")):
            await online(store, a_session(user, peer=peer))
        await store.bind_user(a_user("hidden"))
        await store.open_session(a_session("hidden"))

        listed = []
        after = None
        while page := await store.peers("", after, 3):
            listed += [(row.user, row.peer_id) for row in page]
            after = (page[-1].user.casefold(), page[-1].peer_id)

        assert listed == [("Ann", "p3"), ("bob", "p1"), ("bob", "p2"), ("Zoe", "p0")]
        assert [row.peer_id for row in await store.peers("bob", None, 9)] == ["p1", "p2"]
        assert [row.peer_id for row in await store.peers("bob", ("bob", PeerId("p1")), 9)] == ["p2"]
        assert await store.peers("hidden", None, 9) == []

    async def test_locate_answers_by_place_of_the_digest_then_peer(self, store: Store) -> None:
        for peer, contents in (("p2", "xy"), ("p1", "yz"), ("p3", "x")):
            resources = [a_resource(f"{peer}-{c}", c) for c in contents]
            await sharing(store, *resources, session=a_session("ann", peer=peer))
        hidden = await sharing(store, a_resource("h", "x"), session=a_session("hidden"))
        await store.end_sessions([hidden.token_hash], 1)
        wanted = [digest(content) for content in ("z", "x", "unknown", "y")]
        expected = [("z", "p1"), ("x", "p2"), ("x", "p3"), ("y", "p1"), ("y", "p2")]

        for page_size in (1, 2, 4, 9):
            located = []
            after = None
            while True:
                holdings, peers = await store.locate(wanted, after, page_size)
                assert set(peers) == {holding.peer_id for holding in holdings}
                located += [(holding.digest, holding.peer_id) for holding in holdings]
                if len(holdings) < page_size:
                    break
                after = (wanted.index(holdings[-1].digest), holdings[-1].peer_id)
            assert located == [(digest(content), peer) for content, peer in expected]

    @pytest.mark.parametrize("others", [0, 80])
    async def test_a_peer_is_named_once_per_manifest_whole_before_partial(
        self, store: Store, others: int
    ) -> None:
        lie = PartialContent(digest("x"), Digest("0" * 64), 1)
        peer = (await online(store, a_session(peer="b"))).peer_id
        copies = [a_resource(f"copy {i}", "x") for i in range(40)]
        await store.announce(peer, a_snapshot(1, *copies, partials=(lie,)), NO_LIMIT)
        other = (await online(store, a_session(peer="a"))).peer_id
        await store.announce(
            other, a_snapshot(1, a_resource("x", "x"), partials=(a_partial("x"),)), NO_LIMIT
        )
        for i in range(others):
            await sharing(store, a_resource("x", "x"), session=a_session(peer=f"c{i:02}"))

        holdings, _ = await store.locate([digest("x")], None, 1000)

        honest = digest("manifest of x")
        assert len(holdings) == 3 + others
        assert [(h.peer_id, h.manifest_digest, h.partial) for h in holdings[:3]] == [
            ("a", honest, False),
            ("b", honest, False),
            ("b", lie.manifest_digest, True),
        ]

    async def test_what_one_call_changed_the_next_call_sees(self, store: Store) -> None:
        peer = (await sharing(store)).peer_id

        for counter in range(2, 40):
            delta = Batch(
                revision(counter), revision(counter - 1), resources=(a_resource(f"f{counter}"),)
            )
            await store.announce(peer, delta, NO_LIMIT)
            assert await paths(store, Criteria(words=(f"f{counter}",))) == [f"f{counter}"]
