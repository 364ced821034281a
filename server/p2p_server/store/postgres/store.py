"""The store in a PostgreSQL database that several instances of a directory share.

What is done stands in the modules beside this one, as functions of a connection; here is what is
one transaction, how durable it is, and who is told of it.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial

from p2p_server.config import without_password
from p2p_server.directory.models import (
    Batch,
    Criteria,
    Digest,
    EndpointStatus,
    HoldingRow,
    Page,
    PeerId,
    PeerRow,
    Resource,
    Revision,
    Session,
    SortKey,
    Totals,
    User,
)
from p2p_server.directory.watching.changes import TellChange
from p2p_server.store.base import Change, Renewal
from p2p_server.store.errors import StoreUnusable
from p2p_server.store.postgres import accounts, leases
from p2p_server.store.postgres.answers import holders, search
from p2p_server.store.postgres.catalog import announce, purge
from p2p_server.store.postgres.changes import Changes
from p2p_server.store.postgres.pool import LOST, Connection, Lane, Pool
from p2p_server.store.postgres.schema import migrate


class PostgresStore:
    """Implements `SharedStore`."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._pool = Pool(url)
        self._changes = Changes(self._pool)

    async def open(self) -> None:
        try:
            await migrate(self._pool)
        except LOST as failure:
            raise StoreUnusable(
                f"cannot open the database {without_password(self.url)}: "
                f"{str(failure) or type(failure).__name__}"
            ) from failure
        await self._pool.open()

    async def close(self) -> None:
        await self._pool.close()

    # --- accounts ------------------------------------------------------------------------------

    async def secrets(self, make: Callable[[], Mapping[str, bytes]]) -> Mapping[str, bytes]:
        held = await self._pool.at_once(accounts.read_secrets)
        return held or await self._pool.do(
            lambda connection: accounts.ensure_secrets(connection, make), durable=True
        )

    async def bind_user(self, user: User) -> User:
        # Nearly always the name is bound already: then nothing waits for the disk.
        holder = await self._pool.at_once(lambda c: accounts.find_user(c, user.name))
        if holder is not None:
            return holder
        return await self._pool.do(lambda c: accounts.bind_user(c, user), durable=True)

    async def users(self) -> Sequence[User]:
        return await self._pool.at_once(accounts.users)

    async def remove_user(self, name: str) -> bool:
        async def work(connection: Connection) -> bool:
            was_there, gone = await accounts.remove_user(connection, name)
            await self._changes.tell_sessions(connection, gone)
            return was_there

        return await self._pool.do(work, durable=True)

    async def open_session(self, session: Session) -> Revision:
        async def work(connection: Connection) -> Revision:
            held = await accounts.open_session(connection, session)
            await self._changes.tell_sessions(connection, [session.peer_id])
            return held

        return await self._pool.do(work)

    async def sessions(self) -> Sequence[Session]:
        return await self._pool.at_once(accounts.sessions)

    async def sessions_of(self, peer_ids: Collection[PeerId]) -> Sequence[Session]:
        return await self._pool.at_once(lambda c: accounts.sessions_of(c, peer_ids))

    async def find_session(self, token_hash: bytes) -> Session | None:
        return await self._pool.at_once(lambda c: accounts.find_session(c, token_hash))

    async def set_endpoints(
        self, peer_id: PeerId, token_hash: bytes, statuses: Sequence[EndpointStatus], visible: bool
    ) -> None:
        async def work(connection: Connection) -> None:
            if await accounts.set_endpoints(connection, peer_id, token_hash, statuses, visible):
                await self._changes.tell_sessions(connection, [peer_id])

        await self._pool.do(work)

    async def end_sessions(self, token_hashes: Collection[bytes], ended_at: float) -> None:
        async def work(connection: Connection) -> None:
            ended = await accounts.end_sessions(connection, token_hashes, ended_at)
            await self._changes.tell_sessions(connection, ended)

        await self._pool.do(work)

    # --- leases --------------------------------------------------------------------------------

    async def renew_leases(self, renewals: Collection[Renewal]) -> None:
        loads = {r.peer_id: r.load for r in renewals if r.load is not None}
        for part in leases.slices(renewals):
            await self._pool.do(partial(leases.renew, renewals=part))
        if loads:
            await self._pool.do(lambda c: self._changes.tell_loads(c, loads))

    async def end_expired(self, token_hashes: Collection[bytes]) -> Mapping[bytes, float]:
        async def work(connection: Connection) -> Mapping[bytes, float]:
            ended, lasting = await leases.end_expired(connection, token_hashes)
            await self._changes.tell_sessions(connection, ended)
            return lasting

        return await self._pool.do(work)

    async def use_challenge(self, challenge: bytes) -> bool:
        return await self._pool.at_once(lambda c: leases.use_challenge(c, challenge))

    # --- changes -------------------------------------------------------------------------------

    def listen(self, callback: Callable[[Change], None]) -> None:
        self._changes.listen(callback)

    async def run(self) -> None:
        await self._changes.run()

    async def follow(self, tell: TellChange | None) -> None:
        await self._changes.follow(tell)

    async def others_version(self) -> int | None:
        return None

    async def ping(self) -> None:
        await self._pool.at_once(lambda c: c.fetchval("SELECT 1"))

    async def totals(self) -> Totals:
        return await self._pool.at_once(holders.totals)

    # --- catalog -------------------------------------------------------------------------------

    async def purge(self, ended_before: float, most_rows: int) -> int:
        async def work(connection: Connection) -> int:
            deleted, _ = await purge.purge(connection, ended_before, most_rows)
            return deleted

        return await self._pool.do(work, Lane.CATALOG)

    async def held_revision(self, peer_id: PeerId) -> Revision:
        return await self._pool.at_once(lambda c: announce.held_revision(c, peer_id))

    async def announce(
        self, peer_id: PeerId, batch: Batch, max_resources_per_user: int
    ) -> Revision:
        async def work(connection: Connection) -> Revision:
            wanted = not batch.snapshot_id and await self._changes.want_deltas(connection)
            outcome = await announce.announce(
                connection, peer_id, batch, max_resources_per_user, wants_before=wanted
            )
            if outcome.is_changed:
                await self._changes.tell_catalog(
                    connection, peer_id, batch, outcome, with_delta=wanted
                )
            return outcome.held

        return await self._pool.do(work, Lane.CATALOG)

    # --- answers -------------------------------------------------------------------------------

    async def query(self, criteria: Criteria, after: SortKey | None, limit: int) -> Page:
        return await self._pool.look(lambda c: search.query(c, criteria, after, limit))

    async def peers(
        self, user: str, after: tuple[str, PeerId] | None, limit: int
    ) -> Sequence[PeerRow]:
        return await self._pool.look(lambda c: holders.peers(c, user, after, limit))

    async def catalog_of(self, peer_id: PeerId, after_path: str, limit: int) -> Sequence[Resource]:
        return await self._pool.at_once(lambda c: holders.catalog_of(c, peer_id, after_path, limit))

    async def locate(
        self, digests: Sequence[Digest], after: tuple[int, PeerId] | None, limit: int
    ) -> tuple[Sequence[HoldingRow], Mapping[PeerId, PeerRow]]:
        return await self._pool.look(lambda c: holders.locate(c, digests, after, limit))
