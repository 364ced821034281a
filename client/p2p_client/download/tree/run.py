"""One fetching of a tree: what is there is kept, what is missing comes, one word at the end.

The order of things: what stands at its places is looked at, and what must not be replaced ends it
all before a byte is fetched; then what the tree has twice is copied, small contents come packed and
large ones each by a download of its own.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

from blake3 import blake3

from p2p_client.download.part.disk import FULL
from p2p_client.download.place.names import safe_name
from p2p_client.download.threads import until_stopped
from p2p_client.download.tree.account import Account
from p2p_client.download.tree.disk.staging import Staging, disk_error
from p2p_client.download.tree.disk.survey import Survey, survey
from p2p_client.download.tree.disk.writer import Arrived, Watch, Writer
from p2p_client.download.tree.early.head_start import HeadStart
from p2p_client.download.tree.events import TreeEvent, TreeFinished, TreeStarted
from p2p_client.download.tree.lanes.givers import Givers
from p2p_client.download.tree.lanes.large import LargeContents, copied
from p2p_client.download.tree.lanes.packed import PackedSource
from p2p_client.download.tree.lanes.small import SmallContents
from p2p_client.download.tree.plan import Content, Tree, Unfit, contents_of, has_twins, unfit
from p2p_client.errors import LocalRefusal, PeerError, TargetExists
from p2p_client.models import Source

LARGEST_PACKED_BYTES = 1 << 20
"""What is larger has pieces, and several sources: it comes by a download of its own."""
TICK_SECONDS = 0.2
MOST_NAMED = 20
_EMPTY = blake3().digest()
_EMPTY_AT_ONCE = 256
FEW_COPIES = 16
"""So many files of one content that came early are copied; more are cheaper to fetch once more."""
_NO_CONTENT = -1


class Lanes(Protocol):
    """By which what is missing comes."""

    def connect(self, source: Source) -> PackedSource: ...

    def small(self, run: "Run", contents: Sequence[Content], givers: Givers) -> SmallContents: ...

    def large(self, run: "Run", contents: Sequence[Content], givers: Givers) -> LargeContents: ...

    def givers(self, run: "Run", contents: Sequence[Content]) -> Givers: ...


class Run:
    """One tree, from its locked staging to the end."""

    def __init__(
        self,
        lanes: Lanes,
        tree: Tree,
        places: Sequence[str],
        staging: Staging,
        on_event: Callable[[TreeEvent], None],
        head: HeadStart | None = None,
    ) -> None:
        self.files = tree.files
        self._tree = tree
        self._head = head
        self.places = places
        self._lanes = lanes
        self._staging = staging
        self._root = staging.ground.root
        self._path = self._root / tree.top
        self._on_event = on_event
        self.account = Account(self.files, self.places, self._root, on_event)
        self._began_at = time.monotonic() if head is None else head.began_at
        self._resumed_bytes = 0
        self._left_out: list[Unfit] = []

    async def fetch(self) -> TreeFinished:
        self._left_out = self._unfit()
        left_out = {item.at for item in self._left_out}
        verified = _Verified()
        watch = Watch(verified, self.account.named, self.account.unstorable)
        if self._head is not None:
            writer, early = self._head.adopted(self._tree, self.places, left_out, watch)
            left_out.update(early)
        else:
            writer, early = Writer(self._staging, self.places, watch), []
        try:
            wanted = [at for at in range(len(self.files)) if at not in left_out]
            found = await self._survey(wanted)
            self._refuse(found)
            self._count(found.right, early)
            there = set(found.right)
            writer.release()
            missing = [at for at in wanted if at not in there]
            await self._fill(missing, found.right, early, writer, verified)
        except BaseExceptionGroup as group:
            raise _first_of(group) from None
        finally:
            await writer.close()
        return self._finished()

    def _count(self, right: Sequence[int], early: Sequence[int]) -> None:
        """What is there already, and what came early."""
        account = self.account
        self._resumed_bytes = sum(self.files[at].size_bytes for at in right)
        early_bytes = sum(self.files[at].size_bytes for at in early)
        account.verified_bytes = self._resumed_bytes + early_bytes
        account.files_done = len(right)
        if self._head is not None and self._head.source is not None:
            account.tally.fetched(self._head.fetched_bytes)
            account.tally.verified(self._head.source, early_bytes)

    # -- before a byte is fetched

    def _unfit(self) -> list[Unfit]:
        found: list[Unfit] = []
        for at, place in enumerate(self.places):
            try:
                safe_name(place)
            except LocalRefusal as error:
                found.append(Unfit(at, error.reason, "its name is not safe"))
        by_case = not has_twins(self.places) or self._staging.tells_case()
        told = {item.at for item in found}
        return found + [item for item in unfit(self.places, by_case=by_case) if item.at not in told]

    async def _survey(self, wanted: Sequence[int]) -> Survey:
        return await until_stopped(
            partial(survey, self._staging.ground, self.files, self.places, wanted)
        )

    def _refuse(self, found: Survey) -> None:
        """Raises LocalRefusal, TargetExists: something stands where files should."""
        if found.blocked:
            named = [f"{self._root / self.places[at]} ({why})" for at, why in found.blocked.items()]
            raise LocalRefusal(f"something is in the way of {_some(named)}: move it away")
        if found.other and not self._staging.ground.overwrite:
            named = [str(self._root / self.places[at]) for at in found.other]
            raise TargetExists(
                f"{len(named):,} of the files are there and different: {_some(named)}; replace "
                "them with --overwrite, or choose another folder with -d"
            )

    # -- while it comes

    async def _fill(
        self,
        missing: Sequence[int],
        right: Sequence[int],
        early: Sequence[int],
        writer: Writer,
        verified: "_Verified",
    ) -> None:
        """Brings what is missing: out of the tree itself, or from others."""
        rest = await self._from_here(missing, right, early, writer)
        contents = contents_of(self.files, rest)
        small = [c for c in contents if c.size_bytes <= LARGEST_PACKED_BYTES]
        large = [c for c in contents if c.size_bytes > LARGEST_PACKED_BYTES]
        # Of a download there is something to keep before its end: its folder must have a name.
        if large and self._head is not None:
            await writer.name_all()
        self._staging.ground.never_hide(
            self.places[at].rpartition("/")[0] for content in large for at in content.files
        )
        givers = self._lanes.givers(self, small + large)
        if contents:
            await givers.locate()
        self._tell_started(len(right), givers)
        packed = self._lanes.small(self, small, givers)
        verified.small = packed
        singles = self._lanes.large(self, large, givers)
        async with asyncio.TaskGroup() as tasks:
            ticker = tasks.create_task(self._tick(writer))
            async with asyncio.TaskGroup() as lanes:
                lanes.create_task(packed.run(writer, self._lanes.connect))
                lanes.create_task(singles.run(self._staging, writer))
            ticker.cancel()
        await writer.finish()

    async def _from_here(
        self, missing: Sequence[int], right: Sequence[int], early: Sequence[int], writer: Writer
    ) -> list[int]:
        """Writes what needs nobody: empty files, and contents that stand elsewhere in the tree.
        Answers the others."""
        there = self._origins(missing, right, early)
        empty: list[int] = []
        rest: list[int] = []
        for at in missing:
            file = self.files[at]
            if not file.size_bytes and file.digest == _EMPTY:
                empty.append(at)
            elif file.digest not in there or not await self._copy(there[file.digest], at, writer):
                rest.append(at)
        for first in range(0, len(empty), _EMPTY_AT_ONCE):
            some = empty[first : first + _EMPTY_AT_ONCE]
            await writer.put([Arrived(_NO_CONTENT, _EMPTY, some, b"")])
        return rest

    def _origins(
        self, missing: Sequence[int], right: Sequence[int], early: Sequence[int]
    ) -> dict[bytes, int]:
        """A file for each content that others can be copied from."""
        there = {self.files[at].digest: at for at in early}
        if there:
            copies = Counter(self.files[at].digest for at in missing)
            there = {digest: at for digest, at in there.items() if copies[digest] <= FEW_COPIES}
        return there | {self.files[at].digest: at for at in right}

    async def _copy(self, origin: int, at: int, writer: Writer) -> bool:
        """False: it has to be fetched, and what is wrong with its place is seen then.

        Raises DiskFull.
        """
        file, places = self.files[at], self.places
        try:
            name = await copied(self._staging, places[origin], places[at], file.digest)
        except OSError as error:
            if error.errno in FULL:
                raise disk_error(self._staging.ground, error) from None
            return False
        if name is not None:
            writer.add(name, at)
            self.account.verified_bytes += file.size_bytes
        return name is not None

    async def _tick(self, writer: Writer) -> None:
        while True:
            await asyncio.sleep(TICK_SECONDS)
            self.account.progress(time.monotonic())
            await writer.name_in_time()

    # -- what is told

    def _tell_started(self, resumed_files: int, givers: Givers) -> None:
        account = self.account
        early = self._head.source if self._head is not None else None
        users = givers.users if early is None else (early.user, *givers.users)
        self._on_event(
            TreeStarted(
                self._path,
                len(self.files),
                account.size_bytes,
                resumed_files,
                self._resumed_bytes,
                tuple(dict.fromkeys(users)),
            )
        )
        for item in self._left_out:
            account.failed(item.at, item.reason, item.message)

    def _finished(self) -> TreeFinished:
        account = self.account
        account.progress(time.monotonic(), last=True)
        finished = TreeFinished(
            self._path,
            len(self.files),
            account.failed_count,
            account.size_bytes,
            account.tally.fetched_bytes,
            self._resumed_bytes,
            time.monotonic() - self._began_at,
            account.tally.sources,
        )
        self._on_event(finished)
        return finished


class _Verified:
    """Passes on what the writer verified; nothing before the small contents are known."""

    def __init__(self) -> None:
        self.small: SmallContents | None = None

    def __call__(self, content: int, size_bytes: int) -> None:
        if self.small is not None:
            self.small.verified(content, size_bytes)


def _some(named: Sequence[str]) -> str:
    more = len(named) - MOST_NAMED
    return ", ".join(named[:MOST_NAMED]) + (f" and {more:,} more" if more > 0 else "")


def _first_of(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The one to tell: what a user can act on before anything else."""
    causes = [_first_of(e) if isinstance(e, BaseExceptionGroup) else e for e in group.exceptions]
    return next((cause for cause in causes if isinstance(cause, PeerError)), causes[0])
