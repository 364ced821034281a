"""Who calls: the session token in the metadata, and the address on the transport."""

from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import unquote

import grpc.aio

from p2p_server.directory.presence.reach.endpoints import canonical_host
from p2p_server.directory.presence.registration import Caller

if TYPE_CHECKING:  # generic in the stubs alone
    Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]
else:
    Context = grpc.aio.ServicerContext

_SCHEME = "bearer "
_MOST_TOKEN_CHARACTERS = 256


def caller_of(context: Context) -> Caller:
    for key, value in context.invocation_metadata() or ():
        if key == "authorization":
            return Caller(_bearer(value), host_of(context.peer()))
    return Caller("", host_of(context.peer()))


def _bearer(value: str | bytes) -> str:
    text = value if isinstance(value, str) else ""
    if text[: len(_SCHEME)].lower() != _SCHEME or len(text) > _MOST_TOKEN_CHARACTERS:
        return ""
    return text[len(_SCHEME) :].strip()


@lru_cache(maxsize=4_096)  # a connection makes many calls, and parsing takes longer than most
def host_of(transport_peer: str) -> str:
    """The address in what gRPC calls a peer (`ipv4:1.2.3.4:5`, `ipv6:%5B::1%5D:5`); else empty."""
    scheme, _, rest = transport_peer.partition(":")
    if scheme not in {"ipv4", "ipv6"}:
        return ""
    host, _, _ = unquote(rest).rpartition(":")
    return canonical_host(host.removeprefix("[").removesuffix("]"))
