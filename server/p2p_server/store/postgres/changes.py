"""How instances tell each other what changed: NOTIFY when they change it, LISTEN all the time.

A notification travels with the commit of what it tells, in the order of commits. It says which
peers changed, not how: whoever hears it looks into the store. Owns the connection that listens, and
its return after an outage.
"""

import asyncio
import contextlib
import json
import logging
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final

import asyncpg

from p2p_server.directory.errors import DirectoryError, StoreUnavailable
from p2p_server.directory.models import Batch, PeerId, Revision
from p2p_server.directory.presence.registration import PeerLoad
from p2p_server.directory.watching.changes import TellChange
from p2p_server.store.base import (
    CatalogChanged,
    Change,
    ChangesMissed,
    LoadsChanged,
    SessionsChanged,
)
from p2p_server.store.postgres.catalog import feed
from p2p_server.store.postgres.catalog.announce import Outcome
from p2p_server.store.postgres.following import Following
from p2p_server.store.postgres.hearing import Heard, Missed
from p2p_server.store.postgres.pool import LOST, SCHEMA, Connection, Pool
from p2p_server.store.postgres.schema import LOCK

CHANNEL: Final = SCHEMA
MOST_PAYLOAD_CHARACTERS: Final = 7_000  # of PostgreSQL's 8,000 bytes; what we send is ASCII
FOLLOW_SECONDS: Final = 10.0
RETURN_SECONDS: Final = 0.5
LOOK_SECONDS: Final = 1.0
LISTENING: Final = 2  # the second key of the advisory lock that each instance shares

log = logging.getLogger(__name__)


class Changes:
    """One instance's share in the talk."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._us = secrets.token_hex(4)
        self.following = Following(pool)
        self._heard: Heard | None = None  # None: nothing is heard
        self._callbacks: list[Callable[[Change], None]] = []

    def listen(self, callback: Callable[[Change], None]) -> None:
        self._callbacks.append(callback)

    # --- telling -------------------------------------------------------------------------------

    async def tell_sessions(self, connection: Connection, peer_ids: Sequence[PeerId]) -> None:
        for part in _parts(peer_ids, len):
            await self._notify(connection, "sessions", part)

    async def tell_loads(self, connection: Connection, loads: Mapping[PeerId, PeerLoad]) -> None:
        written = [(peer, load.active_uploads, load.max_uploads) for peer, load in loads.items()]
        for part in _parts(written, lambda item: len(item[0]) + 24):
            await self._notify(connection, "loads", part)

    async def want_deltas(self, connection: Connection) -> bool:
        """Whether anybody looks at what a delta changed."""
        return self.following.is_on or await _do_others_listen(connection)

    async def tell_catalog(
        self,
        connection: Connection,
        peer_id: PeerId,
        batch: Batch,
        outcome: Outcome,
        *,
        with_delta: bool,
    ) -> None:
        number = None
        if with_delta:
            number = await feed.put_delta(connection, feed.Delta(batch, outcome.before))
        held = outcome.held
        what = [peer_id, held.epoch, held.counter, number, outcome.is_first]
        await self._notify(connection, "catalog", what)

    async def _notify(self, connection: Connection, kind: str, what: object) -> None:
        payload = json.dumps([self._us, kind, what], separators=(",", ":"))
        await connection.execute("SELECT pg_notify($1, $2)", CHANNEL, payload)

    # --- hearing -------------------------------------------------------------------------------

    async def run(self) -> None:
        """Listens until cancelled."""
        while True:
            with contextlib.suppress(*LOST):  # whoever asks for the store's health tells of it
                await self._hear(await self._pool.connect())
            await asyncio.sleep(RETURN_SECONDS)

    async def _hear(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        """Hears the others until the connection is lost."""
        heard = Heard()
        try:
            await connection.add_listener(CHANNEL, lambda *said: heard.hear(str(said[-1])))
            await connection.execute(
                "SELECT pg_advisory_lock_shared($1::int, $2::int)", LOCK, LISTENING
            )
            self._heard = heard
            await self._look_at_everything()
            while True:
                # Raises when the connection is lost, which nothing else would show.
                await connection.fetchval("SELECT 1", timeout=LOOK_SECONDS * 3)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_SECONDS):
                        while True:
                            await self._take(await heard.next())
        except (*LOST, DirectoryError):
            log.debug("the connection that listens was lost")
        finally:
            self._heard = None
            connection.terminate()

    async def follow(self, tell: TellChange | None) -> None:
        """Raises StoreUnavailable while nothing can be heard."""
        self.following.set(tell)
        if tell is None:
            return
        begun = asyncio.Event()
        if self._heard is None:
            raise StoreUnavailable
        self._heard.wait_behind(begun)
        try:
            async with asyncio.timeout(FOLLOW_SECONDS):
                await begun.wait()
        except TimeoutError:
            raise StoreUnavailable from None

    async def _look_at_everything(self) -> None:
        self._tell(ChangesMissed())
        await self.following.begin_anew()

    async def _take(self, heard: str | asyncio.Event | Missed) -> None:
        if isinstance(heard, Missed):
            log.warning("the others change more than can be followed: looking at everything anew")
            await self._look_at_everything()
            return
        if isinstance(heard, asyncio.Event):
            await self.following.begin()
            heard.set()
            return
        try:
            await self._take_said(heard)
        except (ValueError, TypeError, AttributeError):
            # Whoever may connect may say anything there: look at everything, for it may be from
            # another version of ours.
            log.warning("another program speaks in the channel %s of the database", CHANNEL)
            await self._look_at_everything()

    async def _take_said(self, heard: str) -> None:
        who, kind, what = json.loads(heard)
        is_ours = who == self._us
        match kind:
            case "sessions":
                if not is_ours:
                    self._tell(SessionsChanged(tuple(what)))
                await self.following.sessions(list(map(PeerId, what)))
            case "loads" if not is_ours:
                self._tell(LoadsChanged({PeerId(p): PeerLoad(a, m) for p, a, m in what}))
            case "catalog":
                peer_id, epoch, counter, number, is_first = what
                if is_ours and not self.following.is_on:
                    return
                delta = None if number is None else await self._delta(number)
                if not is_ours:
                    batch = None if delta is None else delta.batch
                    self._tell(CatalogChanged(PeerId(peer_id), Revision(epoch, counter), batch))
                await self.following.catalog(PeerId(peer_id), delta, is_first=is_first)

    async def _delta(self, number: int) -> feed.Delta | None:
        """None: it cannot be had, so that the whole catalog must be looked at."""
        with contextlib.suppress(DirectoryError):
            return await self._pool.look(lambda connection: feed.delta(connection, number))
        return None

    def _tell(self, change: Change) -> None:
        for callback in self._callbacks:
            callback(change)


async def _do_others_listen(connection: Connection) -> bool:
    """One instance alone need not leave anything for others to read."""
    listeners = await connection.fetchval(
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND classid = $1::oid "
        "AND objid = $2::oid AND objsubid = 2 AND database = "
        "(SELECT oid FROM pg_database WHERE datname = current_database())",
        LOCK,
        LISTENING,
    )
    return bool(listeners > 1)


def _parts(items: Iterable[object], size_of: Callable[..., int]) -> Iterator[list[object]]:
    """As many at a time as a notification holds."""
    part: list[object] = []
    size = 0
    for item in items:
        size += size_of(item) + 3
        if part and size > MOST_PAYLOAD_CHARACTERS:
            yield part
            part, size = [], size_of(item) + 3
        part.append(item)
    if part:
        yield part
