"""Which names and relative paths from the network are harmless. Pure; the disk may refuse more."""

import re
import unicodedata

from p2p_client.errors import LocalRefusal

MOST_NAME_BYTES = 255
MOST_PATH_BYTES = 1024
MOST_LEVELS = 64
_FORBIDDEN_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_JOINERS = frozenset("\u200c\u200d")  # they spell words and emoji, and are of category Cf
_PART = "[A-Za-z0-9_][A-Za-z0-9_. -]{0,63}"
_PLAIN = re.compile(f"(?:{_PART}/){{0,9}}{_PART}")
"""What most names are like, and nothing is wrong with: seen in a tenth of the time."""


def safe_name(name: str) -> str:
    """The name or relative path as it came from the network, once it is seen to be harmless.

    Raises:
        LocalRefusal: it could leave its folder, deceive a reader, or is too long or deep.
    """
    wrong = _what_is_wrong(name)
    if wrong is not None:
        raise LocalRefusal(
            f"the name {name[:80]!a} {wrong}: give a name of your own with -o", reason="NAME_UNSAFE"
        )
    return name


def _what_is_wrong(name: str) -> str | None:
    if _PLAIN.fullmatch(name):
        return None
    if not (name.isascii() and name.isprintable()):  # nearly all names; saves a long walk
        if any(_is_forbidden(character) for character in name):
            return "holds characters that must not be shown"
        if unicodedata.normalize("NFC", name) != name:
            return "is not in Unicode's composed form"
    if len(name.encode()) > MOST_PATH_BYTES:
        return "is too long"
    if name.count("/") >= MOST_LEVELS:
        return "has too many levels"
    framed = f"/{name}/"
    if any(wrong in framed for wrong in ("//", "/./", "/../", "\\")):
        return "is not a plain relative path"
    if any(len(part.encode()) > MOST_NAME_BYTES for part in name.split("/")):
        return "has a part that is too long"
    return None


def _is_forbidden(character: str) -> bool:
    return character not in _JOINERS and unicodedata.category(character) in _FORBIDDEN_CATEGORIES
