"""Errors are told apart by blame and remedy, and their texts are safe to print."""

import grpc
import pytest
from google.protobuf.any_pb2 import Any
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from hypothesis import given
from hypothesis import strategies as st

from p2p.v1 import types_pb2
from p2p_client.errors import (
    DirectoryRefused,
    DirectoryUnreachable,
    SourceMisbehaved,
    SourceStale,
    SourceUnavailable,
)
from p2p_client.net.status import directory_error, printable, read_refusal, source_error

EVIL = "a\x1b[2Jb\r\nc\u202ed\u200be\x9b"


def error(
    code: grpc.StatusCode, details: str = "", reason: str = "", domain: str = "p2p.v1"
) -> grpc.aio.AioRpcError:
    trailing = grpc.aio.Metadata()
    if reason:
        detail = Any()
        detail.Pack(ErrorInfo(reason=reason, domain=domain, metadata={"limit": EVIL}))
        status = Status(code=code.value[0], message=details, details=[detail])
        trailing.add("grpc-status-details-bin", status.SerializeToString())
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), trailing, details=details)


@pytest.mark.parametrize(
    ("code", "reason", "kind"),
    [
        ("NOT_FOUND", "CONTENT_UNKNOWN", SourceStale),
        ("ABORTED", "CONTENT_CHANGED", SourceStale),
        ("UNAUTHENTICATED", "GRANT_EXPIRED", SourceStale),
        ("PERMISSION_DENIED", "GRANT_MISMATCH", SourceStale),
        ("OUT_OF_RANGE", "RANGE_INVALID", SourceMisbehaved),
        ("RESOURCE_EXHAUSTED", "TOO_MANY_STREAMS", SourceUnavailable),
        ("UNAVAILABLE", "SHUTTING_DOWN", SourceUnavailable),
        ("DEADLINE_EXCEEDED", "STREAM_IDLE", SourceUnavailable),
        ("UNAVAILABLE", "CONTENT_UNREADABLE", SourceUnavailable),
        ("INTERNAL", "A_REASON_OF_TOMORROW", SourceUnavailable),
        ("RESOURCE_EXHAUSTED", "", SourceUnavailable),
        ("DEADLINE_EXCEEDED", "", SourceUnavailable),
        ("UNAVAILABLE", "", SourceUnavailable),
        ("UNIMPLEMENTED", "", SourceUnavailable),
    ],
)
def test_an_error_of_a_source_says_what_to_do(code: str, reason: str, kind: type) -> None:
    mapped = source_error(error(grpc.StatusCode[code], "text", reason))

    assert type(mapped) is kind
    assert not reason or mapped.reason == reason
    assert mapped.reason


def test_only_a_message_that_is_too_large_for_us_is_held_against_a_source() -> None:
    too_large = "CLIENT: Received message larger than max (5000000 vs. 4259840)"
    busy = "Concurrent RPC limit exceeded!"

    kinds = [
        type(source_error(error(grpc.StatusCode.RESOURCE_EXHAUSTED, details)))
        for details in (too_large, busy)
    ]

    assert kinds == [SourceMisbehaved, SourceUnavailable]


@pytest.mark.parametrize(
    ("code", "reason", "kind"),
    [
        ("UNAVAILABLE", "", DirectoryUnreachable),
        ("DEADLINE_EXCEEDED", "", DirectoryUnreachable),
        ("CANCELLED", "", DirectoryUnreachable),
        ("UNAVAILABLE", "SHUTTING_DOWN", DirectoryUnreachable),
        ("UNAVAILABLE", "STORE_UNAVAILABLE", DirectoryRefused),
        ("UNIMPLEMENTED", "", DirectoryRefused),
        ("ALREADY_EXISTS", "USERNAME_TAKEN", DirectoryRefused),
    ],
)
def test_an_error_of_the_directory_is_a_refusal_or_no_answer(
    code: str, reason: str, kind: type
) -> None:
    mapped = directory_error(error(grpc.StatusCode[code], "text", reason), "files.lab:1")

    assert type(mapped) is kind
    assert "files.lab:1" in str(mapped)


@pytest.mark.parametrize("number", types_pb2.ErrorReason.values())
def test_every_reason_of_the_contract_is_understood(number: int) -> None:
    reason = types_pb2.ErrorReason.Name(
        types_pb2.ErrorReason.ValueType(number)  # the enum's values are its numbers
    ).removeprefix("ERROR_REASON_")

    assert read_refusal(error(grpc.StatusCode.ABORTED, "", reason)).reason == reason


@pytest.mark.parametrize("details", [b"\xff\xff\xff", b"", b"\x1a\x02\x0a\x7f"])
def test_garbage_in_the_details_is_no_reason(details: bytes) -> None:
    trailing = grpc.aio.Metadata(("grpc-status-details-bin", details))
    broken = grpc.aio.AioRpcError(grpc.StatusCode.ABORTED, grpc.aio.Metadata(), trailing)

    assert read_refusal(broken).reason == ""


def test_a_reason_of_another_domain_is_not_ours() -> None:
    assert read_refusal(error(grpc.StatusCode.ABORTED, "", "X", domain="else")).reason == ""


@pytest.mark.parametrize("reason", ["lower", "A" * 100, "A\nB", "1A"])
def test_a_malformed_reason_is_not_repeated(reason: str) -> None:
    assert read_refusal(error(grpc.StatusCode.ABORTED, "", reason)).reason == ""


def test_texts_of_the_other_side_are_made_safe() -> None:
    refusal = read_refusal(error(grpc.StatusCode.ABORTED, EVIL, "REVISION_MISMATCH"))

    assert refusal.message == "a [2Jb c d e"
    assert refusal.facts == {"limit": "a [2Jb c d e"}


@given(st.text(), st.integers(0, 50))
def test_printable_is_one_bounded_line(text: str, longest: int) -> None:
    shown = printable(text, longest)

    assert len(shown) <= longest
    assert shown.isprintable() or all(character.isspace() for character in shown)
    assert not set(shown) & set("\r\n\x1b\u202e\u2028")
