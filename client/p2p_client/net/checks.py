"""The contract's rules for single values, as one who is told them must check them. Pure.

A directory that lies must get no odd name, number or address past here. The wire applies these;
library and download have rules of their own for what they put on and take from a disk.
"""

import ipaddress
import math
import re
import unicodedata
from datetime import UTC, datetime, timedelta

from p2p_client.models import Endpoint

LONGEST_GRANT = 7_000  # gRPC may refuse metadata from 8 KiB on
LONGEST_TOKEN = 4_096
LONGEST_MEDIA_TYPE = 127
MOST_PATH_BYTES = 1_024
MOST_PATH_LEVELS = 64
MOST_PART_BYTES = 255

_USER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_PEER_ID = re.compile(r"[A-Za-z0-9_-]{16,64}")
_EPOCH = re.compile(r"[A-Za-z0-9_-]{1,64}")
_BEARER = re.compile(r"[A-Za-z0-9._~+/=-]+")
_MEDIA_TYPE = re.compile(r"[A-Za-z0-9!#$&^_.+-]+/[A-Za-z0-9!#$&^_.+-]+")
_PART = "[A-Za-z0-9_][A-Za-z0-9_. -]{0,63}"
_PLAIN_PATH = re.compile(f"(?:{_PART}/){{0,9}}{_PART}")
"""What most paths are like, and nothing is wrong with: seen in a fraction of the time."""
_UNPRINTABLE = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"))
_JOINERS = "\u200c\u200d"  # they shape Persian, Indic scripts and emoji
_EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST_SECONDS = 250_000_000_000  # a little before the year 9900: room to reckon in

Literal = ipaddress.IPv4Address | ipaddress.IPv6Address


def is_user(text: str) -> bool:
    return _USER.fullmatch(text) is not None


def is_peer_id(text: str) -> bool:
    return _PEER_ID.fullmatch(text) is not None


def is_epoch(text: str) -> bool:
    return _EPOCH.fullmatch(text) is not None


def is_bearer(text: str, longest: int) -> bool:
    """Whether it can travel as a bearer token in metadata."""
    return len(text) <= longest and _BEARER.fullmatch(text) is not None


def is_media_type(text: str) -> bool:
    return len(text) <= LONGEST_MEDIA_TYPE and _MEDIA_TYPE.fullmatch(text) is not None


def is_lawful_path(path: str) -> bool:
    """Whether a resource may be listed under it: relative, POSIX, NFC, printable, bounded."""
    if _PLAIN_PATH.fullmatch(path):
        return True
    if path.isascii() and path.isprintable():
        size_bytes = len(path)  # nearly all paths; saves the walk over the characters
    else:
        if not all(c in _JOINERS or unicodedata.category(c) not in _UNPRINTABLE for c in path):
            return False
        if not unicodedata.is_normalized("NFC", path):
            return False
        size_bytes = len(path.encode())
    framed = f"/{path}/"
    return (
        size_bytes <= MOST_PATH_BYTES
        and path.count("/") < MOST_PATH_LEVELS
        and "\\" not in path
        and not any(wrong in framed for wrong in ("//", "/./", "/../"))
        and (
            size_bytes <= MOST_PART_BYTES
            or all(len(part.encode()) <= MOST_PART_BYTES for part in path.split("/"))
        )
    )


def parse_literal(host: str) -> Literal | None:
    """The address in its plain form (an IPv4 one out of its IPv6 mapping); None: not a literal,
    or one with a zone."""
    try:
        literal = ipaddress.ip_address(host)
    except ValueError:
        return None
    if isinstance(literal, ipaddress.IPv6Address):
        return None if literal.scope_id is not None else literal.ipv4_mapped or literal
    return literal


def is_dialable(literal: Literal) -> bool:
    """Whether it can be one other host's address: not multicast, link-local, unspecified."""
    return not (
        literal.is_unspecified
        or literal.is_multicast
        or literal.is_link_local
        or literal == ipaddress.IPv4Address("255.255.255.255")
    )


def lawful_endpoint(host: str, port: int) -> Endpoint | None:
    """The endpoint in canonical form; None for one that a directory must not send us to."""
    literal = parse_literal(host)
    if literal is None or not 1 <= port <= 65_535 or not is_dialable(literal):
        return None
    return Endpoint(str(literal), port)


def clamp(value: float, least: float, most: float) -> float:
    return max(least, min(value, most)) if math.isfinite(value) else least


def instant(seconds: int, nanos: int) -> datetime:
    """A Timestamp as an aware UTC time, kept between 1970 and about the year 9900."""
    if not (0 <= seconds <= _LATEST_SECONDS and 0 <= nanos <= 999_999_999):
        seconds = min(max(seconds, 0), _LATEST_SECONDS)
        nanos = min(max(nanos, 0), 999_999_999)
    return _EARLIEST + timedelta(0, seconds, nanos // 1_000)
