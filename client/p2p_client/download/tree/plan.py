"""What a tree is made of, and which of it can stand on a disk. Pure.

A tree is a list of files; the contents to fetch are numbered apart from them, for several files may
have one content. Rows are kept small: there may be hundreds of thousands.
"""

import unicodedata
from collections.abc import Iterable, Sequence
from datetime import datetime

from p2p_client.models import Digest, ListedPeer, ManifestDigest
from p2p_client.records import dataclass

DOWNLOAD_SUFFIXES = (".p2p-part", ".p2p-journal", ".p2p-journal.new")
"""Names of what is unfinished: nobody shares such files, and one would get into our way."""


@dataclass(slots=True)
class TreeFile:
    """One file as listed; `peers` are those of its owner that have it, never none."""

    path: str
    size_bytes: int
    digest: bytes
    manifest_digest: bytes
    modified_at: datetime
    media_type: str
    peers: tuple[ListedPeer, ...]

    @property
    def digest_hex(self) -> Digest:
        return Digest(self.digest.hex())

    @property
    def manifest_digest_hex(self) -> ManifestDigest:
        return ManifestDigest(self.manifest_digest.hex())


@dataclass(frozen=True, slots=True)
class Tree:
    """All files that a target means.

    `cut` characters of each path are not kept on disk; `top` is the folder that all files then lie
    in, empty where there is none.
    """

    target: str  # OWNER:FOLDER/ or OWNER:GLOB, ready to paste
    owner: str
    cut: int
    top: str
    files: tuple[TreeFile, ...]

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)

    def place(self, file: TreeFile) -> str:
        """Where the file comes to stand: a relative path."""
        return file.path[self.cut :]


@dataclass(frozen=True, slots=True)
class Unfit:
    """A file that cannot be stored beside the others."""

    at: int  # among the tree's files
    reason: str
    message: str


def unfit(places: Sequence[str], *, by_case: bool) -> list[Unfit]:
    """The files that cannot stand beside the others, so that none takes another's place unseen.

    Args:
        places: relative paths, no two alike.
        by_case: whether the disk tells names apart that differ in case or composition only.
    """
    folders = {folder for place in places for folder in _folders_above(place)}
    found: list[Unfit] = []
    folded: dict[str, str] = {}
    for at, place in enumerate(places):
        if place.endswith(DOWNLOAD_SUFFIXES) or _is_in_download(place):
            message = "its name is one that only unfinished downloads have"
            found.append(Unfit(at, "NAME_UNSAFE", message))
        elif place in folders:
            found.append(Unfit(at, "NAME_CLASHES", "a folder has the same name"))
        elif not by_case:
            twin = folded.setdefault(_folded(place), place)
            if twin != place:
                message = f"this disk cannot tell its name from that of {twin}"
                found.append(Unfit(at, "NAME_CLASHES", message))
    return found


def has_twins(places: Iterable[str]) -> bool:
    """Whether names differ in case or composition only: then the disk must tell them apart."""
    seen: set[int] = set()
    for place in places:
        key = hash(_folded(place))
        if key in seen:
            return True
        seen.add(key)
    return False


def _folded(place: str) -> str:
    if place.isascii():
        return place.lower()
    return unicodedata.normalize("NFC", place.casefold())


def _folders_above(place: str) -> Iterable[str]:
    at = place.rfind("/")
    while at > 0:
        yield place[:at]
        at = place.rfind("/", 0, at)


def _is_in_download(place: str) -> bool:
    return ".p2p-" in place and any(
        folder.endswith(DOWNLOAD_SUFFIXES) for folder in _folders_above(place)
    )


@dataclass(slots=True)
class Content:
    """One content to fetch, and the files that are to have it (places among the tree's files)."""

    size_bytes: int
    files: tuple[int, ...]


def contents_of(files: Sequence[TreeFile], wanted: Iterable[int]) -> list[Content]:
    """The contents of the wanted files, each once, in the order of the files."""
    found: dict[bytes, Content] = {}
    for at in wanted:
        file = files[at]
        content = found.get(file.digest)
        if content is None:
            found[file.digest] = Content(file.size_bytes, (at,))
        else:
            content.files = (*content.files, at)
    return list(found.values())
