"""A probe tells the peer from somebody else and from nobody, in its time, and never raises."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

import grpc
import grpc.aio
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from tests.support.certificates import KeyPair, peer_key_pair
from tests.support.directory.listening import listen_as

from p2p.v1 import peer_pb2
from p2p_server.dialback.probes import Probe, insecure_probe, tls_probe
from p2p_server.directory.models import Endpoint, PeerId
from p2p_server.directory.presence.reach.dialling import DialOrder
from p2p_server.directory.presence.reach.endpoints import Answer

PEER = PeerId("p" * 16)
QUICKLY = 0.3


def order(pair: KeyPair, port: int, host: str = "127.0.0.1", seen_at: str = "::1") -> DialOrder:
    return DialOrder(PEER, b"token", pair.certificate_der, Endpoint(host, port), seen_at)


@contextmanager
def answering(answer: bytes) -> Iterator[Callable[[], Awaitable[int]]]:
    """A plaintext server that says something and closes; the function starts it."""
    servers: list[asyncio.Server] = []

    async def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        writer.close()

    async def start() -> int:
        servers.append(await asyncio.start_server(accept, "127.0.0.1", 0))
        return int(servers[0].sockets[0].getsockname()[1])

    try:
        yield start
    finally:
        for server in servers:
            server.close()


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_the_peer_itself_is_found(host: str) -> None:
    pair = peer_key_pair()
    listener = await listen_as(pair, host)

    answer = await tls_probe()(order(pair, listener.port, host))
    listener.close()

    assert answer is Answer.THIS_PEER


async def test_a_peer_served_by_grpc_is_found() -> None:
    pair = peer_key_pair()
    server = grpc.aio.server()
    port = server.add_secure_port("127.0.0.1:0", pair.server_credentials())
    await server.start()

    answer = await tls_probe()(order(pair, port))
    await server.stop(0)

    assert answer is Answer.THIS_PEER


async def test_another_key_with_the_same_name_is_somebody_else() -> None:
    listener = await listen_as(peer_key_pair())

    answer = await tls_probe()(order(peer_key_pair(), listener.port))
    listener.close()

    assert answer is Answer.SOMEBODY_ELSE


async def test_another_certificate_of_the_same_key_is_somebody_else() -> None:
    pair = peer_key_pair()
    assert isinstance(pair.key, ec.EllipticCurvePrivateKey)
    listener = await listen_as(peer_key_pair(pair.key))

    answer = await tls_probe()(order(pair, listener.port))
    listener.close()

    assert answer is Answer.SOMEBODY_ELSE


async def test_a_plaintext_server_is_somebody_else() -> None:
    with answering(b"220 mail.example ESMTP\r\n") as start:
        assert await tls_probe()(order(peer_key_pair(), await start())) is Answer.SOMEBODY_ELSE


async def test_a_closed_port_is_nobody() -> None:
    assert await tls_probe()(order(peer_key_pair(), closed_port())) is Answer.NOBODY


@pytest.mark.parametrize("probe", [tls_probe, insecure_probe])
async def test_a_silent_listener_is_given_up_in_time(probe: Callable[[float], Probe]) -> None:
    listener = await listen_as(None)

    async with asyncio.timeout(3):
        answer = await probe(QUICKLY)(order(peer_key_pair(), listener.port))
    listener.close()

    assert answer is Answer.NOBODY


@pytest.mark.parametrize("probe", [tls_probe, insecure_probe])
@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::ffff:127.0.0.1", "localhost"])
async def test_no_connection_is_made_to_what_must_not_be_dialled(
    probe: Callable[[float], Probe], host: str
) -> None:
    connections = 0

    async def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]

    answer = await probe(QUICKLY)(order(peer_key_pair(), port, host, seen_at="8.8.8.8"))
    server.close()

    assert answer is Answer.NOBODY
    assert connections == 0


class Signing:
    """Proves that it is the peer, written from the contract; serves nothing else."""

    def __init__(self, pair: KeyPair, peer_id: str = PEER, *, nonce: bytes | None = None) -> None:
        self._pair = pair
        self._peer_id = peer_id
        self._nonce = nonce

    async def ProveIdentity(
        self,
        request: peer_pb2.ProveIdentityRequest,
        context: object,
    ) -> peer_pb2.ProveIdentityResponse:
        signed = b"p2p.v1.ProveIdentity\0"
        for part in (self._nonce or request.nonce, self._peer_id.encode()):
            signed += len(part).to_bytes(4, "big") + part
        assert isinstance(self._pair.key, ec.EllipticCurvePrivateKey)
        signature = self._pair.key.sign(signed, ec.ECDSA(SHA256()))
        return peer_pb2.ProveIdentityResponse(signature=signature)


@asynccontextmanager
async def serving(servicer: Signing | None) -> AsyncIterator[int]:
    server = grpc.aio.server()
    if servicer is not None:
        handler = grpc.unary_unary_rpc_method_handler(
            servicer.ProveIdentity,
            peer_pb2.ProveIdentityRequest.FromString,
            peer_pb2.ProveIdentityResponse.SerializeToString,
        )
        methods = {"ProveIdentity": handler}
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("p2p.v1.PeerService", methods),)
        )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(0)


async def test_without_tls_a_signature_shows_the_peer() -> None:
    pair = peer_key_pair()
    async with serving(Signing(pair)) as port:
        assert await insecure_probe()(order(pair, port)) is Answer.THIS_PEER


@pytest.mark.parametrize(
    "servicer",
    [
        lambda pair: Signing(peer_key_pair()),
        lambda pair: Signing(pair, peer_id="q" * 16),
        lambda pair: Signing(pair, nonce=b"recorded earlier"),
        lambda pair: None,
    ],
    ids=["another key", "another peer", "a replay", "another service"],
)
async def test_without_tls_a_wrong_signature_is_somebody_else(
    servicer: Callable[[KeyPair], Signing | None],
) -> None:
    pair = peer_key_pair()
    async with serving(servicer(pair)) as port:
        assert await insecure_probe()(order(pair, port)) is Answer.SOMEBODY_ELSE


async def test_without_tls_a_closed_port_is_nobody() -> None:
    assert await insecure_probe(QUICKLY)(order(peer_key_pair(), closed_port())) is Answer.NOBODY
