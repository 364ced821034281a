"""What a Query asks for, from what was sent to what the store is asked."""

import re
import unicodedata
from dataclasses import dataclass
from typing import Final

from p2p_server.directory.errors import FieldInvalid
from p2p_server.directory.models import Criteria, Limits, Order
from p2p_server.directory.query import fold

MAX_PATTERN_BYTES: Final = 512
MAX_WILDCARDS: Final = 16
MAX_OWNER_BYTES: Final = 64
MAX_MEDIA_TYPE_BYTES: Final = 127

_WILDCARD = re.compile(r"\*+|\?")
_DIGEST_PREFIX = re.compile(r"[0-9a-f]{8,64}")


@dataclass(frozen=True, slots=True)
class Asked:
    """The criteria of a QueryRequest, unchecked."""

    text: str = ""
    glob: str = ""
    path: str = ""
    name: str = ""
    owner: str = ""
    digest_prefix: str = ""
    min_size_bytes: int | None = None
    max_size_bytes: int | None = None
    media_type: str = ""
    order: Order = Order.PATH


def criteria_of(asked: Asked, limits: Limits) -> Criteria:
    """Raises FieldInvalid."""
    _check_bytes("text", asked.text, MAX_PATTERN_BYTES)
    _check_bytes("glob", asked.glob, MAX_PATTERN_BYTES)
    _check_bytes("path", asked.path, limits.max_path_bytes)
    _check_bytes("name", asked.name, limits.max_path_bytes)
    _check_bytes("media_type", asked.media_type, MAX_MEDIA_TYPE_BYTES)
    if len(_WILDCARD.findall(asked.glob)) > MAX_WILDCARDS:
        raise FieldInvalid("glob", f"at most {MAX_WILDCARDS} wildcards")
    if asked.digest_prefix and not _DIGEST_PREFIX.fullmatch(asked.digest_prefix):
        raise FieldInvalid("digest_prefix", "8 to 64 lower-case hexadecimal characters")
    _check_size("min_size_bytes", asked.min_size_bytes)
    _check_size("max_size_bytes", asked.max_size_bytes)
    return Criteria(
        words=tuple(dict.fromkeys(fold(asked.text).split())),
        glob=fold(asked.glob),
        path=unicodedata.normalize("NFC", asked.path),
        name=unicodedata.normalize("NFC", asked.name),
        owner=folded_owner("owner", asked.owner),
        digest_prefix=asked.digest_prefix,
        min_size_bytes=asked.min_size_bytes,
        max_size_bytes=asked.max_size_bytes,
        media_type=_media_type(asked.media_type),
        order=asked.order,
    )


def folded_owner(field: str, name: str) -> str:
    _check_bytes(field, name, MAX_OWNER_BYTES)
    return fold(name)


def _media_type(text: str) -> str:
    """As the store wants it: "type/sub", or "type/" for all of a kind. Types are without case."""
    lower = text.lower().removesuffix("*")
    return lower if "/" in lower or not lower else f"{lower}/"


def _check_bytes(field: str, text: str, most: int) -> None:
    if len(text.encode()) > most:
        raise FieldInvalid(field, f"at most {most} bytes")


def _check_size(field: str, size_bytes: int | None) -> None:
    if size_bytes is not None and size_bytes < 0:
        raise FieldInvalid(field, "must not be negative")
