"""Refusals on the wire: a canonical code and one google.rpc.ErrorInfo."""

from typing import Final

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status

from p2p_server.directory.errors import DirectoryError

DOMAIN: Final = "p2p.v1"
_MOST_TEXT_CHARACTERS: Final = 512  # details travel in trailing metadata, of which there is little


class InternalError(DirectoryError):
    """A fault of ours: the log has it, the caller learns nothing from inside."""

    code, reason = "INTERNAL", "INTERNAL"

    def __init__(self) -> None:
        super().__init__("an internal error of the directory; its log has the details")


def to_status(error: DirectoryError) -> grpc.Status:
    code = grpc.StatusCode[error.code]
    detail = AnyMessage()
    detail.Pack(ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=error.facts))
    message = str(error)[:_MOST_TEXT_CHARACTERS]
    status: grpc.Status = rpc_status.to_status(
        Status(code=code.value[0], message=message, details=[detail])
    )
    return status
