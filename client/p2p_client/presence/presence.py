"""In which session a peer is at the directory: client-only until it shares, listed from then on.

A session opens with the first call that needs one. What is shared, and how it is served, is
`sharing.py`'s; how a session is kept alive is `membership/`'s.
"""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from p2p_client.config import Settings
from p2p_client.membership.driver import Membership
from p2p_client.models import Endpoint, PeerId
from p2p_client.net.directory import DirectoryClient
from p2p_client.net.endpoints import candidate_endpoints
from p2p_client.net.identity import Identity
from p2p_client.presence.background import Background
from p2p_client.state import Joined, StateFolder

if TYPE_CHECKING:  # loading these takes time that a `search` or `get` need not pay for
    from p2p_client.download.partial.exhibit import OpenExhibit
    from p2p_client.library.events import LibraryEvent
    from p2p_client.presence.sharing import ShareReady, Sharing

Notice = Callable[[str], None]
T = TypeVar("T")


class Presence:
    """
    Args:
        joined: where, and as which user.
        background: started before any method is called.
        on_notice: told one sentence per event worth one.
    """

    def __init__(
        self,
        settings: Settings,
        state: StateFolder,
        identity: Identity,
        directory: DirectoryClient,
        joined: Joined,
        background: Background,
        on_notice: Notice,
    ) -> None:
        self.peer_id = PeerId(secrets.token_urlsafe(16))
        self._settings = settings
        self._state = state
        self._identity = identity
        self._directory = directory
        self._joined = joined
        self._background = background
        self._on_notice = on_notice
        self._membership: Membership | None = None
        self._membership_task: asyncio.Task[None] | None = None
        self._sharing: Sharing | None = None
        self._port = 0
        self._opening = asyncio.Lock()

    @property
    def active_uploads(self) -> int:
        return self._sharing.active_uploads if self._sharing else 0

    @property
    def uploaded_bytes(self) -> int:
        """Of contents, to all who fetched from us."""
        return self._sharing.uploaded_bytes if self._sharing else 0

    def exhibit(self, *, keep: bool) -> "OpenExhibit | None":
        """Shows a download that begins now; None: nobody can fetch from us.

        Args:
            keep: whether its file is shared when it has ended.
        """
        if self._sharing is None:
            return None
        return self._sharing.open_kept_exhibit if keep else self._sharing.open_exhibit

    # --- the session ---------------------------------------------------------------------------

    async def session(self) -> Membership:
        """The session, opened if there is none. Raises the DirectoryError family."""
        async with self._opening:
            if self._membership is None:
                self._open_session(None, (), 0)
        assert self._membership is not None
        await self._membership.joined()
        return self._membership

    async def call(self, work: Callable[[DirectoryClient], Awaitable[T]]) -> T:
        membership = await self.session()
        return await membership.call(work)

    async def leave(self) -> None:
        """Ends the session and then the streams, so that nobody is sent to a peer that is going."""
        await self._end_session()
        if self._sharing is not None:
            await self._sharing.close()

    async def _end_session(self) -> None:
        if self._membership is not None and self._membership_task is not None:
            await self._membership.leave()
            self._membership_task.cancel()

    def _open_session(
        self, sharing: "Sharing | None", endpoints: tuple[Endpoint, ...], port: int
    ) -> None:
        self._membership = Membership(
            self._directory,
            self._identity,
            self._joined.user,
            self.peer_id,
            catalog=sharing.catalog if sharing else None,
            endpoints=endpoints,
            listen_port=port,
            load=lambda: (self.active_uploads, self._settings.max_uploads),
            on_notice=self._on_notice,
            on_granted=sharing.trust_grants if sharing else None,
        )
        self._membership_task = self._background.add(self._membership.run())

    # --- sharing -------------------------------------------------------------------------------

    async def share(
        self, paths: Sequence[Path], on_event: "Callable[[LibraryEvent], None] | None"
    ) -> "ShareReady":
        """See `Peer.share`."""
        async with self._opening:
            sharing = await self._open_sharing()
            if on_event is not None:
                sharing.listen_to(on_event)
            for path in paths:
                await sharing.library.add(path)
            await self._open_listed_session(sharing)
        membership = await self.session()
        await sharing.library.ready()
        await membership.announced()
        return sharing.ready_report(tuple(membership.endpoint_statuses), tuple(membership.rejected))

    async def listen(self) -> None:
        """See `Peer.listen`."""
        async with self._opening:
            sharing = await self._open_sharing()
            if self.peer_id != sharing.peer_id:
                sharing.listen_to(self._on_library_event)
                # Nothing is going to be scanned: what an earlier run shared is not waited for.
                sharing.catalog.settled = True
                await self._open_listed_session(sharing)
        await self.session()

    def _on_library_event(self, event: "LibraryEvent") -> None:
        from p2p_client.library.events import Notice as LibraryNotice

        if isinstance(event, LibraryNotice):
            self._on_notice(event.text)

    async def _open_sharing(self) -> "Sharing":
        from p2p_client.presence.sharing import Sharing

        if self._sharing is None:
            sharing = Sharing(
                self._state,
                self._identity,
                self._settings,
                insecure=self._joined.insecure,
                clock=self._directory_time,
            )
            self._port = await sharing.open()
            self._sharing = sharing
        return self._sharing

    async def _open_listed_session(self, sharing: "Sharing") -> None:
        """Puts a listed session in the place of a client-only one, once."""
        if self.peer_id == sharing.peer_id:
            return
        endpoints = await candidate_endpoints(
            self._settings.listen, self._port, self._settings.advertise, self._joined.server
        )
        await self._end_session()
        self.peer_id = sharing.peer_id
        everywhere = self._settings.listen.host in ("", "::", "0.0.0.0")
        self._open_session(sharing, endpoints, self._port if everywhere else 0)
        self._background.add(sharing.library.run())

    def _directory_time(self) -> datetime:
        assert self._membership is not None
        return self._membership.clock.now(time.monotonic())
