"""Which names on disk can be listed, and how. Pure.

A listed path is relative, POSIX, printable NFC text; the rules are those of `Resource.path` in
types.proto. The disk keeps its own spelling: only the listing is normalised.
"""

import re
import unicodedata

MOST_PATH_BYTES = 1024
MOST_LEVELS = 64
MOST_PART_BYTES = 255
_JOINERS = "\u200c\u200d"  # shape Persian, Indic scripts and emoji; invisible but meaningful
_UNPRINTABLE = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"))
_WHY = {
    "Cc": "has a control character in its name",
    "Cf": "has an invisible formatting character in its name",
    "Cs": "has a name that is not UTF-8",
}
_OF_DOWNLOADS = re.compile(r"\..+\.[0-9a-f]{8}\.p2p-(part|journal)(\..+)?", re.DOTALL)


class Unlistable(ValueError):
    """The name cannot be listed; the text goes on from "it …"."""


def is_of_downloads(name: str) -> bool:
    """Whether this is an unfinished download or its journal: nobody's to share."""
    return _OF_DOWNLOADS.fullmatch(name) is not None


def listed_name(disk_name: str) -> str:
    """How one part of a path is listed: its NFC form. Raises Unlistable."""
    if disk_name.isascii() and disk_name.isprintable() and "\\" not in disk_name:
        name = disk_name  # nearly all names; saves the walk over the characters
    else:
        name = unicodedata.normalize("NFC", disk_name)
        _check_characters(name)
    if name in ("", ".", ".."):
        raise Unlistable("has no name of its own")
    if len(name.encode()) > MOST_PART_BYTES:
        raise Unlistable(f"has a name longer than {MOST_PART_BYTES} bytes")
    return name


def check_path(path: str) -> None:
    """Raises Unlistable for a path of listed names that is too long or too deep as a whole."""
    if len(path.encode()) > MOST_PATH_BYTES:
        raise Unlistable(f"has a path longer than {MOST_PATH_BYTES} bytes")
    if path.count("/") >= MOST_LEVELS:
        raise Unlistable(f"lies deeper than {MOST_LEVELS} levels")


def printable(name: str) -> str:
    """The name with all that a terminal could trip over written as escapes."""
    if name.isascii() and name.isprintable():
        return name
    return "".join(c if _is_printable(c) else c.encode("unicode_escape").decode() for c in name)


def _check_characters(name: str) -> None:
    if "\\" in name:
        raise Unlistable("has a backslash in its name")
    for character in name:
        if not _is_printable(character):
            why = _WHY.get(unicodedata.category(character), "has an unprintable character")
            raise Unlistable(why)


def _is_printable(character: str) -> bool:
    return character in _JOINERS or unicodedata.category(character) not in _UNPRINTABLE
