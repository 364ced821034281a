"""Sessions, resources and batches for tests of stores, with as little said as the test needs."""

from dataclasses import replace
from hashlib import sha256
from itertools import count

from p2p_server.directory.models import (
    Batch,
    Criteria,
    Digest,
    Endpoint,
    EndpointStatus,
    PartialContent,
    PeerId,
    Resource,
    Revision,
    Session,
    SortKey,
    User,
    Verdict,
)
from p2p_server.store.base import Store

REACHABLE = (EndpointStatus(Endpoint("10.0.0.1", 50_000), Verdict.REACHABLE),)
PENDING = (EndpointStatus(Endpoint("10.0.0.1", 50_000), Verdict.PENDING),)
NO_LIMIT = 0

_snapshots = count()


def digest(content: str) -> Digest:
    return Digest(sha256(content.encode()).hexdigest())


def a_user(name: str = "ann", key: str = "key") -> User:
    return User(name, digest(key), 1.5)


def a_session(user: str = "ann", peer: str = "", token: str = "", listed: bool = True) -> Session:
    peer_id = PeerId(peer or f"peer-of-{user}")
    return Session(
        peer_id,
        user,
        sha256((token or peer_id).encode()).digest(),
        f"certificate of {user}".encode(),
        listed,
        "10.0.0.1",
        100.25,
        PENDING,
    )


def a_resource(path: str, content: str = "", **fields: object) -> Resource:
    content = content or path
    made = Resource(
        path, len(content), digest(content), digest("manifest of " + content), 1.7e9 + 0.25
    )
    return replace(made, **fields)  # type: ignore[arg-type]  # a test says which fields


def a_partial(content: str) -> PartialContent:
    return PartialContent(digest(content), digest("manifest of " + content), len(content))


def revision(counter: int, epoch: str = "e") -> Revision:
    return Revision(epoch, counter)


def a_snapshot(
    counter: int, *resources: Resource, partials: tuple[PartialContent, ...] = ()
) -> Batch:
    """A whole snapshot in one batch, with an id of its own."""
    return Batch(
        revision(counter),
        resources=resources,
        partials=partials,
        snapshot_id=f"snapshot-{next(_snapshots)}",
        last=True,
    )


async def online(store: Store, session: Session | None = None) -> Session:
    """A session that is open and visible; its user is bound."""
    session = session or a_session()
    await store.bind_user(a_user(session.user))
    await store.open_session(session)
    await store.set_endpoints(session.peer_id, session.token_hash, REACHABLE, True)
    return session


async def sharing(store: Store, *resources: Resource, session: Session | None = None) -> Session:
    session = await online(store, session)
    await store.announce(session.peer_id, a_snapshot(1, *resources), NO_LIMIT)
    return session


async def found(
    store: Store, criteria: Criteria | None = None, page_size: int = 1000
) -> list[Resource]:
    """All resources found, page by page."""
    resources: list[Resource] = []
    after: SortKey | None = None
    while True:
        page = await store.query(criteria or Criteria(), after, page_size)
        resources += [row.resource for row in page.rows]
        assert set(page.peers) == {row.peer_id for row in page.rows}
        if len(page.rows) < page_size:
            return resources
        after = page.rows[-1].sort_key


async def paths(store: Store, criteria: Criteria | None = None, page_size: int = 1000) -> list[str]:
    return [resource.path for resource in await found(store, criteria, page_size)]


async def purged(store: Store, ended_before: float = 0, most_rows: int = 1000) -> int:
    """How many rows went, in slices, until nothing was left."""
    total = 0
    while rows := await store.purge(ended_before, most_rows):
        assert rows <= most_rows
        total += rows
    return total
