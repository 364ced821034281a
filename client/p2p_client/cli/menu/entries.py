"""The five entries: announce, query resources, query users, download, exit."""

import asyncio
import shlex
from pathlib import Path

from p2p_client.cli.menu.background import Background, Download
from p2p_client.cli.menu.screen import EndOfInput, Screen
from p2p_client.cli.render import endpoint_or_none, local_time
from p2p_client.cli.run import tell_first_contact
from p2p_client.cli.sizes import show_size
from p2p_client.config import Settings
from p2p_client.errors import PeerError
from p2p_client.finding.resolve import Content
from p2p_client.models import Endpoint, ListedResource
from p2p_client.peer import Peer
from p2p_client.presence.sharing import ShareReady

ENTRIES = (
    "1. Announce a resource",
    "2. Query available resources",
    "3. Query active users",
    "4. Download a resource",
    "5. Exit",
)
MOST_LISTED = 500
MOST_NAME_BYTES = 200  # leaves room for what a part file's name has beyond it
SHOWN_HEX = 12


async def run_menu(settings: Settings, screen: Screen, *, verbose: bool) -> None:
    """Registers, and serves the menu until its reader leaves. Raises what `Peer` raises."""
    async with Peer(settings, on_notice=screen.tell) as peer:
        await peer.join()
        screen.tell(f"You are {peer.user}, registered at {peer.directory_address}.")
        tell_first_contact(peer, screen.tell)
        async with asyncio.TaskGroup() as tasks:
            background = Background(tasks, screen.tell, verbose=verbose)
            watch = tasks.create_task(peer.stopped())
            try:
                await Menu(peer, screen, background).serve()
            finally:
                background.stop()
                watch.cancel()
    screen.tell("Good bye.")


class Menu:
    """The conversation; its transfers belong to `Background`."""

    def __init__(self, peer: Peer, screen: Screen, background: Background) -> None:
        self._peer = peer
        self._screen = screen
        self._background = background

    async def serve(self) -> None:
        """Asks for an entry and does it, until Exit or the end of the input."""
        try:
            while await self._one_entry():
                pass
        except EndOfInput:
            if not self._screen.is_terminal:
                await self._background.finished()  # a script has nobody who could look again

    async def _one_entry(self) -> bool:
        """False: leave."""
        self._show_entries()
        answer = await self._screen.ask("Select an option:")
        try:
            match answer:
                case "1":
                    await self._announce()
                case "2":
                    await self._list_resources()
                case "3":
                    await self._list_users()
                case "4":
                    await self._download()
                case "5":
                    return not await self._may_exit()
                case "":
                    pass
                case _:
                    self._screen.tell(f"There is no option {answer!r}: type a number from 1 to 5.")
        except PeerError as error:
            self._screen.tell(f"That did not work: {error}")
        return True

    def _show_entries(self) -> None:
        self._screen.tell("")
        for line in self._background.lines():
            self._screen.tell(f"[running] {line}")
        for entry in ENTRIES:
            self._screen.tell(entry)

    # --- 1 -------------------------------------------------------------------------------------

    async def _announce(self) -> None:
        answer = await self._screen.ask("Path of the file or folder:")
        if not answer:
            return
        path = typed_path(answer)
        if not path.exists():
            self._screen.tell(f"There is no file or folder {path}.")
            return
        self._screen.tell(f"Announcing {path} in the background.")
        self._background.start_announcement(str(path), self._share(path))

    async def _share(self, path: Path) -> str:
        ready = await self._peer.share(path)
        return announced_sentence(path, ready)

    # --- 2 and 3 -------------------------------------------------------------------------------

    async def _list_resources(self) -> None:
        found = await self._peer.search(limit=MOST_LISTED + 1)
        if not found:
            self._screen.tell("Nobody shares anything now.")
            return
        self._screen.table(
            ("OWNER", "ADDRESS", "SIZE", "RESOURCE"),
            [_resource_row(item) for item in found[:MOST_LISTED]],
            right=("SIZE",),
        )
        if len(found) > MOST_LISTED:
            self._screen.tell(f"These are the first {MOST_LISTED}: `p2p-client search` finds all.")

    async def _list_users(self) -> None:
        online = await self._peer.peers()
        if not online:
            self._screen.tell("Nobody who shares is online now.")
            return
        self._screen.table(
            ("USER", "ADDRESS", "RESOURCES", "SIZE", "ONLINE SINCE"),
            [
                (
                    listed.user,
                    _address(listed.endpoint),
                    str(listed.resource_count),
                    show_size(listed.size_bytes),
                    local_time(listed.online_since),
                )
                for listed in online
            ],
            right=("RESOURCES", "SIZE"),
        )

    # --- 4 -------------------------------------------------------------------------------------

    async def _download(self) -> None:
        name = await self._screen.ask("Name of the resource:")
        if not name:
            return
        content = await self._choose(name, await self._choices(name))
        if content is None:
            return
        place = await self._ask_place(content)
        owners = ", ".join(_users(content))
        self._screen.tell(f"Downloading {content.name} of {owners} in the background to {place}.")
        self._background.start_download(
            Download(place.name, place, content.size_bytes, self._screen.tell),
            lambda on_event: self._peer.download(content, output=place, on_event=on_event),
        )

    async def _choices(self, name: str) -> list[Content]:
        """The different contents of that name that somebody else has."""
        found = await self._peer.choices(name)
        # Not a name? Then whatever `get` would take: OWNER:PATH or a digest.
        contents = found or [await self._peer.resolve(name)]
        return [
            Content(content.digest, content.size_bytes, others)
            for content in contents
            if (others := self._owned_by_others(content))
        ]

    def _owned_by_others(self, content: Content) -> tuple[ListedResource, ...]:
        return tuple(item for item in content.owners if item.peer.peer_id != self._peer.peer_id)

    async def _choose(self, name: str, contents: list[Content]) -> Content | None:
        """The only content, or the one whose owner is chosen; None: none, or changed one's mind."""
        if not contents:
            self._screen.tell(f"Only you share {name!r}.")
            return None
        if len(contents) == 1:
            return contents[0]
        self._screen.tell(f"Different files are shared as {name!r}:")
        for number, content in enumerate(contents, 1):
            self._screen.tell(f"  {number}. {choice_line(content)}")
        while answer := await self._screen.ask(f"Select an owner (1-{len(contents)}):"):
            if answer.isascii() and answer.isdigit() and 1 <= int(answer) <= len(contents):
                return contents[int(answer) - 1]
            self._screen.tell(f"There is no choice {answer!r}: type 1 to {len(contents)}.")
        return None

    async def _ask_place(self, content: Content) -> Path:
        """A path where nothing is yet; asked for until there is one."""
        default = default_name(_users(content)[0], content.name)
        while True:
            answer = await self._screen.ask(f"Save as [{default}]:")
            place = Path(answer).expanduser() if answer else Path(default)
            if place.is_dir():
                place /= default
            if self._background.is_saving_to(place):
                self._screen.tell(f"{place} is being downloaded already: choose another name.")
            elif place.exists() or place.is_symlink():
                self._screen.tell(f"{place} exists already: choose another name.")
            else:
                return place

    # --- 5 -------------------------------------------------------------------------------------

    async def _may_exit(self) -> bool:
        running = self._background.lines()
        if self._peer.active_uploads:
            running.append(f"{self._peer.active_uploads} uploads to others")
        if not running:
            return True
        self._screen.tell("Still running:")
        for line in running:
            self._screen.tell(f"  {line}")
        answer = await self._screen.ask("Exit all the same? [y/N]")
        return answer.lower() in ("y", "yes")


def typed_path(answer: str) -> Path:
    """A path as people type it: `~` expanded; quoted or escaped as a terminal pastes it."""
    path = Path(answer).expanduser()
    if not path.exists():
        try:
            parts = shlex.split(answer)
        except ValueError:
            return path
        if len(parts) == 1:
            return Path(parts[0]).expanduser()
    return path


def default_name(owner: str, name: str) -> str:
    """`downloaded_<owner>_<name>`, cut before its ending where a disk could not store it."""
    whole = f"downloaded_{owner}_{name}"
    if len(whole.encode()) <= MOST_NAME_BYTES:
        return whole
    suffix = Path(name).suffix
    suffix = suffix if len(suffix.encode()) <= 32 else ""
    kept = whole.encode()[: MOST_NAME_BYTES - len(suffix.encode())].decode(errors="ignore")
    return kept + suffix


def choice_line(content: Content) -> str:
    """All owners of one content, where they are, and how it differs from the others."""
    owners = ", ".join(
        f"{item.peer.user} at {_address(item.peer.endpoint)}" for item in content.owners
    )
    return (
        f"{owners}: {content.path}, {show_size(content.size_bytes)}, "
        f"b3:{content.digest[:SHOWN_HEX]}"
    )


def announced_sentence(path: Path, ready: ShareReady) -> str:
    files = f"{ready.resources} {'resource' if ready.resources == 1 else 'resources'}"
    where = (
        f"others fetch from {ready.endpoint}"
        if ready.endpoint
        else "but the directory found no address at which others can reach you"
    )
    left_out = len(ready.skipped) + len(ready.rejected)
    size = show_size(ready.size_bytes) + (f", {left_out} left out" if left_out else "")
    return f"Announced {path}: you share {files} now ({size}), {where}."


def _resource_row(item: ListedResource) -> tuple[str, ...]:
    return (
        item.peer.user,
        _address(item.peer.endpoint),
        show_size(item.resource.size_bytes),
        item.resource.path,
    )


def _users(content: Content) -> list[str]:
    return list(dict.fromkeys(item.peer.user for item in content.owners))


def _address(endpoint: Endpoint | None) -> str:
    return endpoint_or_none(endpoint) or "not reachable from here"
