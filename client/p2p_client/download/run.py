"""One download, from its locked part file to the end: which group is believed, when it is done,
what is said if not.

The order of things: locate, manifest, pieces, the digest of the whole, and only with the right one
the name. Who of a group gives which piece is `swarm.py`'s.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextlib import suppress

from p2p_client.content.digest import show
from p2p_client.content.manifest import Manifest
from p2p_client.content.piece_map import PieceMap
from p2p_client.download.events import Event, Finished, Progress, Started
from p2p_client.download.part.assembly import Assembly
from p2p_client.download.part.part_file import PartFile
from p2p_client.download.partial.exhibit import Exhibit, Hidden, OpenExhibit
from p2p_client.download.picker.groups import Group
from p2p_client.download.sources.fetcher import Fetcher
from p2p_client.download.sources.sources import Sources
from p2p_client.download.swarm import Swarm
from p2p_client.download.tally import Tally
from p2p_client.download.threads import settled
from p2p_client.errors import DiskFull, PeerError, TransferFailed
from p2p_client.models import Digest, ManifestDigest

HOPELESS_SECONDS = 1.0
"""How long new sources are waited for when every one that is listed has lied."""
FIRST_LOCATE_SECONDS = 0.25
LONGEST_LOCATE_SECONDS = 2.0
MOST_RECHECKS = 3
MOST_WASTED_BYTES = 256 << 20
"""How much is read in vain to find what an interrupted run had verified after its last journal."""


class Run:
    """Run once, with `fetch`.

    Args:
        streams: how many may be open at once, >= 1.
        patience_seconds: how long sources are waited for when none is left to ask.
        open_exhibit: serves the download while it runs; None: nobody does.
    """

    def __init__(
        self,
        digest: Digest,
        part: PartFile,
        sources: Sources,
        tally: Tally,
        threads: Executor,
        on_event: Callable[[Event], None],
        *,
        streams: int,
        patience_seconds: float,
        open_exhibit: OpenExhibit | None,
    ) -> None:
        self._streams = streams
        self._patience_seconds = patience_seconds
        self._open_exhibit = open_exhibit
        self._digest = digest
        self._part = part
        self._sources = sources
        self._tally = tally
        self._threads = threads
        self._on_event = on_event
        self._began_at = time.monotonic()
        self._resumed_bytes: int | None = None  # None: no manifest so far
        self._assembly: Assembly | None = None
        self._exhibit: Exhibit = Hidden()
        self._believed: ManifestDigest | None = None  # the assembly's, or an earlier run's
        self._tried: set[ManifestDigest] = set()  # groups that did not help, since the last wait
        self._full: DiskFull | None = None
        self._starved_at = -1.0
        self._verified_when_starved = -1
        self._locate_wait = FIRST_LOCATE_SECONDS

    async def fetch(self) -> Finished:
        try:
            await self._sources.locate()
            journal = self._part.load()
            self._believed = journal.manifest_digest if journal else None
            while (assembly := await self._try(await self._next_group())) is None:
                pass
            await self._publish(assembly.manifest.size_bytes)
        except BaseException as error:
            self._exhibit.close()
            await self._leave(error)
            raise
        await self._exhibit.publish(self._part.place.path)
        return self._finished(assembly.manifest.size_bytes)

    async def _next_group(self) -> Group:
        """The best group not tried yet; waits for sources where there is none."""
        while True:
            for group in self._sources.groups(self._believed):
                if group.manifest_digest not in self._tried:
                    self._tried.add(group.manifest_digest)
                    return group
            if self._full is not None and self._assembly is None:
                raise self._full
            self._tried.clear()
            await self._wait_for_sources()

    async def _wait_for_sources(self) -> None:
        """Locates again after a while; raises TransferFailed when that has not helped for long."""
        now = time.monotonic()
        if self._tally.verified_count != self._verified_when_starved:
            self._verified_when_starved = self._tally.verified_count
            self._starved_at = now
            self._locate_wait = FIRST_LOCATE_SECONDS
        longest = self._patience_seconds
        if not self._sources.are_hopeful:
            longest = min(longest, HOPELESS_SECONDS)
        if now - self._starved_at >= longest:
            raise TransferFailed(self._why_failed())
        await asyncio.sleep(self._locate_wait)
        self._locate_wait = min(2 * self._locate_wait, LONGEST_LOCATE_SECONDS)
        await self._sources.locate_again()

    async def _try(self, group: Group) -> Assembly | None:
        """The complete content; None: this group did not help, now or ever."""
        if self._assembly is None or self._believed != group.manifest_digest:
            manifest = await self._sources.manifest(group)
            if manifest is None:
                return None
            try:
                self._assembly = await self._assemble(group, manifest)
            except DiskFull as error:
                # A lie about the size must not keep us from those who tell the truth.
                self._full = error
                return None
        for _ in range(MOST_RECHECKS):
            if not await self._fill(self._assembly, group):
                return None
            if await self._assembly.digest() == self._digest:
                return self._assembly
            if not self._assembly.is_doubtful:
                self._disbelieve(group)
                return None
            # Hashed from what the disk gave back: if that lied, it is not the group's fault.
            self._exhibit.close(is_doubtful=True)
            await self._assembly.recheck()
            self._show(self._assembly)
        raise TransferFailed(
            f"{self._part.place.path}: the disk gives back other bytes than were written to it"
        )

    async def _assemble(self, group: Group, manifest: Manifest) -> Assembly:
        """What there is of the content, with room for the rest. Raises DiskFull."""
        journal = self._part.load() if self._resumed_bytes is None else None
        held = PieceMap(manifest.piece_count)
        was_empty, most_wasted_bytes = self._part.is_empty, None
        if journal and journal.manifest_digest == group.manifest_digest:
            held, most_wasted_bytes = journal.held_map(), MOST_WASTED_BYTES
        assembly = Assembly(self._part, manifest, held, self._threads)
        await assembly.reserve()
        self._exhibit.close(is_doubtful=True)  # of another manifest: the file gets other pieces
        self._assembly, self._believed = None, group.manifest_digest
        if not was_empty:
            await assembly.adopt(most_wasted_bytes)
        if self._resumed_bytes is None:
            self._resumed_bytes = assembly.verified_bytes
            users = tuple(dict.fromkeys(source.user for source in group.sources))
            path, size_bytes = self._part.place.path, manifest.size_bytes
            self._on_event(Started(path, self._digest, size_bytes, self._resumed_bytes, users))
        self._show(assembly)
        return assembly

    def _show(self, assembly: Assembly) -> None:
        """From now on others may fetch what is verified."""
        shown: Exhibit | None = None
        if self._open_exhibit is not None:
            shown = self._open_exhibit(
                self._digest, assembly.manifest, assembly.held, self._part.open_reader
            )
        self._exhibit = shown or Hidden()
        assembly.is_shown = self._exhibit.peer_id is not None

    async def _fill(self, assembly: Assembly, group: Group) -> bool:
        manifest_digest = group.manifest_digest

        async def refresh() -> Sequence[Fetcher]:
            await self._sources.locate_again()
            return self._sources.fetchers(manifest_digest)

        fetchers = self._sources.fetchers(manifest_digest)
        swarm = Swarm(assembly, fetchers, self._streams, self._tally, self._exhibit)
        try:
            return await swarm.run(refresh)
        finally:
            self._sources.ban(manifest_digest, swarm.banned)

    def _disbelieve(self, group: Group) -> None:
        """Nothing of it counts; what another manifest says is right is found again in the file."""
        self._exhibit.close(is_doubtful=True)
        self._sources.ban_group(group)
        self._tally.disown()
        self._part.forget()
        self._assembly = self._believed = None

    # -- the end

    async def _publish(self, size_bytes: int) -> None:
        loop = asyncio.get_running_loop()
        publishing = loop.run_in_executor(self._threads, self._part.publish, size_bytes)
        try:
            await settled(publishing)
        except asyncio.CancelledError:
            await asyncio.wait({publishing})
            raise

    def _finished(self, size_bytes: int) -> Finished:
        fetched_bytes = self._tally.fetched_bytes
        finished = Finished(
            self._part.place.path,
            self._digest,
            size_bytes,
            fetched_bytes,
            self._resumed_bytes or 0,
            time.monotonic() - self._began_at,
            self._tally.sources,
        )
        self._on_event(Progress(size_bytes, fetched_bytes, size_bytes))
        self._on_event(finished)
        return finished

    async def _leave(self, error: BaseException) -> None:
        """Keeps what was verified, and leaves nothing where nothing was."""
        assembly = self._assembly
        if self._part.is_closed:
            return
        if assembly is None or not assembly.held.held_count:
            if self._part.is_empty or self._resumed_bytes is not None:
                self._part.discard()
            return
        if isinstance(error, DiskFull):
            assembly.trim()
        # The error that brought us here is the one to tell.
        with suppress(PeerError):
            await assembly.keep()

    def _why_failed(self) -> str:
        why = self._tally.failures() or "no peer that is online and reachable has it"
        kept = "nothing was verified so far, try again later"
        if self._assembly is not None and self._assembly.held.held_count:
            kept = (
                f"{self._assembly.verified_bytes:,} of {self._assembly.manifest.size_bytes:,} "
                "bytes are verified and kept, run the same command again to go on from there"
            )
        return f"no source is left for {show(self._digest)}: {why}; {kept}"
