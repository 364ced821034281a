"""Digests as people write them and as the wire carries them."""

import re

from p2p_client.models import Digest

SHORTEST_PREFIX = 8
_PREFIX = re.compile(rf"[0-9a-f]{{{SHORTEST_PREFIX},64}}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


def is_digest(text: str) -> bool:
    """Whether this is a whole digest as the wire carries it."""
    return _DIGEST.fullmatch(text) is not None


def parse_prefix(text: str) -> str | None:
    """The hex of `b3:<hex>`, whole or abbreviated (8 or more characters); None: not one."""
    head, _, tail = text.partition(":")
    if head.lower() != "b3":
        return None
    tail = tail.lower()
    return tail if _PREFIX.fullmatch(tail) else None


def show(digest: Digest) -> str:
    return f"b3:{digest}"
