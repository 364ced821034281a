"""Whatever happens on the way, a directory that says what it holds ends up with our catalog."""

from dataclasses import dataclass, field
from datetime import UTC, datetime

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from p2p_client.library.catalog import Catalog
from p2p_client.membership.announcer import Announcer
from p2p_client.models import (
    AnnounceBatch,
    Digest,
    ManifestDigest,
    PartialContent,
    Resource,
    Revision,
)

EPOCH = "epoch"


def resource(path: str, size_bytes: int = 0) -> Resource:
    digest, manifest = Digest("d" * 64), ManifestDigest("e" * 64)
    return Resource(path, size_bytes, digest, manifest, datetime(2024, 1, 1, tzinfo=UTC))


def catalog_of(*paths: str) -> Catalog:
    catalog = Catalog(EPOCH)
    for path in paths:
        catalog.put(resource(path))
    return catalog


def partial(digest: str, size_bytes: int = 0) -> PartialContent:
    return PartialContent(Digest(digest * 64), ManifestDigest("e" * 64), size_bytes)


Listed = dict[str, Resource | PartialContent]
"""By path, and by digest."""


@dataclass
class Holder:
    """A directory as the contract has it: one catalog and the snapshot held aside."""

    held: Revision = field(default_factory=Revision)
    catalog: Listed = field(default_factory=dict)
    staged: Listed = field(default_factory=dict)
    snapshot_id: str = ""
    next_index: int = 0

    def take(self, batch: AnnounceBatch) -> bool:
        """False: REVISION_MISMATCH."""
        if batch.snapshot_id:
            return self._stage(batch)
        if batch.revision == self.held:
            return True
        if batch.base != self.held or batch.revision.counter <= batch.base.counter:
            return False
        self._apply(self.catalog, batch)
        self.held = batch.revision
        return True

    def _stage(self, batch: AnnounceBatch) -> bool:
        if batch.snapshot_id != self.snapshot_id and batch.batch_index == 0:
            self.snapshot_id, self.staged, self.next_index = batch.snapshot_id, {}, 0
        if batch.snapshot_id != self.snapshot_id or batch.batch_index > self.next_index:
            return False
        if batch.batch_index == self.next_index:
            self.next_index += 1
            self._apply(self.staged, batch)
            if batch.last:
                self.catalog, self.held = dict(self.staged), batch.revision
        return True

    def _apply(self, catalog: Listed, batch: AnnounceBatch) -> None:
        assert not (batch.snapshot_id and (batch.withdrawn_paths or batch.withdrawn_partials))
        catalog.update((item.path, item) for item in batch.resources)
        catalog.update((item.digest, item) for item in batch.partials)
        for name in (*batch.withdrawn_paths, *batch.withdrawn_partials):
            catalog.pop(name, None)


def listed(catalog: Catalog) -> Listed:
    found: Listed = {item.path: item for item in catalog.snapshot()[1]}
    found.update((item.digest, item) for item in catalog.partials)
    return found


def bring_up_to_date(announcer: Announcer, holder: Holder) -> list[AnnounceBatch]:
    sent: list[AnnounceBatch] = []
    while (batch := announcer.next_batch(holder.held)) is not None:
        sent.append(batch)
        assert len(sent) < 1_000, "it must come to an end"
        if holder.take(batch):
            assert announcer.taken(holder.held)
        else:
            announcer.mismatched()
    return sent


def test_nothing_held_gets_a_snapshot_and_then_only_what_changed() -> None:
    catalog, holder = catalog_of("a", "b"), Holder()
    announcer = Announcer(catalog)

    first = bring_up_to_date(announcer, holder)
    catalog.put(resource("c"))
    catalog.withdraw("a")
    second = bring_up_to_date(announcer, holder)

    assert [batch.last for batch in first] == [True]
    assert [(list(at.withdrawn_paths), len(at.resources)) for at in second] == [(["a"], 1)]
    assert set(holder.catalog) == {"b", "c"}


def test_an_empty_catalog_empties_what_an_earlier_run_left() -> None:
    holder = Holder(Revision("earlier", 9), {"old": resource("old")})

    sent = bring_up_to_date(Announcer(Catalog(EPOCH)), holder)

    assert len(sent) == 1
    assert holder.catalog == {}


def test_partial_contents_come_and_go_as_resources_do() -> None:
    catalog, holder = catalog_of("a"), Holder()
    announcer = Announcer(catalog)
    catalog.put_partial(partial("b"))
    bring_up_to_date(announcer, holder)
    catalog.put_partial(partial("b"))
    catalog.put_partial(partial("c", 7))
    catalog.withdraw_partial(Digest("b" * 64))
    catalog.withdraw_partial(Digest("b" * 64))

    (delta,) = bring_up_to_date(announcer, holder)

    assert list(delta.partials) == [partial("c", 7)]
    assert list(delta.withdrawn_partials) == ["b" * 64]
    assert delta.revision.counter == 4
    assert holder.catalog.keys() == {"a", "c" * 64}


def test_a_catalog_that_changes_while_its_snapshot_is_on_its_way_follows_as_a_delta() -> None:
    catalog, holder = catalog_of(*"abcd"), Holder()
    announcer = Announcer(catalog)
    announcer.limit(2, 1 << 20)
    first = announcer.next_batch(holder.held)
    assert first is not None
    holder.take(first)
    announcer.taken(holder.held)

    catalog.withdraw("a")
    catalog.put(resource("e"))
    rest = bring_up_to_date(announcer, holder)

    assert [batch.snapshot_id == first.snapshot_id for batch in rest] == [True, False]
    assert set(holder.catalog) == set("bcde")


def test_a_lost_answer_to_the_last_batch_costs_nothing() -> None:
    holder = Holder()
    announcer = Announcer(catalog_of("a"))
    batch = announcer.next_batch(holder.held)
    assert batch is not None
    holder.take(batch)

    assert announcer.next_batch(holder.held) is None
    assert announcer.is_whole(holder.held)


def test_made_up_revisions_are_no_base_for_another_plan() -> None:
    catalog, holder = catalog_of("x"), Holder()
    announcer = Announcer(catalog)
    bring_up_to_date(announcer, holder)
    announcer.limit(1, 1 << 20)
    for path in "abc":
        catalog.put(resource(path))
    batch = announcer.next_batch(holder.held)
    assert batch is not None
    holder.take(batch)
    midway = holder.held

    announcer.mismatched()

    assert not announcer.is_whole(midway)
    restart = announcer.next_batch(midway)
    assert restart is not None
    assert restart.snapshot_id


def test_a_made_up_revision_is_not_taken_for_a_real_one_of_before_a_roll_back() -> None:
    catalog, holder = catalog_of("a"), Holder()
    announcer = Announcer(catalog)
    bring_up_to_date(announcer, holder)
    backup = Holder(holder.held, dict(holder.catalog))
    catalog.put(resource("b"))
    bring_up_to_date(announcer, holder)
    real = holder.held

    announcer.limit(1, 1 << 20)
    catalog.put(resource("c"))
    catalog.withdraw("a")
    batch = announcer.next_batch(backup.held)
    assert batch is not None
    assert backup.take(batch)

    assert backup.held == real, "the same number, by chance"
    assert backup.catalog == {}
    assert not announcer.is_whole(backup.held)


def test_batches_get_smaller_until_one_item_is_left() -> None:
    announcer = Announcer(catalog_of("a", "b", "c", "d"))
    sizes = []
    while (batch := announcer.next_batch(Revision())) is not None:
        sizes.append(len(batch.resources))
        if not announcer.too_large():
            break

    assert sizes == [4, 2, 1]


def test_a_directory_that_takes_a_batch_and_holds_something_else_makes_no_sense() -> None:
    announcer = Announcer(catalog_of("a"))
    announcer.next_batch(Revision())

    assert not announcer.taken(Revision("other", 4))


def test_absurd_limits_still_let_one_item_through() -> None:
    holder = Holder()
    announcer = Announcer(catalog_of("a", "b"))
    announcer.limit(0, 0)

    sent = bring_up_to_date(announcer, holder)

    assert [len(batch.resources) for batch in sent] == [1, 1]
    assert set(holder.catalog) == {"a", "b"}


@settings(max_examples=50, deadline=None)
@given(
    paths=st.lists(st.text("aé漢/", min_size=1, max_size=300), unique=True, max_size=60),
    most_items=st.integers(1, 20),
    most_bytes=st.integers(1_500, 20_000),
)
def test_no_batch_is_over_the_limits(paths: list[str], most_items: int, most_bytes: int) -> None:
    announcer = Announcer(catalog_of(*paths))
    announcer.limit(most_items, most_bytes)

    for batch in bring_up_to_date(announcer, Holder()):
        encoded = sum(len(item.path.encode()) + 190 for item in batch.resources)
        assert len(batch.resources) <= most_items
        assert encoded <= most_bytes


class DirectoryEndsUpWithTheCatalog(RuleBasedStateMachine):
    """Batches may be lost, their answers may be lost, the directory may forget or roll back: what
    it holds whenever it says so is what the catalog had then."""

    def __init__(self) -> None:
        super().__init__()
        self.catalog = Catalog(EPOCH, most_tombstones=5)
        self.holder = Holder()
        self.announcer = Announcer(self.catalog)
        self.announcer.limit(3, 1 << 20)
        self.history = {self.catalog.revision: set[str]()}
        self.backups = [Holder()]

    def _remember(self) -> None:
        self.history[self.catalog.revision] = set(listed(self.catalog))

    @rule(path=st.sampled_from("abcdefghijkl"), size_bytes=st.integers(0, 3))
    def put(self, path: str, size_bytes: int) -> None:
        self.catalog.put(resource(path, size_bytes))
        self._remember()

    @rule(path=st.sampled_from("abcdefghijkl"))
    def withdraw(self, path: str) -> None:
        self.catalog.withdraw(path)
        self._remember()

    @rule(digest=st.sampled_from("abcd"), size_bytes=st.integers(0, 2))
    def put_partial(self, digest: str, size_bytes: int) -> None:
        self.catalog.put_partial(partial(digest, size_bytes))
        self._remember()

    @rule(digest=st.sampled_from("abcd"))
    def withdraw_partial(self, digest: str) -> None:
        self.catalog.withdraw_partial(Digest(digest * 64))
        self._remember()

    @rule(arrives=st.booleans(), is_answered=st.booleans())
    def send(self, arrives: bool, is_answered: bool) -> None:
        batch = self.announcer.next_batch(self.holder.held)
        if batch is None or not arrives:
            return
        is_taken = self.holder.take(batch)
        if not is_answered:
            return
        if is_taken:
            assert self.announcer.taken(self.holder.held)
        else:
            self.announcer.mismatched()

    @rule()
    def directory_forgets(self) -> None:
        self.holder = Holder()

    @rule()
    def directory_makes_a_backup(self) -> None:
        self.backups.append(Holder(self.holder.held, dict(self.holder.catalog)))

    @rule(data=st.data())
    def directory_rolls_back(self, data: st.DataObject) -> None:
        backup = data.draw(st.sampled_from(self.backups))
        self.holder = Holder(backup.held, dict(backup.catalog))

    @precondition(lambda self: self.holder.held.epoch == EPOCH)
    @invariant()
    def a_whole_revision_is_what_the_catalog_was(self) -> None:
        if self.announcer.is_whole(self.holder.held):
            assert set(self.holder.catalog) == self.history[self.holder.held]

    def teardown(self) -> None:
        bring_up_to_date(self.announcer, self.holder)
        assert self.holder.held == self.catalog.revision
        assert self.holder.catalog == listed(self.catalog)


TestDirectoryEndsUpWithTheCatalog = DirectoryEndsUpWithTheCatalog.TestCase
TestDirectoryEndsUpWithTheCatalog.settings = settings(
    max_examples=150, stateful_step_count=40, deadline=None
)
