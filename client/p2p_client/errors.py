"""What can go wrong at a peer, by blame and remedy.

    PeerError
    ├── UsageError           2   what was asked makes no sense, or is missing something
    ├── NotFound             3   nothing online has that name or digest
    ├── Ambiguous            4   several different contents have that name
    ├── DirectoryError       5   the directory …
    │   ├── DirectoryUnreachable      … does not answer
    │   ├── DirectoryUntrusted        … is not the one we know
    │   └── DirectoryRefused          … said no (carries the wire's reason)
    ├── TransferFailed       6   no source is left, or the disk is full; names each source's reason
    └── LocalRefusal         7   the target exists, is not writable, is a folder; a limit of ours

    SourceError              never leaves a download: why one source gave us nothing more
    ├── SourceMisbehaved         it lied (bad piece, wrong manifest): never ask it again for this
    ├── SourceUnavailable        it does not answer, is busy, stalls: others first, maybe later
    └── SourceStale              its file or our grant is out of date: locate again

The number is the exit status of the command line. `reason` is UPPER_SNAKE, for programs; the text
is one sentence for people: what happened, to what, what to do. No text holds a secret.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar


class PeerError(Exception):
    """A failure the user can act on; the base of all that the public API raises."""

    exit_status: ClassVar[int] = 1
    reason: str = "INTERNAL"

    def __init__(self, message: str, *, reason: str | None = None) -> None:
        super().__init__(message)
        if reason is not None:
            self.reason = reason


class UsageError(PeerError):
    exit_status = 2
    reason = "USAGE"


class NotFound(PeerError):
    exit_status = 3
    reason = "NOT_FOUND"


class Ambiguous(PeerError):
    """Several different contents have the name; `candidates` are ready-to-paste `OWNER:PATH`."""

    exit_status = 4
    reason = "AMBIGUOUS"

    def __init__(self, message: str, candidates: Sequence[str]) -> None:
        super().__init__(message)
        self.candidates = tuple(candidates)


class DirectoryError(PeerError):
    exit_status = 5
    reason = "DIRECTORY_ERROR"


class DirectoryUnreachable(DirectoryError):
    reason = "DIRECTORY_UNREACHABLE"


class DirectoryUntrusted(DirectoryError):
    """The directory shows another key than the one on record; `expected` and `found` are both."""

    reason = "DIRECTORY_UNTRUSTED"

    def __init__(self, message: str, expected: str, found: str) -> None:
        super().__init__(message)
        self.expected = expected
        self.found = found


class DirectoryRefused(DirectoryError):
    """The directory answered with an error; `code` is the canonical status name."""

    def __init__(
        self, message: str, *, code: str, reason: str, facts: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message, reason=reason)
        self.code = code
        self.facts = dict(facts or {})


class TransferFailed(PeerError):
    """The download cannot go on now; what was verified is kept and the next run resumes."""

    exit_status = 6
    reason = "TRANSFER_FAILED"


class DiskFull(TransferFailed):
    reason = "DISK_FULL"


class LocalRefusal(PeerError):
    exit_status = 7
    reason = "REFUSED"


class TargetExists(LocalRefusal):
    reason = "TARGET_EXISTS"


class TargetUnwritable(LocalRefusal):
    reason = "TARGET_UNWRITABLE"


class SourceError(Exception):
    """Why one source gave us nothing more. `reason` as on the wire where it came from there."""

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class SourceMisbehaved(SourceError):
    """It served what cannot be true. Remedy: ban it within its manifest group."""


class BadPiece(SourceMisbehaved):
    """A piece that it served does not fit the manifest; it may not know."""

    def __init__(self, index: int) -> None:
        super().__init__("it served a bad piece", reason="BAD_PIECE")
        self.index = index


class SourceImpostor(SourceMisbehaved):
    """Somebody with another key answers, wherever the source is listed: to ask again is no help."""

    def __init__(self, message: str) -> None:
        super().__init__(message, reason="CERTIFICATE_MISMATCH")


class SourceUnavailable(SourceError):
    """It does not answer, is busy, stalls or is stopping. Remedy: others first, later again."""


class SourceStale(SourceError):
    """Its file changed, it no longer shares the content, or the grant expired. Remedy: locate."""
