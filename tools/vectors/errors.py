"""Errors as they travel: which reason comes with which status, and how to read one."""

from tools.vectors.base import Case, chunk, number

CODES = {
    "INVALID_ARGUMENT": 3, "DEADLINE_EXCEEDED": 4, "NOT_FOUND": 5, "ALREADY_EXISTS": 6,
    "PERMISSION_DENIED": 7, "RESOURCE_EXHAUSTED": 8, "FAILED_PRECONDITION": 9, "ABORTED": 10,
    "OUT_OF_RANGE": 11, "INTERNAL": 13, "UNAVAILABLE": 14, "UNAUTHENTICATED": 16,
}  # fmt: skip
ITEM = ""  # the reason of a RejectedItem only: of no call
REASONS = {
    "INTERNAL": (1, "INTERNAL"),
    "FIELD_INVALID": (2, "INVALID_ARGUMENT"),
    "TOO_LARGE": (3, "RESOURCE_EXHAUSTED"),
    "OVERLOADED": (4, "RESOURCE_EXHAUSTED"),
    "SHUTTING_DOWN": (5, "UNAVAILABLE"),
    "STORE_UNAVAILABLE": (6, "UNAVAILABLE"),
    "CHALLENGE_INVALID": (20, "UNAUTHENTICATED"),
    "PROOF_INVALID": (21, "UNAUTHENTICATED"),
    "CERTIFICATE_INVALID": (22, "INVALID_ARGUMENT"),
    "USERNAME_TAKEN": (23, "ALREADY_EXISTS"),
    "PEER_ID_TAKEN": (24, "PERMISSION_DENIED"),
    "SESSION_MISSING": (25, "UNAUTHENTICATED"),
    "SESSION_UNKNOWN": (26, "UNAUTHENTICATED"),
    "TOO_MANY_PEERS": (27, "RESOURCE_EXHAUSTED"),
    "REVISION_MISMATCH": (40, "ABORTED"),
    "TOO_MANY_RESOURCES": (41, "RESOURCE_EXHAUSTED"),
    "PEER_UNLISTED": (42, "FAILED_PRECONDITION"),
    "PAGE_TOKEN_INVALID": (43, "INVALID_ARGUMENT"),
    "PATH_INVALID": (44, ITEM),
    "ITEM_INVALID": (45, ITEM),
    "WATCH_TOO_SLOW": (46, "RESOURCE_EXHAUSTED"),
    "RESUME_TOKEN_INVALID": (47, "INVALID_ARGUMENT"),
    "TOO_MANY_WATCHERS": (48, "RESOURCE_EXHAUSTED"),
    "TOO_MANY_ANNOUNCES": (49, "RESOURCE_EXHAUSTED"),
    "TOO_MANY_SESSIONS": (50, "RESOURCE_EXHAUSTED"),
    "GRANT_MISSING": (60, "UNAUTHENTICATED"),
    "GRANT_INVALID": (61, "UNAUTHENTICATED"),
    "GRANT_EXPIRED": (62, "UNAUTHENTICATED"),
    "GRANT_MISMATCH": (63, "PERMISSION_DENIED"),
    "CONTENT_UNKNOWN": (64, "NOT_FOUND"),
    "CONTENT_CHANGED": (65, "ABORTED"),
    "RANGE_INVALID": (66, "OUT_OF_RANGE"),
    "TOO_MANY_STREAMS": (67, "RESOURCE_EXHAUSTED"),
    "STREAM_IDLE": (68, "DEADLINE_EXCEEDED"),
    "CONTENT_UNREADABLE": (69, "UNAVAILABLE"),
    "PIECES_MISSING": (70, "FAILED_PRECONDITION"),
}
FACTS = {"held_epoch": "e1", "held_counter": "17"}


def packed_any(kind: str, message: bytes) -> bytes:
    """One of google.rpc.Status.details: a google.protobuf.Any."""
    return chunk(3, chunk(1, f"type.googleapis.com/google.rpc.{kind}") + chunk(2, message))


def error_info(reason: str, domain: str = "p2p.v1", facts: dict[str, str] | None = None) -> bytes:
    entries = (chunk(1, name) + chunk(2, text) for name, text in (facts or {}).items())
    info = chunk(1, reason) + chunk(2, domain) + b"".join(chunk(3, at) for at in entries)
    return packed_any("ErrorInfo", info)


def details_case(
    name: str, code: str, details: bytes, reason: str, facts: dict[str, str] | None = None
) -> Case:
    status = number(1, CODES[code]) + chunk(2, "words for people") + details
    return {
        "name": name,
        "code": code,
        "details_bin": status.hex(),
        "reason": reason,
        "metadata": facts or {},
    }


def errors() -> Case:
    mismatch, retry = "REVISION_MISMATCH", packed_any("RetryInfo", b"")
    return {
        "about": "`reasons`: each with its number in ErrorReason and the status code that it "
        "always comes with (none: the reason of a RejectedItem only). `cases`: "
        "`details_bin` is the value of the trailer `grpc-status-details-bin` (base64 on "
        "the wire; libraries undo that), an encoded google.rpc.Status. `reason` is what "
        "to read out of it, empty where it carries none of ours: go by the status code "
        "then.",
        "reasons": [
            {"reason": reason, "number": value, "code": code, "code_number": CODES.get(code, 0)}
            for reason, (value, code) in REASONS.items()
        ],
        "cases": [
            details_case(
                "without metadata", "NOT_FOUND", error_info("CONTENT_UNKNOWN"), "CONTENT_UNKNOWN"
            ),
            details_case(
                "with metadata", "ABORTED", error_info(mismatch, facts=FACTS), mismatch, FACTS
            ),
            details_case(
                "behind another detail", "ABORTED", retry + error_info(mismatch), mismatch
            ),
            details_case(
                "a reason of a later contract", "UNAVAILABLE", error_info("TOO_HOT"), "TOO_HOT"
            ),
            details_case("of another domain", "ABORTED", error_info(mismatch, "example.com"), ""),
            details_case("another detail alone", "ABORTED", retry, ""),
            details_case("no details", "UNAVAILABLE", b"", ""),
            details_case("cut off", "ABORTED", error_info(mismatch, facts=FACTS)[:-3], ""),
        ],
    }
