"""Targets that mean many files: `FOLDER/` and globs. Pure.

A folder is everything below it, by its exact name. A glob has the meaning of QueryRequest.glob:
without case, `*` and `?` within one part of the path, `**` across parts; without a `/` in it, for
the last part of the path. `FOLDER/` with wildcards in it means all that is below such folders,
unless there is a folder of that very name.
"""

import unicodedata

from p2p_client.content.digest import parse_prefix
from p2p_client.models import Query
from p2p_client.records import dataclass

MOST_GLOB_BYTES = 512
_WILDCARDS = frozenset("*?")


def is_tree_target(target: str) -> bool:
    """Whether the target means many files, or may."""
    if parse_prefix(target) is not None:
        return False
    return target.endswith("/") or not _WILDCARDS.isdisjoint(target)


def with_owner(target: str, owner: str | None) -> tuple[str, str]:
    """Whose it is as far as the target or the owner beside it says, and the rest of the target."""
    if owner:
        return owner, target
    head, _, tail = target.partition(":")
    return (head, tail) if head and tail else ("", target)


@dataclass(frozen=True, slots=True)
class Pattern:
    """A target without its owner; `text` is never empty and in Unicode's composed form."""

    text: str

    @classmethod
    def of(cls, text: str) -> "Pattern":
        text = unicodedata.normalize("NFC", text)
        return cls(text.rstrip("/") + "/" if text.endswith("/") else text)

    @property
    def is_folder(self) -> bool:
        return self.text.endswith("/")

    @property
    def has_wildcards(self) -> bool:
        return not _WILDCARDS.isdisjoint(self.text)

    def query(self, owner: str) -> Query:
        """What to ask the directory for: all that the target can mean, perhaps more."""
        if not self.is_folder:
            return Query(glob=self.text, owner=owner)
        folder = self.text[:-1]
        while len(folder.encode()) + len("/**") > MOST_GLOB_BYTES:
            folder = folder.rpartition("/")[0]
        return Query(glob=f"{folder}/**" if folder else "", owner=owner)

    def is_below(self, path: str) -> bool:
        """Whether the path lies in the folder of this very name; `/` is above all."""
        return self.is_folder and (self.text == "/" or path.startswith(self.text))

    def is_name_of(self, path: str) -> bool:
        """Whether it is this file's own path or name, wildcards taken as plain characters."""
        return self.text in (path, path.rpartition("/")[2])

    @property
    def is_one_folder(self) -> bool:
        """Whether it means the folder of this very name, and nothing else."""
        return self.is_folder and not self.has_wildcards and bool(self.top)

    @property
    def cut(self) -> int:
        """How much of a listed path is not kept on disk: what is above the folder's last name."""
        return self.text[:-1].rfind("/") + 1 if self.is_folder else 0

    @property
    def top(self) -> str:
        """The folder's last name; empty: there is none."""
        return self.text[self.cut : -1] if self.is_folder else ""
