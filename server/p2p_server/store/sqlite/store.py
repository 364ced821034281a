"""The store in one SQLite file: which thread does what, how urgently, and how durably.

What is done stands in the modules beside this one, as functions of a connection.
"""

import asyncio
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import apsw

from p2p_server.directory.errors import StoreUnavailable
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
from p2p_server.directory.watching.changes import Change, TellChange
from p2p_server.store.sqlite import accounts
from p2p_server.store.sqlite.answers import holders, search
from p2p_server.store.sqlite.answers.rarity import Rarity, sample
from p2p_server.store.sqlite.answers.search import Hints
from p2p_server.store.sqlite.answers.zones import Zones
from p2p_server.store.sqlite.catalog import announce, items, purge
from p2p_server.store.sqlite.connection import (
    BUSY_TIMEOUT_MS,
    WAL_LIMIT_BYTES,
    connect_mover,
    connect_reader,
    failures_translated,
    prepare,
    reading,
    writing,
)
from p2p_server.store.sqlite.noting import Note
from p2p_server.store.sqlite.sql import first_row
from p2p_server.store.sqlite.threads.checkpoints import Checkpoints
from p2p_server.store.sqlite.threads.lanes import Lane, Urgency

T = TypeVar("T")

READERS = 3
SAMPLE_SECONDS = 60.0  # so old may be what is known of the frequency of trigrams
PLACE_SECONDS = 0.5  # and so old the last row of which it is known where it lies


class SqliteStore:
    """Implements `Store`. Other processes may use the same file meanwhile."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer = Lane("store-writer", self._connect_writer, 1)
        self._mover = Lane("store-mover", partial(connect_mover, path), 1)
        self._checkpoints = Checkpoints(self._writer, self._mover)
        self._tell: TellChange | None = None
        self._rarity = Rarity()
        self._sampled_at = -SAMPLE_SECONDS
        self._zones = Zones()
        self._placed_at = -PLACE_SECONDS
        self._is_placing = False
        self._is_refusing = False  # whether the last change could not be made
        self._noted: list[Change] = []  # by the transaction that runs; only the writer's thread
        self._loop: asyncio.AbstractEventLoop | None = None
        self._readers = Lane("store-reader", partial(connect_reader, path), READERS)

    async def open(self) -> None:
        self._zones = Zones()  # numbers of rows are good for one opening
        self._is_placing = False  # what was to go on when it was closed is forgotten
        await self._writer.start()
        try:
            await self._mover.start()
            await self._readers.start()
        except BaseException:
            await self._mover.stop()
            await self._writer.stop()
            raise

    def _connect_writer(self) -> apsw.Connection:
        connection = prepare(self._path)
        items.make_ready(connection)
        self._checkpoints.follow(connection)
        return connection

    async def close(self) -> None:
        """Ends queries that run; lets the write that runs come to its end."""
        self._readers.interrupt()
        try:
            await self._readers.stop()
            await self._mover.stop()
        finally:
            await self._writer.stop()

    async def secrets(self, make: Callable[[], Mapping[str, bytes]]) -> Mapping[str, bytes]:
        held = await self._read(accounts.read_secrets)
        return held or await self._write(
            lambda connection: accounts.ensure_secrets(connection, make), durable=True
        )

    async def ping(self) -> None:
        await self._read(lambda connection: first_row(connection, "SELECT 1"))
        if self._is_refusing:  # as with a full disk: seen to be over by a change that is none
            await self._write(lambda c: c.execute("UPDATE secrets SET value = value").fetchall())

    async def others_version(self) -> int | None:
        """Told by the writer's connection: it alone makes changes in this process."""
        version = await self._writer.run(lambda c: c.pragma("data_version"), Urgency.SESSION)
        return int(version)

    async def totals(self) -> Totals:
        return await self._read(holders.totals)

    async def bind_user(self, user: User) -> User:
        # Nearly always the name is bound already: then nothing waits for the disk.
        holder = await self._read(lambda connection: accounts.find_user(connection, user.name))
        if holder is not None:
            return holder
        return await self._write(
            lambda connection: accounts.bind_user(connection, user), durable=True
        )

    async def users(self) -> Sequence[User]:
        return await self._read(accounts.users)

    async def remove_user(self, name: str) -> bool:
        return await self._write(
            lambda connection: accounts.remove_user(connection, name, self._note), durable=True
        )

    async def open_session(self, session: Session) -> Revision:
        return await self._write(
            lambda connection: accounts.open_session(connection, session, self._note)
        )

    async def sessions(self) -> Sequence[Session]:
        return await self._read(accounts.sessions)

    async def find_session(self, token_hash: bytes) -> Session | None:
        return await self._read(lambda connection: accounts.find_session(connection, token_hash))

    async def set_endpoints(
        self, peer_id: PeerId, token_hash: bytes, statuses: Sequence[EndpointStatus], visible: bool
    ) -> None:
        await self._write(
            lambda connection: accounts.set_endpoints(
                connection, peer_id, token_hash, statuses, visible, self._note
            )
        )

    async def end_sessions(self, token_hashes: Collection[bytes], ended_at: float) -> None:
        await self._write(
            lambda connection: accounts.end_sessions(connection, token_hashes, ended_at, self._note)
        )

    async def purge(self, ended_before: float, most_rows: int) -> int:
        deleted = await self._write(
            lambda connection: purge.purge(connection, ended_before, most_rows), Urgency.UPKEEP
        )
        if not deleted:
            await self._writer.run(
                lambda connection: purge.trim_log(
                    connection, self._path, WAL_LIMIT_BYTES, BUSY_TIMEOUT_MS
                ),
                Urgency.UPKEEP,
            )
        return deleted

    async def held_revision(self, peer_id: PeerId) -> Revision:
        return await self._read(lambda connection: announce.held_revision(connection, peer_id))

    async def announce(
        self, peer_id: PeerId, batch: Batch, max_resources_per_user: int
    ) -> Revision:
        return await self._write(
            lambda connection: announce.announce(
                connection, peer_id, batch, max_resources_per_user, self._note
            ),
            Urgency.CATALOG,
        )

    async def query(self, criteria: Criteria, after: SortKey | None, limit: int) -> Page:
        self._learn(time.monotonic())
        hints = Hints(self._rarity, self._zones)
        return await self._read(
            lambda connection: search.query(connection, criteria, after, limit, hints)
        )

    def _learn(self, now: float) -> None:
        """Has the readers look, when they have nothing else to do, at what makes queries short."""
        if now - self._sampled_at > SAMPLE_SECONDS:
            self._sampled_at = now
            self._readers.post(self._sample, Urgency.UPKEEP)
        if now - self._placed_at > PLACE_SECONDS and not self._is_placing:
            self._placed_at = now
            self._is_placing = True
            self._readers.post(self._place, Urgency.UPKEEP)

    def _sample(self, connection: apsw.Connection) -> None:
        with reading(connection):
            self._rarity = sample(connection)

    def _place(self, connection: apsw.Connection) -> None:
        goes_on = False
        try:
            with failures_translated(), reading(connection):
                goes_on = self._zones.place(connection)
        finally:
            self._is_placing = goes_on
        if goes_on:
            self._readers.post(self._place, Urgency.UPKEEP)

    async def peers(
        self, user: str, after: tuple[str, PeerId] | None, limit: int
    ) -> Sequence[PeerRow]:
        return await self._read(lambda connection: holders.peers(connection, user, after, limit))

    async def locate(
        self, digests: Sequence[Digest], after: tuple[int, PeerId] | None, limit: int
    ) -> tuple[Sequence[HoldingRow], Mapping[PeerId, PeerRow]]:
        return await self._read(
            lambda connection: holders.locate(connection, digests, after, limit)
        )

    async def catalog_of(self, peer_id: PeerId, after_path: str, limit: int) -> Sequence[Resource]:
        return await self._read(
            lambda connection: holders.catalog_of(connection, peer_id, after_path, limit)
        )

    async def follow(self, tell: TellChange | None) -> None:
        self._loop, self._tell = asyncio.get_running_loop(), tell
        if tell is not None:
            # Whatever began before the line above has ended when this has had its turn.
            await self._writer.run(lambda _: None, Urgency.SESSION)

    @property
    def _note(self) -> Note | None:
        """Asked in the writer's thread, once a transaction."""
        return None if self._tell is None else self._noted.append

    def _tell_noted(self) -> None:
        """After the commit, in the writer's thread: before whoever waits for the work goes on."""
        noted, self._noted = self._noted, []
        if noted and self._loop is not None:
            self._loop.call_soon_threadsafe(self._tell_all, noted)

    def _tell_all(self, noted: Sequence[Change]) -> None:
        for change in noted:
            if self._tell is not None:
                self._tell(change)

    async def _read(self, work: Callable[[apsw.Connection], T]) -> T:
        def read(connection: apsw.Connection) -> T:
            with reading(connection):
                return work(connection)

        return await self._readers.run(read)

    async def _write(
        self,
        work: Callable[[apsw.Connection], T],
        urgency: Urgency = Urgency.SESSION,
        *,
        durable: bool = False,
    ) -> T:
        def write(connection: apsw.Connection) -> T:
            self._noted = []
            try:
                with failures_translated(), writing(connection, durable=durable):
                    result = work(connection)
            except StoreUnavailable:
                self._is_refusing = True
                raise
            self._is_refusing = False
            self._tell_noted()
            return result

        return await self._writer.run(write, urgency)
