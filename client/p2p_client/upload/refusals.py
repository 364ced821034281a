"""Why a downloader gets nothing, or nothing more, from us: one class per reason on the wire."""

from typing import ClassVar


class SourceRefusal(Exception):
    """A refusal the downloader can act on; never raised itself.

    Texts and `facts` travel to strangers: no path of this machine, no token, is in them.
    """

    code: ClassVar[str]  # canonical status name
    reason: ClassVar[str]  # ErrorReason without its prefix

    def __init__(self, message: str, **facts: object) -> None:
        super().__init__(message)
        self.facts = {name: str(value) for name, value in facts.items()}


class Internal(SourceRefusal):
    code, reason = "INTERNAL", "INTERNAL"

    def __init__(self) -> None:
        super().__init__("an internal error of the source")


class FieldInvalid(SourceRefusal):
    code, reason = "INVALID_ARGUMENT", "FIELD_INVALID"

    def __init__(self, field: str, wanted: str) -> None:
        super().__init__(f"{field} must be {wanted}", field=field)


class TooLarge(SourceRefusal):
    code, reason = "RESOURCE_EXHAUSTED", "TOO_LARGE"

    def __init__(self, limit: int) -> None:
        super().__init__(f"at most {limit} digests in one call", limit=limit)


class ShuttingDown(SourceRefusal):
    code, reason = "UNAVAILABLE", "SHUTTING_DOWN"

    def __init__(self) -> None:
        super().__init__("the source is stopping: ask another one")


class GrantMissing(SourceRefusal):
    code, reason = "UNAUTHENTICATED", "GRANT_MISSING"

    def __init__(self) -> None:
        super().__init__("no grant came with the call: ask the directory for one (Locate)")


class GrantInvalid(SourceRefusal):
    code, reason = "UNAUTHENTICATED", "GRANT_INVALID"

    def __init__(self) -> None:
        super().__init__("the grant is malformed or not signed by this source's directory")


class GrantExpired(SourceRefusal):
    code, reason = "UNAUTHENTICATED", "GRANT_EXPIRED"

    def __init__(self) -> None:
        super().__init__(
            "the grant is not valid now by the directory's clock: ask the directory for a new one; "
            "if that does not help, a clock is wrong"
        )


class GrantMismatch(SourceRefusal):
    code, reason = "PERMISSION_DENIED", "GRANT_MISMATCH"

    def __init__(self, what: str) -> None:
        super().__init__(f"the grant is for {what}")


class Unknown(SourceRefusal):
    code, reason = "NOT_FOUND", "CONTENT_UNKNOWN"

    def __init__(self) -> None:
        super().__init__("this source does not share that content")


class Changed(SourceRefusal):
    code, reason = "ABORTED", "CONTENT_CHANGED"

    def __init__(self) -> None:
        super().__init__("the file no longer has that content; it is hashed and announced anew")


class RangeInvalid(SourceRefusal):
    code, reason = "OUT_OF_RANGE", "RANGE_INVALID"

    def __init__(self, size_bytes: int) -> None:
        super().__init__(
            f"read_offset must lie within the {size_bytes} bytes and read_limit not be negative",
            size_bytes=size_bytes,
        )


class NoSuchPiece(SourceRefusal):
    code, reason = "OUT_OF_RANGE", "RANGE_INVALID"

    def __init__(self, piece_count: int) -> None:
        super().__init__(
            f"piece_index must be one of the {piece_count} pieces", piece_count=piece_count
        )


class TooManyReports(SourceRefusal):
    code, reason = "RESOURCE_EXHAUSTED", "OVERLOADED"

    def __init__(self) -> None:
        super().__init__("too many reports of bad pieces: one for each piece is enough")


class Missing(SourceRefusal):
    code, reason = "FAILED_PRECONDITION", "PIECES_MISSING"

    def __init__(self) -> None:
        super().__init__("this source is still downloading it and lacks some of that range")


class Overloaded(SourceRefusal):
    code, reason = "RESOURCE_EXHAUSTED", "OVERLOADED"

    def __init__(self, limit: int) -> None:
        super().__init__(f"{limit} watch already: go on without", limit=limit)


class TooManyCalls(SourceRefusal):
    code, reason = "RESOURCE_EXHAUSTED", "OVERLOADED"

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"{limit} calls of your host are not over: take their answers", limit=limit
        )


class TooManyStreams(SourceRefusal):
    code, reason = "RESOURCE_EXHAUSTED", "TOO_MANY_STREAMS"

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"the source serves {limit} streams already: try later or elsewhere", limit=limit
        )


class StreamIdle(SourceRefusal):
    code, reason = "DEADLINE_EXCEEDED", "STREAM_IDLE"

    def __init__(self, seconds: float) -> None:
        super().__init__(f"nothing was taken for {seconds:g} s: resume when ready")


class Unreadable(SourceRefusal):
    code, reason = "UNAVAILABLE", "CONTENT_UNREADABLE"

    def __init__(self) -> None:
        super().__init__("the source's disk does not give the file now: ask another source")
