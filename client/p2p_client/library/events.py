"""What a library tells while it runs: frozen values, the only language between it and its watchers.

Paths are as listed, or made printable where they could not be listed.
"""

from p2p_client.models import Digest
from p2p_client.records import dataclass


@dataclass(frozen=True, slots=True)
class Skipped:
    """Something in a shared folder that is not shared, and why, in words for people."""

    path: str
    why: str


@dataclass(frozen=True, slots=True)
class Listed:
    """A file is hashed and on its way to the directory."""

    path: str
    size_bytes: int
    digest: Digest


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """A file that was listed is gone, or changed and is being hashed again."""

    path: str


@dataclass(frozen=True, slots=True)
class HashProgress:
    """At most a few times a second while files are hashed, and once at the end.

    The counts run over all that was found to need hashing since the library was last idle;
    at the end done equals total.
    """

    done_files: int
    total_files: int
    done_bytes: int
    total_bytes: int


@dataclass(frozen=True, slots=True)
class Notice:
    """Something a person might want to know, in one sentence."""

    text: str


LibraryEvent = Skipped | Listed | Withdrawn | HashProgress | Notice
