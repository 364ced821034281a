"""The public API and composition root of a peer.

    async with Peer(Settings(server=(Address("files.lab", 50051),), user="alice")) as peer:
        await peer.share(Path("photos"))
        for found in await peer.search("sunset"):
            print(found.peer.user, found.resource.path)
        await peer.download("bob:video/talk.mp4", directory=Path("downloads"))

A peer opens a session with the first call that needs one: client-only until `share`, listed from
then on. Its background work (heartbeats, announcing, hashing, serving) lives as long as the
`async with`.
"""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

from p2p_client.config import Address, Settings
from p2p_client.download.events import Event, Finished
from p2p_client.download.place.names import safe_name
from p2p_client.download.tree.events import TreeEvent, TreeFinished
from p2p_client.download.tree.plan import Tree
from p2p_client.errors import LocalRefusal, PeerError, UsageError
from p2p_client.finding.finder import Finder
from p2p_client.finding.resolve import Content
from p2p_client.membership.driver import Membership
from p2p_client.models import (
    Digest,
    Endpoint,
    Holding,
    PeerId,
)
from p2p_client.net.channels import PeerChannels
from p2p_client.net.directory import DirectoryClient
from p2p_client.net.endpoints import candidate_endpoints
from p2p_client.net.identity import Identity, load_or_create
from p2p_client.net.trust import KnownDirectories
from p2p_client.state import Joined, StateFolder, default_state_dir

if TYPE_CHECKING:  # these cost start-up time that a `search` need not pay, nor a `get` for sharing
    from p2p_client.download.download import Downloader
    from p2p_client.library.events import LibraryEvent
    from p2p_client.sharing import ShareReady, Sharing

REPORT_GRACE_SECONDS = 0.5
"""How long a peer that is left waits for sources to be told of bad pieces, if there were any."""

Notice = Callable[[str], None]
T = TypeVar("T")


class Peer(Finder):
    """One peer of one user; see the module's example. Not to be entered twice.

    Args:
        settings: fields left at None come from what `join` stored in the state folder.
        on_notice: told one sentence whenever something happens that a person might want to know
            (directory lost and back, an item refused).
    Raises from entering: UsageError without a directory or user; LocalRefusal for an unusable state
    folder.
    """

    def __init__(
        self, settings: Settings | None = None, *, on_notice: Notice | None = None
    ) -> None:
        super().__init__(self._call)
        self._settings = settings or Settings()
        self._on_notice = on_notice or (lambda _: None)
        self._tasks = asyncio.TaskGroup()
        self._background: list[asyncio.Task[None]] = []
        self._failure: asyncio.Future[None] | None = None
        self._membership: Membership | None = None
        self._membership_task: asyncio.Task[None] | None = None
        self._sharing: Sharing | None = None
        self._downloads: Downloader | None = None
        self._opening = asyncio.Lock()

    # --- life ----------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        self.state = StateFolder(self._settings.state_dir or default_state_dir())
        joined = self._joined()
        self._servers, self.user, self._insecure = _who_and_where(self._settings, joined)
        self._identity: Identity = await asyncio.to_thread(load_or_create, self.state.identity_file)
        self.peer_id = PeerId(secrets.token_urlsafe(16))
        self._known = KnownDirectories(self.state.path)
        self._directory = DirectoryClient(
            self._servers,
            known=self._known,
            pinned=self._settings.fingerprint,
            insecure=self._insecure,
            timeout_seconds=self._settings.directory_timeout_seconds,
        )
        self._channels = PeerChannels(insecure=self._insecure)
        self._failure = asyncio.get_running_loop().create_future()
        await self._tasks.__aenter__()
        return self

    def _joined(self) -> Joined | None:
        try:
            return self.state.joined()
        except LocalRefusal:
            if self._settings.server and self._settings.user:
                return None  # nothing of it is needed, and `join` mends it
            raise

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            await self._end_session()
            if self._sharing is not None:
                await self._sharing.close()
            if self._downloads is not None:
                await self._downloads.reports.settle(REPORT_GRACE_SECONDS)
        finally:
            for task in self._background:
                task.cancel()
            # The body's own error must come out as it is, not inside a group.
            await self._tasks.__aexit__(None, None, None)
            await self._channels.close()
            await self._directory.close()
            if self._failure is not None:
                self._failure.cancel()

    async def _end_session(self) -> None:
        """Leaves the directory, so that nobody is sent to a peer that is going."""
        if self._membership is not None and self._membership_task is not None:
            await self._membership.leave()
            self._membership_task.cancel()

    def _start(self, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        async def guarded() -> None:
            try:
                await work
            except PeerError as error:
                if self._failure is not None and not self._failure.done():
                    self._failure.set_exception(error)
                    self._failure.exception()  # seen: `stopped` need not be awaited

        task = self._tasks.create_task(guarded())
        self._background.append(task)
        return task

    async def stopped(self) -> None:
        """Waits for ever; raises when the background work has failed for good."""
        assert self._failure is not None, "enter the peer first"
        await asyncio.shield(self._failure)

    # --- who we are ----------------------------------------------------------------------------

    @property
    def fingerprint(self) -> str:
        """Our own key's fingerprint, 64 hex."""
        return self._identity.fingerprint

    @property
    def directory_address(self) -> str:
        return ",".join(map(str, self._servers))

    @property
    def directory_fingerprint(self) -> str | None:
        """The directory's, once it was seen; None before, and in an insecure network."""
        return self._directory.fingerprint

    @property
    def first_contact(self) -> bool:
        """Whether the directory's key was recorded by this very peer object."""
        return self._directory.first_contact

    @property
    def active_uploads(self) -> int:
        return self._sharing.active_uploads if self._sharing else 0

    @property
    def uploaded_bytes(self) -> int:
        """Of contents, to all who fetched from us."""
        return self._sharing.uploaded_bytes if self._sharing else 0

    # --- membership ----------------------------------------------------------------------------

    async def join(self) -> None:
        """Opens a session now. Raises the DirectoryError family."""
        await self._session()

    async def remember(self) -> None:
        """Keeps directory and user in the state folder for later runs."""
        self.state.remember(Joined(self._servers, self.user, self._insecure))

    async def _session(self) -> Membership:
        async with self._opening:
            if self._membership is None:
                self._open_session(None, (), 0)
        assert self._membership is not None
        await self._membership.joined()
        return self._membership

    def _open_session(
        self, sharing: "Sharing | None", endpoints: tuple[Endpoint, ...], port: int
    ) -> None:
        self._membership = Membership(
            self._directory,
            self._identity,
            self.user,
            self.peer_id,
            catalog=sharing.catalog if sharing else None,
            endpoints=endpoints,
            listen_port=port,
            load=lambda: (self.active_uploads, self._settings.max_uploads),
            on_notice=self._on_notice,
            on_granted=sharing.trust_grants if sharing else None,
        )
        self._membership_task = self._start(self._membership.run())

    async def _call(self, work: Callable[[DirectoryClient], Awaitable[T]]) -> T:
        membership = await self._session()
        return await membership.call(work)

    # --- sharing -------------------------------------------------------------------------------

    async def share(
        self, *paths: Path, on_event: "Callable[[LibraryEvent], None] | None" = None
    ) -> "ShareReady":
        """Shares files and folders until the peer is left; may be called again for more.

        Returns once everything there is hashed and announced, and our endpoints are judged.

        Raises:
            UsageError: another peer shares from this state folder; two roots of one basename.
            LocalRefusal: a path is not there or not readable; the port to listen at is taken.
            DirectoryError: the directory does not answer, is not trusted, or refuses us.
        """
        async with self._opening:
            sharing = await self._open_sharing()
            if on_event is not None:
                sharing.listen_to(on_event)
            for path in paths:
                await sharing.library.add(path)
            await self._open_listed_session(sharing)
        membership = await self._session()
        await sharing.library.ready()
        await membership.announced()
        return sharing.ready_report(tuple(membership.endpoint_statuses), tuple(membership.rejected))

    async def listen(self) -> None:
        """Opens a session in which others can fetch from us, with nothing shared so far.

        Downloads that begin from now on can be fetched from while they run.

        Raises:
            UsageError: another peer shares from this state folder.
            LocalRefusal: the port to listen at is taken.
            DirectoryError: the directory does not answer, is not trusted, or refuses us.
        """
        async with self._opening:
            sharing = await self._open_sharing()
            if self.peer_id != sharing.peer_id:
                sharing.listen_to(self._on_library_event)
                # Nothing is going to be scanned: what an earlier run shared is not waited for.
                sharing.catalog.settled = True
                await self._open_listed_session(sharing)
        await self._session()

    def _on_library_event(self, event: "LibraryEvent") -> None:
        from p2p_client.library.events import Notice as LibraryNotice

        if isinstance(event, LibraryNotice):
            self._on_notice(event.text)

    async def _open_sharing(self) -> "Sharing":
        from p2p_client.sharing import Sharing

        if self._sharing is None:
            sharing = Sharing(
                self.state,
                self._identity,
                self._settings,
                insecure=self._insecure,
                clock=self._directory_time,
            )
            self._port = await sharing.open()
            self._sharing = sharing
            self._downloader.open_exhibit = sharing.open_exhibit
        return self._sharing

    @property
    def _downloader(self) -> "Downloader":
        """Made when it is first needed."""
        from p2p_client.download.download import Downloader

        if self._downloads is None:
            self._downloads = Downloader(self._locate, self._channels, self._settings)
            self._start(self._downloads.reports.run())
        return self._downloads

    async def _open_listed_session(self, sharing: "Sharing") -> None:
        """Puts a listed session in the place of a client-only one, once."""
        if self.peer_id == sharing.peer_id:
            return
        endpoints = await candidate_endpoints(
            self._settings.listen, self._port, self._settings.advertise, self._servers
        )
        await self._end_session()
        self.peer_id = sharing.peer_id
        everywhere = self._settings.listen.host in ("", "::", "0.0.0.0")
        self._open_session(sharing, endpoints, self._port if everywhere else 0)
        self._start(sharing.library.run())

    def _directory_time(self) -> datetime:
        assert self._membership is not None
        return self._membership.clock.now(time.monotonic())

    # --- fetching ------------------------------------------------------------------------------

    async def download(
        self,
        target: str | Content,
        *,
        owner: str | None = None,
        output: Path | None = None,
        directory: Path | None = None,
        overwrite: bool = False,
        seed: bool = False,
        on_event: Callable[[Event], None] | None = None,
    ) -> Finished:
        """Fetches one content into `output`, or under its own name into `directory` (here).

        While a peer shares, others can fetch from it what its downloads have verified. With `seed`
        it begins to, as by `listen`, and shares the finished file until the peer is left.

        Raises:
            UsageError, NotFound, Ambiguous: `target` does not mean one content.
            LocalRefusal: the target exists or cannot be written; nothing was fetched.
            TransferFailed: no source is left, or the disk is full; a later call resumes.
            DirectoryError.
        """
        if output is not None and directory is not None:
            raise UsageError("give either a file or a folder to save to, not both")
        if seed:
            await self.listen()
        content = await self.resolve(target, owner=owner) if isinstance(target, str) else target
        place = output if output is not None else (directory or Path()) / safe_name(content.name)
        return await self._downloader.fetch(
            content.digest,
            place,
            overwrite=overwrite,
            on_event=on_event or (lambda _: None),
            open_exhibit=self._sharing.open_kept_exhibit if seed and self._sharing else None,
        )

    async def download_tree(
        self,
        target: str | Tree,
        *,
        owner: str | None = None,
        directory: Path | None = None,
        overwrite: bool = False,
        on_event: Callable[[TreeEvent], None] | None = None,
    ) -> TreeFinished:
        """Fetches all files of a tree below `directory` (here), with their relative paths.

        Files that could not be had are told by events and counted in what is returned.

        Raises:
            UsageError, NotFound, Ambiguous: `target` means no tree, or several.
            LocalRefusal: something else stands where files should; nothing was fetched.
            TransferFailed: the disk is full; a later call goes on.
            DirectoryError.
        """
        from p2p_client.download.tree.fetch import TreeDownloader

        tree = await self.find_tree(target, owner=owner) if isinstance(target, str) else target
        if tree is None:
            raise UsageError(f"{target!r} is the name of one file: download that")
        trees = TreeDownloader(
            self._locate_many, self._channels, self._settings, self._downloader.pace
        )
        return await trees.fetch(
            tree,
            directory or Path(),
            overwrite=overwrite,
            on_event=on_event or (lambda _: None),
        )

    async def _locate(self, digest: Digest) -> list[Holding]:
        return await self._locate_many([digest])

    async def _locate_many(self, digests: Sequence[Digest]) -> list[Holding]:
        return await self._call(lambda directory: directory.locate(digests))


def _who_and_where(
    settings: Settings, joined: Joined | None
) -> tuple[tuple[Address, ...], str, bool]:
    servers = settings.server or (joined.server if joined else None)
    user = settings.user or (joined.user if joined else None)
    if not servers:
        raise UsageError("no directory is known: pass --server HOST:PORT, or run `join` once")
    if not user:
        raise UsageError("no user name is known: pass --user NAME, or run `join` once")
    insecure = settings.insecure
    if insecure is None:
        insecure = joined is not None and joined.server == servers and joined.insecure
    return servers, user, insecure
