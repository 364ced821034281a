"""Which names may be listed: users, peers, and the paths of resources.

The rules are the contract's (`Resource.path`, `RegisterRequest`). Hostile names end here: what
passes can be printed on a terminal and laid below a folder. What only some disks can't store
(`aux.c`, case twins, `a:b`) is lawful.
"""

import re
import unicodedata
from typing import Final

from p2p_server.directory.errors import FieldInvalid
from p2p_server.directory.models import Digest, Limits, PeerId

MAX_PART_BYTES: Final = 255
MAX_SOFTWARE_BYTES: Final = 128
MAX_MEDIA_TYPE_BYTES: Final = 127

_USER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_PEER_ID = re.compile(r"[A-Za-z0-9_-]{16,64}")
_LABEL = re.compile(r"[A-Za-z0-9_-]{1,64}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_MEDIA_TYPE = re.compile(r"[A-Za-z0-9!#$&^_.+-]+/[A-Za-z0-9!#$&^_.+-]+")

# Joiners change how letters of some scripts and emoji are drawn: names need them.
_LAWFUL_FORMAT = frozenset("\u200c\u200d")
_UNLAWFUL_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def checked_user(name: str) -> str:
    if not _USER.fullmatch(name):
        raise FieldInvalid(
            "user", "1 to 64 characters of A-Z a-z 0-9 . _ -, beginning with a letter or digit"
        )
    return name


def checked_peer_id(text: str) -> PeerId:
    if not _PEER_ID.fullmatch(text):
        raise FieldInvalid("peer_id", "16 to 64 characters of A-Z a-z 0-9 _ -")
    return PeerId(text)


def is_label(text: str) -> bool:
    """Whether it may be an epoch or the id of a snapshot."""
    return _LABEL.fullmatch(text) is not None


def is_digest(text: str) -> bool:
    return _DIGEST.fullmatch(text) is not None


def checked_digest(field: str, text: str) -> Digest:
    if not is_digest(text):
        raise FieldInvalid(field, "a digest is 64 lower-case hexadecimal characters")
    return Digest(text)


def is_media_type(text: str) -> bool:
    return len(text) <= MAX_MEDIA_TYPE_BYTES and _MEDIA_TYPE.fullmatch(text) is not None


def path_fault(path: str, limits: Limits) -> str:
    """Why the path may not be listed, for people; empty: it may. Cost: O(length of the path)."""
    if not path:
        return "the path is empty"
    if len(path) > limits.max_path_bytes:  # before anything that takes longer for longer ones
        return _too_long(limits)
    # Nearly all paths are short, plain and printable: those take the quick way.
    if not path.isprintable() and (fault := _character_fault(path)):
        return fault
    if "\\" in path:
        return "the path has a backslash"
    if not unicodedata.is_normalized("NFC", path):
        return "the path is not in Unicode normal form C"
    if len(path.encode()) > limits.max_path_bytes:
        return _too_long(limits)
    parts = path.split("/")
    if len(parts) > limits.max_path_levels:
        return f"the path has more than {limits.max_path_levels} levels"
    return next(filter(None, map(_part_fault, parts)), "")


def _too_long(limits: Limits) -> str:
    return f"the path is longer than {limits.max_path_bytes} bytes"


def _character_fault(path: str) -> str:
    for character in path:
        category = unicodedata.category(character)
        if category in _UNLAWFUL_CATEGORIES and character not in _LAWFUL_FORMAT:
            return f"the path has an unprintable character (U+{ord(character):04X})"
    return ""


def _part_fault(part: str) -> str:
    if not part:
        return "the path is not relative, or has an empty part"
    if part in {".", ".."}:
        return f"the path has a part `{part}`"
    if len(part) > MAX_PART_BYTES // 4 and len(part.encode()) > MAX_PART_BYTES:
        return f"a part of the path is longer than {MAX_PART_BYTES} bytes"
    return ""
