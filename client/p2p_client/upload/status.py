"""Refusals on the wire: a canonical code and one google.rpc.ErrorInfo."""

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status

from p2p_client.library.errors import (
    ContentChanged,
    ContentError,
    ContentUnknown,
    PiecesMissing,
)
from p2p_client.upload.refusals import Changed, Missing, SourceRefusal, Unknown, Unreadable

DOMAIN = "p2p.v1"


def to_status(refusal: SourceRefusal) -> grpc.Status:
    detail = AnyMessage()
    detail.Pack(ErrorInfo(reason=refusal.reason, domain=DOMAIN, metadata=refusal.facts))
    code: int = grpc.StatusCode[refusal.code].value[0]
    status: grpc.Status = rpc_status.to_status(
        Status(code=code, message=str(refusal), details=[detail])
    )
    return status


def refusal_of(error: ContentError) -> SourceRefusal:
    """What the downloader is told of trouble in the library."""
    if isinstance(error, ContentUnknown):
        return Unknown()
    if isinstance(error, PiecesMissing):
        return Missing()
    return Changed() if isinstance(error, ContentChanged) else Unreadable()
