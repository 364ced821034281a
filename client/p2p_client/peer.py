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
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

from p2p_client.config import Settings
from p2p_client.download.events import Event, Finished
from p2p_client.download.place.names import safe_name
from p2p_client.download.tree.early.head_start import head_start
from p2p_client.download.tree.early.wanted import Folder
from p2p_client.download.tree.events import TreeEvent, TreeFinished
from p2p_client.download.tree.plan import Tree
from p2p_client.errors import LocalRefusal, UsageError
from p2p_client.finding.finder import Finder
from p2p_client.finding.resolve import Content
from p2p_client.finding.targets import Pattern, with_owner
from p2p_client.models import Digest, Holding, PeerId
from p2p_client.net.channels import PeerChannels
from p2p_client.net.directory import DirectoryClient
from p2p_client.net.identity import Identity, load_or_create
from p2p_client.net.trust import KnownDirectories
from p2p_client.presence.background import Background
from p2p_client.presence.presence import Notice, Presence
from p2p_client.state import Joined, StateFolder, default_state_dir

if TYPE_CHECKING:  # these cost start-up time that a `search` need not pay, nor a `get` for sharing
    from p2p_client.download.download import Downloader
    from p2p_client.download.tree.fetch import TreeDownloader
    from p2p_client.library.events import LibraryEvent
    from p2p_client.presence.sharing import ShareReady

REPORT_GRACE_SECONDS = 0.5
"""How long a peer that is left waits for sources to be told of bad pieces, if there were any."""

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
        self._background = Background()
        self._downloads: Downloader | None = None

    # --- life ----------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        self.state = StateFolder(self._settings.state_dir or default_state_dir())
        self._joined = _who_and_where(self._settings, self._remembered())
        self._identity: Identity = await asyncio.to_thread(load_or_create, self.state.identity_file)
        self._directory = DirectoryClient(
            self._joined.server,
            known=KnownDirectories(self.state.path),
            pinned=self._settings.fingerprint,
            insecure=self._joined.insecure,
            timeout_seconds=self._settings.directory_timeout_seconds,
        )
        self._channels = PeerChannels(insecure=self._joined.insecure)
        self._presence = Presence(
            self._settings,
            self.state,
            self._identity,
            self._directory,
            self._joined,
            self._background,
            self._on_notice,
        )
        await self._background.start()
        return self

    def _remembered(self) -> Joined | None:
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
            await self._presence.leave()
            if self._downloads is not None:
                await self._downloads.reports.settle(REPORT_GRACE_SECONDS)
        finally:
            await self._background.stop()
            await self._channels.close()
            await self._directory.close()

    async def stopped(self) -> None:
        """Waits for ever; raises when the background work has failed for good."""
        await self._background.failed()

    # --- who we are ----------------------------------------------------------------------------

    @property
    def user(self) -> str:
        return self._joined.user

    @property
    def peer_id(self) -> PeerId:
        """Of the session; another one from the moment on at which we share."""
        return self._presence.peer_id

    @property
    def fingerprint(self) -> str:
        """Our own key's fingerprint, 64 hex."""
        return self._identity.fingerprint

    @property
    def directory_address(self) -> str:
        return ",".join(map(str, self._joined.server))

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
        return self._presence.active_uploads

    @property
    def uploaded_bytes(self) -> int:
        """Of contents, to all who fetched from us."""
        return self._presence.uploaded_bytes

    # --- membership ----------------------------------------------------------------------------

    async def join(self) -> None:
        """Opens a session now. Raises the DirectoryError family."""
        await self._presence.session()

    async def remember(self) -> None:
        """Keeps directory and user in the state folder for later runs."""
        self.state.remember(self._joined)

    async def _call(self, work: Callable[[DirectoryClient], Awaitable[T]]) -> T:
        return await self._presence.call(work)

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
        return await self._presence.share(paths, on_event)

    async def listen(self) -> None:
        """Opens a session in which others can fetch from us, with nothing shared so far.

        Downloads that begin from now on can be fetched from while they run.

        Raises:
            UsageError: another peer shares from this state folder.
            LocalRefusal: the port to listen at is taken.
            DirectoryError: the directory does not answer, is not trusted, or refuses us.
        """
        await self._presence.listen()

    # --- fetching ------------------------------------------------------------------------------

    @property
    def _downloader(self) -> "Downloader":
        """Made when it is first needed."""
        from p2p_client.download.download import Downloader

        if self._downloads is None:
            self._downloads = Downloader(self._locate, self._channels, self._settings)
            self._background.add(self._downloads.reports.run())
        return self._downloads

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
            open_exhibit=self._presence.exhibit(keep=seed),
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

        Files that could not be had are told by events and counted in what is returned. A target
        that is a new folder begins to come, out of sight, while the directory still lists it.

        Raises:
            UsageError, NotFound, Ambiguous: `target` means no tree, or several.
            LocalRefusal: something else stands where files should; nothing was fetched.
            TransferFailed: the disk is full; a later call goes on.
            DirectoryError.
        """
        root, on_event = directory or Path(), on_event or (lambda _: None)
        if isinstance(target, Tree):
            return await self._trees().fetch(target, root, overwrite=overwrite, on_event=on_event)
        user, text = with_owner(target, owner)
        pattern = Pattern.of(text) if text else None
        if pattern is None or not (user and pattern.is_one_folder) or self._is_limited:
            tree = _many(target, await self.find_tree(target, owner=owner))
            return await self._trees().fetch(tree, root, overwrite=overwrite, on_event=on_event)
        folder = Folder(user, pattern.text, pattern.cut, pattern.top)
        async with head_start(folder, root, overwrite=overwrite, make_trees=self._trees) as head:
            tree = _many(target, await self.find_tree(target, owner=owner, through=head.pages))
            return await self._trees().fetch(
                tree, root, overwrite=overwrite, on_event=on_event, head=head
            )

    @property
    def _is_limited(self) -> bool:
        return self._settings.limit_down_bytes_per_second is not None

    def _trees(self) -> "TreeDownloader":
        from p2p_client.download.tree.fetch import TreeDownloader

        return TreeDownloader(
            self._locate_many, self._channels, self._settings, self._downloader.pace
        )

    async def _locate(self, digest: Digest) -> list[Holding]:
        return await self._locate_many([digest])

    async def _locate_many(self, digests: Sequence[Digest]) -> list[Holding]:
        return await self._call(lambda directory: directory.locate(digests))


def _many(target: str, tree: Tree | None) -> Tree:
    """Raises UsageError."""
    if tree is None:
        raise UsageError(f"{target!r} is the name of one file: download that")
    return tree


def _who_and_where(settings: Settings, remembered: Joined | None) -> Joined:
    servers = settings.server or (remembered.server if remembered else None)
    user = settings.user or (remembered.user if remembered else None)
    if not servers:
        raise UsageError("no directory is known: pass --server HOST:PORT, or run `join` once")
    if not user:
        raise UsageError("no user name is known: pass --user NAME, or run `join` once")
    insecure = settings.insecure
    if insecure is None:
        insecure = remembered is not None and remembered.server == servers and remembered.insecure
    return Joined(servers, user, insecure)
