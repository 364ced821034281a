"""The index is asked for rare trigrams, and what is found does not depend on which."""

from collections.abc import AsyncIterator
from pathlib import Path

import apsw
import pytest
from tests.server.store.factories import a_resource, paths, sharing

from p2p_server.directory.models import Criteria
from p2p_server.store.sqlite import SqliteStore
from p2p_server.store.sqlite.answers.rarity import Rarity, sample


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    opened = SqliteStore(tmp_path / "directory.db")
    await opened.open()
    yield opened
    await opened.close()


def rarity(**paths_with: int) -> Rarity:
    """In so many of a thousand sampled paths each: the first ones."""
    bits = {trigram: (1 << count) - 1 for trigram, count in paths_with.items()}
    return Rarity(1_000_000, 1_000, bits)


def test_the_rarest_come_first_and_no_more_than_needed() -> None:
    known = rarity(ses=1_000, zeb=100, abc=0)

    assert known.rarest(["ses", "zeb", "abc"]) == ("abc", "zeb")


def test_what_stands_in_nearly_every_path_is_not_asked_for() -> None:
    known = rarity(abc=20, ses=990)

    assert known.rarest(["ses", "abc"]) == ("abc",), "its list is long and leaves all candidates"


def test_what_the_paths_with_a_chosen_one_have_anyway_is_not_asked_for() -> None:
    known = rarity(ebr=100, zeb=100)
    apart = Rarity(1_000_000, 1_000, {"ebr": (1 << 100) - 1, "zeb": ((1 << 100) - 1) << 500})

    assert known.rarest(["zeb", "ebr"]) == ("zeb",)
    assert apart.rarest(["zeb", "ebr"]) == ("zeb", "ebr")


def test_there_is_always_one() -> None:
    assert rarity(ses=1_000).rarest(["ses"]) == ("ses",)
    assert Rarity().rarest(["abc"]) == ("abc",)
    assert rarity().rarest([]) == ()


def test_few_paths_with_a_trigram_do_not_say_what_stands_beside_it() -> None:
    rare, often, seldom = (1 << 7) - 1, ((1 << 250) - 1) << 500, ((1 << 50) - 1) << 4
    known = Rarity(1_000_000, 1_000, {"077": rare, "mp4": often, "019": seldom})

    assert known.rarest(["077", "mp4", "019"])[:2] == ("077", "019"), "three of seven by chance"


def test_how_far_back_the_first_path_lies_that_has_all() -> None:
    known = Rarity(1_000_000, 1_000, {"zeb": ((1 << 100) - 1) << 900, "ses": (1 << 1_000) - 1})

    assert known.rows_before(["zeb", "ses"]) == 900_000
    assert known.rows_before(["ses"]) == 0
    assert known.rows_before(["zeb", "xyz"]) == 1_000_000, "in none that is known"
    assert Rarity().rows_before(["zeb"]) == 0, "nothing is known"


def test_a_sample_of_nothing_knows_nothing() -> None:
    connection = apsw.Connection("")
    connection.execute("CREATE TABLE resources (row INTEGER PRIMARY KEY, folded_path TEXT)")

    assert sample(connection) == Rarity()


async def test_what_is_found_does_not_depend_on_the_sample(store: SqliteStore) -> None:
    await sharing(store, *(a_resource(f"common/{number:04}.txt") for number in range(300)))
    criteria = Criteria(words=("common", "0042"))
    before = await paths(store, criteria)
    store._rarity = rarity(com=0, omm=0, mmo=0, mon=0)  # as wrong as can be

    assert await paths(store, criteria) == before == ["common/0042.txt"]
