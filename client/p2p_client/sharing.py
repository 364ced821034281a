"""What a sharing peer has beyond a client-only one: a library, a server, and the folder's lock."""

import contextlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from p2p_client.config import Settings
from p2p_client.library.catalog import Catalog
from p2p_client.library.library import Library, LibraryEvent, Skipped
from p2p_client.memory import keep_freed_memory
from p2p_client.models import Endpoint, EndpointStatus, Granted, PeerId, RejectedItem, Verdict
from p2p_client.net.identity import Identity
from p2p_client.state import StateFolder, default_state_dir
from p2p_client.upload.serve import UploadServer

STOP_GRACE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class ShareReady:
    """All that was given to share is hashed, announced and judged.

    `endpoint` is None when the directory found no way to reach us; `endpoint_statuses` says why.
    """

    endpoint: Endpoint | None
    resources: int
    size_bytes: int
    skipped: tuple[Skipped, ...]
    rejected: tuple[RejectedItem, ...]
    endpoint_statuses: tuple[EndpointStatus, ...]


class Sharing:
    """The listed side of a peer, from `open` to `close`.

    Args:
        clock: the directory's time, by which grants are judged.
    """

    def __init__(
        self,
        state: StateFolder,
        identity: Identity,
        settings: Settings,
        *,
        insecure: bool,
        clock: Callable[[], datetime],
    ) -> None:
        self._lock = contextlib.ExitStack()
        self._lock.enter_context(state.sharing_lock())
        self._listen = settings.listen
        self._listeners: list[Callable[[LibraryEvent], None]] = []
        self.peer_id: PeerId = state.peer_id()
        self.catalog = Catalog(epoch=secrets.token_urlsafe(12))
        private = (state.path, default_state_dir())
        self.library = Library(state.cache_file, self.catalog, self._tell, private=private)
        self._server = UploadServer(
            self.library,
            identity,
            self.peer_id,
            insecure=insecure,
            max_uploads=settings.max_uploads,
            idle_timeout_seconds=settings.idle_timeout_seconds,
            clock=clock,
            limit_bytes_per_second=settings.limit_up_bytes_per_second,
        )

    async def open(self) -> int:
        """Listens; answers the port. Raises LocalRefusal when it is taken."""
        keep_freed_memory()
        try:
            return await self._server.start(self._listen)
        except BaseException:
            self._lock.close()
            raise

    def listen_to(self, listener: Callable[[LibraryEvent], None]) -> None:
        self._listeners.append(listener)

    def trust_grants(self, granted: Granted) -> None:
        """From now on grants of this directory let downloaders in."""
        self._server.trust(granted.directory_id, granted.grant_key_der)

    @property
    def active_uploads(self) -> int:
        return self._server.active_uploads

    def ready_report(
        self, statuses: tuple[EndpointStatus, ...], rejected: tuple[RejectedItem, ...]
    ) -> ShareReady:
        return ShareReady(
            endpoint=_best_endpoint(statuses),
            resources=self.catalog.resource_count,
            size_bytes=self.catalog.size_bytes,
            skipped=tuple(self.library.skipped),
            rejected=rejected,
            endpoint_statuses=statuses,
        )

    async def close(self) -> None:
        """Ends the streams after a short grace, and frees the state folder for another sharer."""
        try:
            await self._server.stop(STOP_GRACE_SECONDS)
        finally:
            self._lock.close()

    def _tell(self, event: LibraryEvent) -> None:
        for listener in self._listeners:
            listener(event)


def _best_endpoint(statuses: tuple[EndpointStatus, ...]) -> Endpoint | None:
    """The endpoint to show a person: one that others reach, else one that neighbours reach."""
    for verdict in (Verdict.REACHABLE, Verdict.LOCAL_ONLY):
        for status in statuses:
            if status.verdict is verdict:
                return status.endpoint
    return None
