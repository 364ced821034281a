"""One connection to one address of the directory, opened only after the key was looked at."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

import grpc
from google.protobuf.message import Message

from p2p.v1.directory_pb2_grpc import DirectoryServiceStub
from p2p_client.config import Address
from p2p_client.errors import DirectoryRefused, DirectoryUnreachable, DirectoryUntrusted
from p2p_client.models import DirectoryInfo
from p2p_client.net.channels import directory_channel
from p2p_client.net.directory.from_wire import WireInvalid
from p2p_client.net.identity import DIRECTORY_NAME
from p2p_client.net.status import directory_error
from p2p_client.net.trust import (
    KnownDirectories,
    ProbeFailed,
    TrustDecision,
    fetch_certificate,
)
from p2p_client.records import dataclass

if TYPE_CHECKING:  # it exists only in the type stubs
    from p2p.v1.directory_pb2_grpc import DirectoryServiceAsyncStub

HINT_SECONDS = 1.0

Q = TypeVar("Q", bound=Message)
A = TypeVar("A", bound=Message)


@dataclass(slots=True, eq=False)
class Link:
    """A channel to one address; `decision` is None without TLS. Borrowed by the calls over it."""

    address: Address
    channel: grpc.aio.Channel
    stub: "DirectoryServiceAsyncStub"
    decision: TrustDecision | None
    borrowers: int = 0
    lost: bool = False

    async def call(
        self,
        method: "grpc.aio.UnaryUnaryMultiCallable[Q, A]",
        request: Q,
        seconds: float,
        token: str = "",
    ) -> A:
        """One call with a deadline, in the session of `token` where given.

        Raises DirectoryUnreachable, DirectoryRefused.
        """
        metadata = (("authorization", f"Bearer {token}"),) if token else None
        try:
            return await method(request, timeout=seconds, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            # Not chained: gRPC's own error carries the metadata sent, and so the token.
            raise directory_error(error, str(self.address)) from None

    def check(self, info: DirectoryInfo, pinned: str | None) -> None:
        """Whether what the directory says of itself is what we see of it, and wanted.

        Raises DirectoryRefused for the wrong kind of network, DirectoryUntrusted.
        """
        if info.insecure != (self.decision is None):
            raise DirectoryRefused(
                f"the directory {self.address} is of "
                + ("an insecure network" if info.insecure else "a network with TLS")
                + ", but we came "
                + ("without TLS" if self.decision is None else "with TLS")
                + ": start all of a network with --insecure, or none of it",
                code="FAILED_PRECONDITION",
                reason="TRANSPORT_MISMATCH",
            )
        expected = self.decision.fingerprint if self.decision is not None else pinned
        if expected is not None and info.directory_id != expected:
            raise DirectoryUntrusted(
                f"the directory {self.address} says that its key is {info.directory_id}, but "
                f"{expected} is expected: somebody may be between you and it",
                expected,
                info.directory_id,
            )


async def open_link(
    address: Address,
    siblings: Sequence[Address],
    known: KnownDirectories,
    *,
    pinned: str | None,
    insecure: bool,
    seconds: float,
) -> Link:
    """Raises DirectoryUnreachable, DirectoryUntrusted."""
    decision = None
    if not insecure:
        decision = await known.trusted_certificate(address, pinned, siblings, seconds)
    channel = directory_channel(address, decision.certificate_der if decision else None)
    return Link(address, channel, DirectoryServiceStub(channel), decision)


async def with_hint(link: Link, error: DirectoryUnreachable) -> DirectoryUnreachable:
    """The error; or, where we came without TLS and that is the trouble, one that says so."""
    if link.decision is not None:
        return error
    try:
        await fetch_certificate(link.address.host, link.address.port, DIRECTORY_NAME, HINT_SECONDS)
    except ProbeFailed:
        return error
    return DirectoryUnreachable(
        f"the directory {link.address} speaks TLS: leave out --insecure",
        reason="TRANSPORT_MISMATCH",
    )


@contextmanager
def useless_answer(address: Address) -> Iterator[None]:
    """An answer that breaks the contract is a refusal: asking again would not help."""
    try:
        yield
    except WireInvalid as error:
        raise DirectoryRefused(
            f"the directory {address} does not keep to the protocol: {error}",
            code="INTERNAL",
            reason="PROTOCOL_VIOLATED",
        ) from None
