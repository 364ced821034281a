"""Why a call was refused, as the wire tells it: code, reason and facts."""

from collections.abc import Awaitable
from dataclasses import dataclass

import grpc.aio
from google.rpc.error_details_pb2 import ErrorInfo
from grpc_status import rpc_status


@dataclass(frozen=True)
class Refusal:
    code: str
    reason: str
    domain: str
    facts: dict[str, str]
    message: str

    @property
    def why(self) -> tuple[str, str]:
        return self.code, self.reason


async def refusal(call: Awaitable[object]) -> Refusal:
    """Why the call was refused; fails when it was not, or without exactly one ErrorInfo."""
    try:
        answer = await call
    except grpc.aio.AioRpcError as error:
        status = rpc_status.from_call(error)
        details = list(status.details) if status else []
        (detail,) = details
        info = ErrorInfo()
        assert detail.Unpack(info)
        return Refusal(
            error.code().name, info.reason, info.domain, dict(info.metadata), str(error.details())
        )
    raise AssertionError(f"not refused: {answer}")
