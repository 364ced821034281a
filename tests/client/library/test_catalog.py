"""The changes since any revision, replayed on what a directory held then, give the catalog now."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from p2p_client.library.catalog import Catalog
from p2p_client.models import Digest, ManifestDigest, Resource, Revision

WHEN = datetime(2024, 5, 1, tzinfo=UTC)


def resource(path: str, content: int = 0, size_bytes: int = 1) -> Resource:
    digest = f"{content:064x}"
    return Resource(path, size_bytes, Digest(digest), ManifestDigest(digest), WHEN)


def held_by(catalog: Catalog) -> dict[str, Resource]:
    return {item.path: item for item in catalog.snapshot()[1]}


def test_every_real_change_raises_the_counter_by_one() -> None:
    catalog = Catalog("e")
    catalog.put(resource("a"))
    catalog.put(resource("a"))
    catalog.put(resource("a", 1))
    catalog.withdraw("a")
    catalog.withdraw("a")

    assert catalog.revision == Revision("e", 3)


def test_changes_name_each_path_once_with_its_latest_state() -> None:
    catalog = Catalog("e")
    catalog.put(resource("a"))
    held = catalog.revision
    catalog.put(resource("b"))
    catalog.withdraw("a")
    catalog.put(resource("a", 7))
    catalog.withdraw("b")

    changes = catalog.changes_since(held)

    assert changes is not None
    assert (changes.base, changes.revision) == (held, catalog.revision)
    assert changes.resources == (resource("a", 7),)
    assert changes.withdrawn_paths == ("b",)


def test_another_epoch_or_an_unknown_counter_needs_a_snapshot() -> None:
    catalog = Catalog("e")
    catalog.put(resource("a"))

    assert catalog.changes_since(Revision()) is None
    assert catalog.changes_since(Revision("other", 1)) is None
    assert catalog.changes_since(Revision("e", 2)) is None
    assert catalog.changes_since(Revision("e", -1)) is None


def test_forgotten_withdrawals_need_a_snapshot_and_later_ones_do_not() -> None:
    catalog = Catalog("e", most_tombstones=2)
    revisions = []
    for number in range(4):
        catalog.put(resource(str(number)))
        revisions.append(catalog.revision)
    for number in range(4):
        catalog.withdraw(str(number))
        revisions.append(catalog.revision)

    assert catalog.changes_since(revisions[3]) is None
    later = catalog.changes_since(revisions[5])
    assert later is not None
    assert later.withdrawn_paths == ("2", "3")


def test_subscribers_hear_of_changes_and_of_being_settled_once() -> None:
    catalog = Catalog("e")
    heard: list[Revision] = []
    catalog.subscribe(lambda: heard.append(catalog.revision))

    catalog.put(resource("a"))
    catalog.put(resource("a"))
    catalog.settled = True
    catalog.settled = True

    assert heard == [Revision("e", 1), Revision("e", 1)]


steps = st.lists(
    st.tuples(
        st.sampled_from("abcde"),
        st.one_of(st.none(), st.tuples(st.integers(0, 3), st.integers(0, 9))),
    ),
    max_size=60,
)


@given(steps, st.integers(0, 8))
def test_changes_replayed_on_a_dict_equal_the_snapshot(
    changes: list[tuple[str, tuple[int, int] | None]], most_tombstones: int
) -> None:
    catalog = Catalog("e", most_tombstones=most_tombstones)
    held = [(catalog.revision, held_by(catalog))]
    for path, put in changes:
        if put is None:
            catalog.withdraw(path)
        else:
            catalog.put(resource(path, *put))
        held.append((catalog.revision, held_by(catalog)))

    now = held_by(catalog)
    assert catalog.resource_count == len(now)
    assert catalog.size_bytes == sum(item.size_bytes for item in now.values())
    for revision, directory in held:
        missing = catalog.changes_since(revision)
        if missing is None:
            assert revision.counter < catalog.revision.counter
            continue
        replayed = dict(directory)
        for path in missing.withdrawn_paths:
            replayed.pop(path, None)
        replayed.update({item.path: item for item in missing.resources})
        assert replayed == now
        assert not {item.path for item in missing.resources} & set(missing.withdrawn_paths)
