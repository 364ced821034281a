"""How a call ended."""

from p2p_client.records import dataclass


@dataclass(frozen=True, slots=True)
class CallStatus:
    """A gRPC status as it came; `details` is what `grpc-status-details-bin` held."""

    code: int
    message: str
    details: bytes
