"""What the directory refuses, by reason.

    DirectoryError
    ├── FieldInvalid, TooLarge                      the request is malformed, or too much at once
    ├── Overloaded, ShuttingDown, StoreUnavailable  not now
    ├── ChallengeInvalid, ProofInvalid, CertificateInvalid,
    │   UsernameTaken, PeerIdTaken, TooManyPeers    no registration
    ├── SessionMissing, SessionUnknown              not registered (any more)
    ├── TooManySessions                             no registration from this address
    ├── RevisionMismatch, TooManyResources, TooManyAnnounces, PeerUnlisted   no announce
    ├── PageTokenInvalid                            no such page
    └── WatchTooSlow, ResumeTokenInvalid, TooManyWatchers   no watch (any more)

Each class is one ErrorReason of `types.proto`, which tells the remedy. `code` is the canonical
status name, so that nothing here knows gRPC; `facts` become ErrorInfo.metadata. Neither text nor
facts hold a path, a token or a key.
"""

from typing import ClassVar

from p2p_server.directory.models import Revision


class DirectoryError(Exception):
    """A refusal the caller can act on. One subclass per ErrorReason; never raised itself."""

    code: ClassVar[str]
    reason: ClassVar[str]

    def __init__(self, message: str, **facts: object) -> None:
        super().__init__(message)
        self.facts = {name: str(value) for name, value in facts.items()}


class FieldInvalid(DirectoryError):
    code, reason = "INVALID_ARGUMENT", "FIELD_INVALID"

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}", field=field)


class TooLarge(DirectoryError):
    code, reason = "RESOURCE_EXHAUSTED", "TOO_LARGE"

    def __init__(self, limit: int, what: str) -> None:
        super().__init__(f"too many {what} in one request: at most {limit}", limit=limit)


class Overloaded(DirectoryError):
    code, reason = "RESOURCE_EXHAUSTED", "OVERLOADED"

    def __init__(self, message: str = "the directory has too much to do; retry later") -> None:
        super().__init__(message)


class ShuttingDown(DirectoryError):
    code, reason = "UNAVAILABLE", "SHUTTING_DOWN"

    def __init__(self) -> None:
        super().__init__("the directory is stopping; retry later")


class StoreUnavailable(DirectoryError):
    """The database does not answer, or its disk is full. Why stands in the log, not in the text."""

    code, reason = "UNAVAILABLE", "STORE_UNAVAILABLE"

    def __init__(self) -> None:
        super().__init__("the directory's database is not available now; retry later")


class ChallengeInvalid(DirectoryError):
    code, reason = "UNAUTHENTICATED", "CHALLENGE_INVALID"

    def __init__(self, why: str) -> None:
        super().__init__(f"the challenge {why}; call GetDirectoryInfo for a new one")


class ProofInvalid(DirectoryError):
    code, reason = "UNAUTHENTICATED", "PROOF_INVALID"

    def __init__(self) -> None:
        super().__init__(
            "the proof does not fit the certificate and what it must sign: a wrong key, or "
            "somebody between you and the directory"
        )


class CertificateInvalid(DirectoryError):
    code, reason = "INVALID_ARGUMENT", "CERTIFICATE_INVALID"

    def __init__(self, why: str) -> None:
        super().__init__(f"the certificate {why}")


class UsernameTaken(DirectoryError):
    code, reason = "ALREADY_EXISTS", "USERNAME_TAKEN"

    def __init__(self, user: str) -> None:
        super().__init__(
            f'the user name "{user}" belongs to another key: choose another name, or import '
            "the key that it belongs to",
            user=user,
        )


class PeerIdTaken(DirectoryError):
    code, reason = "PERMISSION_DENIED", "PEER_ID_TAKEN"

    def __init__(self) -> None:
        super().__init__("the peer_id belongs to another user: make a new one")


class TooManyPeers(DirectoryError):
    code, reason = "RESOURCE_EXHAUSTED", "TOO_MANY_PEERS"

    def __init__(self, limit: int) -> None:
        super().__init__(f"the user has {limit} peers online already: stop one", limit=limit)


class SessionMissing(DirectoryError):
    code, reason = "UNAUTHENTICATED", "SESSION_MISSING"

    def __init__(self) -> None:
        super().__init__("the call carries no session token: register first")


class SessionUnknown(DirectoryError):
    """The token is unknown, replaced, or its lease has ended: which of them is told to nobody."""

    code, reason = "UNAUTHENTICATED", "SESSION_UNKNOWN"

    def __init__(self) -> None:
        super().__init__("the session is unknown or its lease has ended: register again")


class RevisionMismatch(DirectoryError):
    code, reason = "ABORTED", "REVISION_MISMATCH"

    def __init__(self, held: Revision) -> None:
        super().__init__(
            "the batch does not follow what the directory holds: announce a snapshot",
            held_epoch=held.epoch,
            held_counter=held.counter,
        )
        self.held = held


class TooManyResources(DirectoryError):
    code, reason = "RESOURCE_EXHAUSTED", "TOO_MANY_RESOURCES"

    def __init__(self, limit: int) -> None:
        super().__init__(f"a user may share at most {limit} resources: share fewer", limit=limit)


class PeerUnlisted(DirectoryError):
    code, reason = "FAILED_PRECONDITION", "PEER_UNLISTED"

    def __init__(self) -> None:
        super().__init__("a client-only session cannot announce: register with `listed`")


class PageTokenInvalid(DirectoryError):
    code, reason = "INVALID_ARGUMENT", "PAGE_TOKEN_INVALID"

    def __init__(self) -> None:
        super().__init__("the page token was not given out for this request: start at page one")


class WatchTooSlow(DirectoryError):
    code, reason = "RESOURCE_EXHAUSTED", "WATCH_TOO_SLOW"

    def __init__(self) -> None:
        super().__init__(
            "the watcher takes events slower than they come: watch again with the last resume "
            "token, and read faster or watch less"
        )


class ResumeTokenInvalid(DirectoryError):
    code, reason = "INVALID_ARGUMENT", "RESUME_TOKEN_INVALID"

    def __init__(self) -> None:
        super().__init__("the resume token was not given out for this watch: watch without one")


class TooManyWatchers(DirectoryError):
    code, reason = "RESOURCE_EXHAUSTED", "TOO_MANY_WATCHERS"

    def __init__(self, limit: int, whose: str) -> None:
        super().__init__(f"{whose} has {limit} watches open already: stop one", limit=limit)


class TooManyAnnounces(DirectoryError):
    code, reason = "RESOURCE_EXHAUSTED", "TOO_MANY_ANNOUNCES"

    def __init__(self, limit: int, retry_after_seconds: float) -> None:
        super().__init__(
            f"more than {limit} announces a minute: wait {retry_after_seconds:.0f} s, and put more "
            "into one batch",
            limit=limit,
            retry_after_seconds=f"{retry_after_seconds:.1f}",
        )


class TooManySessions(DirectoryError):
    code, reason = "RESOURCE_EXHAUSTED", "TOO_MANY_SESSIONS"

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"{limit} sessions are open from this address already: stop some, or have the operator "
            "allow more (--max-sessions-per-address)",
            limit=limit,
        )
