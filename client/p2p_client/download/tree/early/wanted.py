"""Which of the listed files may come before the list is complete. Pure.

A folder that has no name yet is filled out of sight. What only the whole list can tell (names that
clash, a file with two contents) is judged later: nothing of it has its name before.
"""

from collections.abc import Iterable
from dataclasses import field

from p2p_client.download.place.names import safe_name
from p2p_client.errors import LocalRefusal
from p2p_client.models import ListedResource
from p2p_client.records import dataclass

MOST_BYTES = 32 << 20
"""So much is fetched early at most, as in a batch that is named together: when the list is refused,
or the command ends before it is complete, all of it is thrown away."""
MOST_CONTENT_BYTES = 1 << 20
CALL_CONTENTS = 1_024
CALL_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder of one user, named by both: `cut` and `top` as those of a Tree."""

    owner: str
    text: str  # ends with a slash
    cut: int
    top: str


@dataclass(slots=True)
class EarlyContent:
    """One content, and the early files that have it so far, by their index."""

    digest: bytes
    size_bytes: int
    files: list[int] = field(default_factory=list)


class Wanted:
    """What was listed of the folder, in that order; `places` and `digests` are of each file."""

    def __init__(self, folder: Folder) -> None:
        self.user = ""  # the owner as listed; empty: nothing came yet
        self.places: list[str] = []
        self.digests: list[bytes] = []
        self._folder = folder
        self._owner = folder.owner.casefold()
        self._contents: dict[str, EarlyContent] = {}
        self._waiting: list[EarlyContent] = []
        self._next = 0
        self._bytes = 0

    def add(self, page: Iterable[ListedResource]) -> None:
        prefix, cut, owner = self._folder.text, self._folder.cut, self._folder.owner
        for listed in page:
            resource, user = listed.resource, listed.peer.user
            path, size_bytes = resource.path, resource.size_bytes
            if not path.startswith(prefix) or not 0 < size_bytes <= MOST_CONTENT_BYTES:
                continue
            if user != owner and user.casefold() != self._owner:
                continue
            place = path[cut:]
            if ".p2p-" in place or not _is_safe(place):
                continue
            self.user = self.user or user
            content = self._contents.get(resource.digest)
            if content is None:
                if self._bytes + size_bytes > MOST_BYTES:
                    continue
                self._bytes += size_bytes
                content = EarlyContent(bytes.fromhex(resource.digest), size_bytes)
                self._contents[resource.digest] = content
                self._waiting.append(content)
            content.files.append(len(self.places))
            self.places.append(place)
            self.digests.append(content.digest)

    def take(self) -> list[EarlyContent]:
        """What to ask for next; empty: nothing for now."""
        first, size_bytes = self._next, 0
        while self._next < len(self._waiting) and self._next - first < CALL_CONTENTS:
            size_bytes += self._waiting[self._next].size_bytes
            if size_bytes > CALL_BYTES and self._next > first:
                break
            self._next += 1
        return self._waiting[first : self._next]


def _is_safe(place: str) -> bool:
    try:
        safe_name(place)
    except LocalRefusal:
        return False
    return True
