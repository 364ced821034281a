"""Whatever is announced in whatever order, a store holds what a plain dict would.

The machine that says so; `test_models.py` runs it over each store.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from tests.server.store.factories import (
    NO_LIMIT,
    REACHABLE,
    a_resource,
    a_session,
    found,
    online,
    purged,
)

from p2p_server.directory.errors import RevisionMismatch
from p2p_server.directory.models import NOTHING_HELD, Batch, Criteria, Resource, Revision, Session
from p2p_server.store.base import Store

PATHS = st.sampled_from(["a", "A", "b/a", "b/aab", "b/ab.c", "Straße", "é/x"])
RESOURCES = st.builds(a_resource, PATHS, st.sampled_from(["x", "yy", "zzz"]))
SNAPSHOT_IDS = st.sampled_from(["s1", "s2", "s3"])
PEERS = st.integers(0, 1)


@dataclass
class Library:
    """What one peer's library must be: the specification."""

    session: Session
    held: Revision = NOTHING_HELD
    resources: dict[str, Resource] = field(default_factory=dict)
    taken: str = ""
    staged_id: str = ""
    staged_revision: Revision = NOTHING_HELD
    staged: list[tuple[Resource, ...]] = field(default_factory=list)
    visible: bool = True


class AnnouncesAgreeWithADict(RuleBasedStateMachine):
    """Catalogs, counts and the trigram index are optimisations; two dicts are the specification."""

    def __init__(self, new_store: Callable[[], Store]) -> None:
        super().__init__()
        self.new_store = new_store  # over an empty database

    @initialize()
    def open(self) -> None:
        self.runner = asyncio.Runner()
        self.store = self.new_store()
        self.runner.run(self.store.open())
        self.counter = 0
        self.libraries = [
            Library(self.runner.run(online(self.store, a_session(user)))) for user in ("ann", "bob")
        ]

    def teardown(self) -> None:
        if hasattr(self, "runner"):
            self.runner.run(self.store.close())
            self.runner.close()

    def announce(self, library: Library, batch: Batch) -> Revision | None:
        """The revision held then; None: refused as a mismatch."""
        try:
            return self.runner.run(self.store.announce(library.session.peer_id, batch, NO_LIMIT))
        except RevisionMismatch as refusal:
            held = refusal.held
        assert held == library.held
        return None

    @rule(
        peer=PEERS,
        resources=st.lists(RESOURCES, max_size=4).map(tuple),
        withdrawn=st.lists(PATHS, max_size=2).map(tuple),
        stale=st.integers(0, 4),
    )
    def delta(
        self,
        peer: int,
        resources: tuple[Resource, ...],
        withdrawn: tuple[str, ...],
        stale: int,
    ) -> None:
        library = self.libraries[peer]
        self.counter += 1
        base = library.held if stale else Revision("elsewhere", 0)
        batch = Batch(Revision(base.epoch, self.counter), base, resources, withdrawn)

        answer = self.announce(library, batch)

        if not stale or not library.held.epoch:
            assert answer is None
            return
        assert answer == batch.revision
        assert self.announce(library, batch) == answer  # a resend
        library.held = batch.revision
        for path in withdrawn:
            library.resources.pop(path, None)
        library.resources |= {resource.path: resource for resource in resources}

    @rule(
        peer=PEERS,
        snapshot_id=SNAPSHOT_IDS,
        resources=st.lists(RESOURCES, max_size=4).map(tuple),
        index=st.integers(0, 2),
        last=st.booleans(),
    )
    def snapshot(
        self,
        peer: int,
        snapshot_id: str,
        resources: tuple[Resource, ...],
        index: int,
        last: bool,
    ) -> None:
        library = self.libraries[peer]
        continues = library.staged_id == snapshot_id
        self.counter += 1
        revision = library.staged_revision if continues else Revision("e", self.counter)
        batch = Batch(
            revision, resources=resources, snapshot_id=snapshot_id, batch_index=index, last=last
        )

        answer = self.announce(library, batch)

        if continues and index < len(library.staged):
            assert answer == library.held
            return
        if not continues and library.taken == snapshot_id:
            assert answer == library.held
            return
        if index != (len(library.staged) if continues else 0):
            assert answer is None
            return
        staged = [*(library.staged if continues else []), resources]
        if last:
            library.held, library.taken = revision, snapshot_id
            library.resources = {r.path: r for part in staged for r in part}
            library.staged_id, library.staged = "", []
        else:
            library.staged_id, library.staged_revision, library.staged = (
                snapshot_id,
                revision,
                staged,
            )
        assert answer == library.held

    @rule(peer=PEERS, visible=st.booleans())
    def judge(self, peer: int, visible: bool) -> None:
        library = self.libraries[peer]
        session = library.session
        self.runner.run(
            self.store.set_endpoints(session.peer_id, session.token_hash, REACHABLE, visible)
        )
        library.visible = visible

    @rule(most_rows=st.integers(1, 5))
    def purge(self, most_rows: int) -> None:
        self.runner.run(purged(self.store, most_rows=most_rows))

    @rule(word=st.sampled_from(["a", "b/a", "aab", "strasse", "é/x", ".c", "/"]))
    def search(self, word: str) -> None:
        expected = [r for r in self.shared() if word in r.path.casefold()]

        resources = self.runner.run(found(self.store, Criteria(words=(word,)), page_size=2))

        assert sorted(resources, key=str) == sorted(expected, key=str)

    def shared(self) -> list[Resource]:
        return [r for lib in self.libraries if lib.visible for r in lib.resources.values()]

    @invariant()
    def everything_is_answered_and_counted(self) -> None:
        if not hasattr(self, "libraries"):
            return
        resources = self.runner.run(found(self.store))
        peers = self.runner.run(self.store.peers("", None, 10))

        assert sorted(resources, key=str) == sorted(self.shared(), key=str)
        assert {peer.peer_id: (peer.resource_count, peer.size_bytes) for peer in peers} == {
            library.session.peer_id: (
                len(library.resources),
                sum(r.size_bytes for r in library.resources.values()),
            )
            for library in self.libraries
            if library.visible
        }
