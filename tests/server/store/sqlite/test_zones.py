"""Where rows lie in the order shortens answers, and no answer depends on it."""

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.server.store.factories import (
    NO_LIMIT,
    a_resource,
    a_session,
    paths,
    revision,
    sharing,
)

from p2p_server.directory.models import Batch, Criteria, PeerId, Resource, SortKey
from p2p_server.store.sqlite import SqliteStore
from p2p_server.store.sqlite.answers import search, zones
from p2p_server.store.sqlite.answers.search import Hints
from p2p_server.store.sqlite.answers.zones import MOST_ZONES, Zones
from p2p_server.store.sqlite.sql import all_rows

COMMON = Criteria(words=("common",))
PAGE = 20


@pytest.fixture(autouse=True)
def small_zones(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few rows make several zones and slices, and more than few candidates."""
    monkeypatch.setattr(zones, "LEAST_IN_ZONE", 8)
    monkeypatch.setattr(zones, "SLICE_ROWS", 64)
    monkeypatch.setattr(search, "GATHERED_WHOLE", 1)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    opened = SqliteStore(tmp_path / "directory.db")
    await opened.open()
    yield opened
    await opened.close()


def shuffled(prefix: str, count: int) -> list[str]:
    names = [f"{prefix}/{number:04}/common.txt" for number in range(count)]
    random.Random(5).shuffle(names)
    return names


async def peer_sharing(store: SqliteStore, *resources: Resource) -> PeerId:
    return (await sharing(store, *resources)).peer_id


async def placed(store: SqliteStore) -> Zones:
    known = Zones()
    while await store._read(known.place):
        pass
    return known


async def all_pages(store: SqliteStore, known: Zones, criteria: Criteria = COMMON) -> list[str]:
    found: list[str] = []
    after: SortKey | None = None
    while True:
        page = await store._read(
            lambda c, after=after: search.query(c, criteria, after, PAGE, Hints(zones=known))  # type: ignore[misc]
        )
        found += [row.resource.path for row in page.rows]
        if len(page.rows) < PAGE:
            return found
        after = page.rows[-1].sort_key


async def change(store: SqliteStore, peer: PeerId, at: int, **changes: object) -> None:
    batch = Batch(revision(at + 1), revision(at), **changes)  # type: ignore[arg-type]
    await store.announce(peer, batch, NO_LIMIT)


async def test_pages_are_in_order_without_gap_or_repeat(store: SqliteStore) -> None:
    names = shuffled("a", 300)
    await sharing(store, *map(a_resource, names))

    assert await all_pages(store, await placed(store)) == sorted(names)


async def test_only_the_first_candidates_are_looked_up(store: SqliteStore) -> None:
    await sharing(store, *map(a_resource, shuffled("a", 400)))
    known = (await placed(store)).placed
    assert known is not None
    rows = [row for (row,) in await store._read(lambda c: all_rows(c, "SELECT row FROM resources"))]

    pool = known.pool(rows, None)
    near = pool.up_to(pool.zone_holding(PAGE))

    assert PAGE <= len(near) < 100
    assert pool.zone_holding(1_000) == MOST_ZONES


async def test_rows_that_came_since_are_found_in_their_place(store: SqliteStore) -> None:
    peer = await peer_sharing(store, *map(a_resource, shuffled("m", 200)))
    known = await placed(store)
    early, late = shuffled("a", 30), shuffled("z", 150)
    await change(store, peer, 1, resources=tuple(map(a_resource, early + late)))

    expected = sorted(shuffled("m", 200) + early + late)
    assert await all_pages(store, known) == expected
    while await store._read(known.place):
        pass
    assert await all_pages(store, known) == expected


async def test_rows_that_came_since_do_not_pass_those_that_lie_before_them(
    store: SqliteStore,
) -> None:
    """Where the first candidates turn out to be none, late ones must not fill the page."""
    names = sorted(shuffled("m", 200))
    small = [a_resource(name, size_bytes=1) for name in names[:150]]
    large = [a_resource(name, size_bytes=9) for name in names[150:]]
    peer = await peer_sharing(store, *small, *large)
    known = await placed(store)
    late = [a_resource(name, size_bytes=9) for name in sorted(shuffled("z", 60))]
    await change(store, peer, 1, resources=tuple(late))

    found = await all_pages(store, known, Criteria(words=("common",), min_size_bytes=5))

    assert found == [each.path for each in (*large, *late)]


async def test_no_row_gets_the_number_of_one_that_was_withdrawn(store: SqliteStore) -> None:
    peer = await peer_sharing(store, *map(a_resource, shuffled("m", 200)))
    await change(store, peer, 1, resources=(a_resource("z/last/common.txt"),))
    known = await placed(store)
    first = a_resource("a/first/common.txt")
    await change(store, peer, 2, withdrawn_paths=("z/last/common.txt",), resources=(first,))

    found = await all_pages(store, known)

    assert found == ["a/first/common.txt", *sorted(shuffled("m", 200))]


async def test_a_path_that_very_many_share_makes_one_zone(store: SqliteStore) -> None:
    for number in range(40):
        own = a_resource(f"own/{number}/common.txt")
        shared = a_resource("same/common.txt")
        await sharing(store, own, shared, session=a_session(f"user{number}"))
    known = await placed(store)

    found = await all_pages(store, known)

    assert found[-40:] == ["same/common.txt"] * 40
    assert len(found) == 80


async def test_zones_are_cut_anew_when_rows_are_many_times_as_many(store: SqliteStore) -> None:
    peer = await peer_sharing(store, *map(a_resource, shuffled("m", 20)))
    known = await placed(store)
    assert known.placed is not None
    few = len(known.placed.ends)
    await change(store, peer, 1, resources=tuple(map(a_resource, shuffled("n", 300))))
    while await store._read(known.place):
        pass
    while await store._read(known.place):
        pass

    assert len(known.placed.ends) > few
    assert await all_pages(store, known) == sorted(shuffled("m", 20) + shuffled("n", 300))


async def test_where_numbers_reach_far_old_rows_are_looked_up_always(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zones, "MOST_ROWS", 100)
    names = shuffled("a", 300)
    peer = await peer_sharing(store, *map(a_resource, names))
    known = await placed(store)
    assert known.placed is not None
    assert known.placed.first == 251
    more = shuffled("b", 300)
    await change(store, peer, 1, resources=tuple(map(a_resource, more)))
    for _ in range(3):
        while await store._read(known.place):
            pass

    assert len(known.placed.zones) <= 100 + zones.SLICE_ROWS
    assert await all_pages(store, known) == sorted(names + more)


async def test_the_last_of_as_many_zones_as_may_be_has_all_the_rest(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (zones, search):
        monkeypatch.setattr(module, "MOST_ZONES", 8)
    names = shuffled("a", 300)
    peer = await peer_sharing(store, *map(a_resource, names))
    known = await placed(store)
    assert known.placed is not None

    assert len(known.placed.ends) == 7
    assert await all_pages(store, known) == sorted(names)
    await change(store, peer, 1, resources=(a_resource("z/common.txt"),))
    assert not await store._read(known.place)
    assert await all_pages(store, known) == [*sorted(names), "z/common.txt"]


async def test_of_rows_that_came_and_went_unseen_no_place_is_kept(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zones, "MOST_ROWS", 100)
    names, gone = shuffled("a", 40), shuffled("b", 1_000)
    peer = await peer_sharing(store, *map(a_resource, names))
    known = await placed(store)
    await change(store, peer, 1, resources=tuple(map(a_resource, gone)))
    late = a_resource("z/common.txt")
    await change(store, peer, 2, withdrawn_paths=tuple(gone), resources=(late,))
    while await store._read(known.place):
        pass

    assert known.placed is not None
    assert len(known.placed.zones) <= 100 + zones.SLICE_ROWS
    assert await all_pages(store, known) == [*sorted(names), "z/common.txt"]


async def test_nothing_is_placed_where_nothing_is_shared(store: SqliteStore) -> None:
    assert (await placed(store)).placed is None


async def test_who_queries_has_rows_placed(store: SqliteStore) -> None:
    names = shuffled("a", 300)
    await sharing(store, *map(a_resource, names))

    async with asyncio.timeout(60):
        while (known := store._zones.placed) is None or known.last < len(names):
            assert await paths(store, COMMON, PAGE) == sorted(names)
            await asyncio.sleep(0.01)

    assert await paths(store, COMMON, PAGE) == sorted(names)


async def test_a_store_that_was_closed_while_placing_places_again(store: SqliteStore) -> None:
    names = shuffled("a", 300)
    await sharing(store, *map(a_resource, names))
    store._is_placing = True  # its next slice waited, and was refused by the lane that stops
    await store.close()
    await store.open()

    async with asyncio.timeout(60):
        while (known := store._zones.placed) is None or known.last < len(names):
            await paths(store, COMMON, PAGE)
            await asyncio.sleep(0.01)
