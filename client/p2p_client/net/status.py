"""From gRPC's errors to ours, by blame and remedy.

The texts of the other side are cut and made printable here: they end on terminals.
"""

import re
import unicodedata
from collections.abc import Mapping

import grpc
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

from p2p_client.errors import (
    DirectoryError,
    DirectoryRefused,
    DirectoryUnreachable,
    SourceError,
    SourceMisbehaved,
    SourceStale,
    SourceUnavailable,
)
from p2p_client.net.stream.call_status import CallStatus
from p2p_client.records import dataclass

DOMAIN = "p2p.v1"
_DETAILS_KEY = "grpc-status-details-bin"
_REASON = re.compile(r"[A-Z][A-Z0-9_]{0,62}")
_LONGEST_TEXT = 300
_MOST_FACTS = 16

# Without a reason of ours these come from gRPC itself: no connection, or no answer in time.
_NO_ANSWER = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.CANCELLED,
    }
)
_CONNECTION_TEXTS = (
    ("connection refused", "refuses the connection"),
    ("certificate_verify_failed", "shows another certificate than expected"),
    ("dns resolution failed", "has a host name that is not known"),
    ("domain name not found", "has a host name that is not known"),
    ("no route to host", "cannot be reached: no route to its host"),
    ("network is unreachable", "cannot be reached: no network"),
    ("socket closed", "closes the connection"),
    ("goaway", "closes the connection"),
    ("connection reset", "closes the connection"),
    ("cancelling all calls", "closes the connection"),
)
_STALE = frozenset(
    {
        "GRANT_MISSING",
        "GRANT_INVALID",
        "GRANT_EXPIRED",
        "GRANT_MISMATCH",
        "CONTENT_UNKNOWN",
        "CONTENT_CHANGED",
    }
)
_MISBEHAVED = frozenset({"RANGE_INVALID", "FIELD_INVALID", "TOO_LARGE"})


@dataclass(frozen=True, slots=True)
class Refusal:
    """What an error says, made safe to print; `reason` is empty where it carries none of ours."""

    code: grpc.StatusCode
    reason: str
    message: str
    facts: Mapping[str, str]


def printable(text: str, longest: int = _LONGEST_TEXT) -> str:
    """The text in one line, without what could move a terminal's cursor, cut to `longest`."""
    plain = "".join(
        character if not unicodedata.category(character).startswith(("C", "Zl", "Zp")) else " "
        for character in text[: 2 * longest]
    )
    return " ".join(plain.split())[:longest]


def read_refusal(error: grpc.aio.AioRpcError) -> Refusal:
    details = (
        value
        for key, value in error.trailing_metadata() or ()
        if key == _DETAILS_KEY and isinstance(value, bytes)
    )
    return refusal_of(error.code(), error.details() or "", next(details, b""))


def refusal_of(code: grpc.StatusCode, message: str, details: bytes) -> Refusal:
    """Of a status as it came; `details` is an encoded google.rpc.Status, or empty."""
    info = _error_info(details)
    reason = info.reason if info is not None and _REASON.fullmatch(info.reason) else ""
    facts = {} if info is None else dict(list(info.metadata.items())[:_MOST_FACTS])
    return Refusal(
        code,
        reason,
        printable(message),
        {printable(name, 64): printable(value) for name, value in facts.items()},
    )


def directory_error(error: grpc.aio.AioRpcError, address: str) -> DirectoryError:
    """What a failed call to the directory at `address` means.

    DirectoryUnreachable: no answer, or it is stopping; else DirectoryRefused.
    """
    refusal = read_refusal(error)
    if not refusal.reason and refusal.code in _NO_ANSWER:
        return DirectoryUnreachable(f"the directory {address} {_no_answer(refusal)}")
    if refusal.reason == "SHUTTING_DOWN":
        return DirectoryUnreachable(f"the directory {address} is stopping: try again soon")
    return DirectoryRefused(
        f"the directory {address} refused: {refusal.message or refusal.code.name}",
        code=refusal.code.name,
        reason=refusal.reason or refusal.code.name,
        facts=refusal.facts,
    )


_TOO_LARGE_FOR_US = "larger than max"  # gRPC's, of what it received; all else came from there
_CODES = {code.value[0]: code for code in grpc.StatusCode}


def source_error(error: grpc.aio.AioRpcError | CallStatus) -> SourceError:
    """What a failed call to a source means for the download."""
    if isinstance(error, CallStatus):
        code = _CODES.get(error.code, grpc.StatusCode.UNKNOWN)
        refusal = refusal_of(code, error.message, error.details)
    else:
        refusal = read_refusal(error)
    if refusal.reason in _STALE:
        return SourceStale(refusal.message or refusal.reason, reason=refusal.reason)
    if refusal.reason in _MISBEHAVED:
        return SourceMisbehaved(refusal.message or refusal.reason, reason=refusal.reason)
    if refusal.reason:
        return SourceUnavailable(refusal.message or refusal.reason, reason=refusal.reason)
    if refusal.code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        if _TOO_LARGE_FOR_US in refusal.message:  # an honest source stays below our limit
            return SourceMisbehaved("it sent a message over the limit", reason="TOO_LARGE")
        return SourceUnavailable("it has too many calls to answer", reason="OVERLOADED")
    if _is_timeout(refusal):
        return SourceUnavailable("it did not answer in time", reason="STALLED")
    if refusal.code is grpc.StatusCode.UNAVAILABLE:
        return SourceUnavailable(f"it {_no_answer(refusal)}", reason="UNREACHABLE")
    return SourceUnavailable(refusal.message or refusal.code.name, reason=refusal.code.name)


def _no_answer(refusal: Refusal) -> str:
    """gRPC's own texts on connections are for its makers."""
    if _is_timeout(refusal):
        return "does not answer in time"
    for theirs, ours in _CONNECTION_TEXTS:
        if theirs in refusal.message.lower():
            return ours
    return f"does not answer: {refusal.message or 'no connection'}"


def _is_timeout(refusal: Refusal) -> bool:
    return refusal.code is grpc.StatusCode.DEADLINE_EXCEEDED


def _error_info(details: bytes) -> ErrorInfo | None:
    status, info = Status(), ErrorInfo()
    try:
        status.ParseFromString(details)
        for detail in status.details:
            if detail.Is(ErrorInfo.DESCRIPTOR) and detail.Unpack(info):
                return info if info.domain == DOMAIN else None
    except DecodeError:
        pass
    return None
