"""What a sharing peer has beyond a client-only one: a library, a server, and the folder's lock."""

import contextlib
import secrets
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from p2p_client.config import Settings
from p2p_client.content.manifest import Manifest, PieceIndex
from p2p_client.content.piece_map import PieceMap
from p2p_client.download.partial.exhibit import Exhibit, OpenReader
from p2p_client.errors import PeerError
from p2p_client.library.catalog import Catalog
from p2p_client.library.events import Listed, Notice
from p2p_client.library.library import Library, LibraryEvent, Skipped
from p2p_client.models import (
    Digest,
    Endpoint,
    EndpointStatus,
    Granted,
    PeerId,
    RejectedItem,
    Verdict,
)
from p2p_client.net.identity import Identity
from p2p_client.records import dataclass
from p2p_client.state import StateFolder, default_state_dir
from p2p_client.transfer.memory import keep_freed_memory
from p2p_client.upload.serve import UploadServer
from p2p_client.upload.shown.contents import Contents
from p2p_client.upload.shown.partials import Partial, Partials

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
        self.partials = Partials(self.catalog)
        self._until_listed: dict[Digest, Partial] = {}
        self._server = UploadServer(
            Contents(self.library, self.partials),
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

    @property
    def uploaded_bytes(self) -> int:
        return self._server.uploaded_bytes

    # --- downloads that others may fetch from while they run -----------------------------------

    def open_exhibit(
        self, digest: Digest, manifest: Manifest, held: PieceMap, open_reader: OpenReader
    ) -> Exhibit | None:
        """Of a download that is on its own when it has ended."""
        return self._show(digest, manifest, held, open_reader, keep=False)

    def open_kept_exhibit(
        self, digest: Digest, manifest: Manifest, held: PieceMap, open_reader: OpenReader
    ) -> Exhibit | None:
        """Of a download whose file is shared when it has ended."""
        return self._show(digest, manifest, held, open_reader, keep=True)

    def _show(
        self,
        digest: Digest,
        manifest: Manifest,
        held: PieceMap,
        open_reader: OpenReader,
        *,
        keep: bool,
    ) -> Exhibit | None:
        try:
            partial = self.partials.show(digest, manifest, held, open_reader)
        except PeerError as error:
            self._tell(Notice(f"{error}; nobody can fetch from this download"))
            return None
        return _Exhibit(self, partial, keep=keep)

    async def adopt(self, path: Path, partial: Partial, *, keep: bool) -> None:
        """The download stands complete under this path: it is not hashed again, and shared if it is
        to be kept. Until it is listed as a file, it goes on to be shown as it was."""
        is_shared = self.library.has(partial.digest) or partial.digest in self._until_listed
        keep = keep and not is_shared
        if keep:
            self._until_listed[partial.digest] = partial
        try:
            await self.library.know(path, partial.settle(), partial.digest, partial.manifest)
            if keep:
                await self.library.add(path)
        except PeerError as error:
            if keep:
                self._tell(Notice(f"{error}; others can fetch it as long as this program runs"))
        if not keep:
            self.partials.close(partial)

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
            self.partials.close_all()
            self._lock.close()

    def _tell(self, event: LibraryEvent) -> None:
        if isinstance(event, Listed) and event.digest in self._until_listed:
            self.partials.close(self._until_listed.pop(event.digest))
        for listener in self._listeners:
            listener(event)


class _Exhibit:
    """One download as it is shown."""

    def __init__(self, sharing: Sharing, partial: Partial, *, keep: bool) -> None:
        self.peer_id: PeerId | None = sharing.peer_id
        self._sharing = sharing
        self._partial = partial
        self._keep = keep

    def hold(self, index: PieceIndex) -> None:
        self._partial.hold(index)

    def close(self, *, is_doubtful: bool = False) -> None:
        self._sharing.partials.close(self._partial, is_doubtful=is_doubtful)

    async def publish(self, path: Path) -> None:
        if not self._partial.is_closed:
            await self._sharing.adopt(path, self._partial, keep=self._keep)


def _best_endpoint(statuses: tuple[EndpointStatus, ...]) -> Endpoint | None:
    """The endpoint to show a person: one that others reach, else one that neighbours reach."""
    for verdict in (Verdict.REACHABLE, Verdict.LOCAL_ONLY):
        for status in statuses:
            if status.verdict is verdict:
                return status.endpoint
    return None
