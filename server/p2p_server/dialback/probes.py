"""How one endpoint is dialled: over TLS by looking at its certificate, without TLS by a signature.

Nothing is sent that a stranger could mistake for more than a handshake. A probe never raises: it
answers what it met, within its time.
"""

import asyncio
import os
import ssl
from collections.abc import Awaitable, Callable
from typing import Final

import grpc
import grpc.aio

from p2p.v1 import peer_pb2, peer_pb2_grpc
from p2p_server.directory.errors import CertificateInvalid, ProofInvalid
from p2p_server.directory.presence.reach.dialling import DialOrder
from p2p_server.directory.presence.reach.endpoints import Answer, may_dial
from p2p_server.directory.trust.certificates import PEER_NAME, checked_peer_certificate
from p2p_server.directory.trust.proofs import check_proof, identity_bytes

Probe = Callable[[DialOrder], Awaitable[Answer]]

DIAL_SECONDS: Final = 3.0
_NONCE_BYTES: Final = 32
_NOBODY_CODES: Final = frozenset(
    {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED}
)


def tls_probe(timeout_seconds: float = DIAL_SECONDS) -> Probe:
    """Completes a handshake, which shows that the other side holds the key of its certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # the certificate itself is compared
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])

    async def probe(order: DialOrder) -> Answer:
        if not may_dial(order.endpoint, order.observed_host):
            return Answer.NOBODY
        try:
            async with asyncio.timeout(timeout_seconds):
                shown = await _certificate_at(order, context)
        except (ssl.SSLError, ConnectionResetError):  # it speaks, but not as a peer does
            return Answer.SOMEBODY_ELSE
        except OSError:  # nothing listens, no route, or silence
            return Answer.NOBODY
        return Answer.THIS_PEER if shown == order.certificate_der else Answer.SOMEBODY_ELSE

    return probe


async def _certificate_at(order: DialOrder, context: ssl.SSLContext) -> bytes | None:
    _, writer = await asyncio.open_connection(
        order.endpoint.host, order.endpoint.port, ssl=context, server_hostname=PEER_NAME
    )
    try:
        connection: ssl.SSLObject = writer.get_extra_info("ssl_object")
        return connection.getpeercert(binary_form=True)
    finally:
        writer.transport.abort()  # an orderly end could take as long as the other side likes


def insecure_probe(timeout_seconds: float = DIAL_SECONDS) -> Probe:
    """Has the peer sign a nonce."""

    async def probe(order: DialOrder) -> Answer:
        if not may_dial(order.endpoint, order.observed_host):
            return Answer.NOBODY
        nonce = os.urandom(_NONCE_BYTES)
        try:
            signature = await _signature_at(order, nonce, timeout_seconds)
            key = checked_peer_certificate(order.certificate_der).public_key
            check_proof(key, signature, identity_bytes(nonce, order.peer_id))
        except grpc.aio.AioRpcError as failure:
            return Answer.NOBODY if failure.code() in _NOBODY_CODES else Answer.SOMEBODY_ELSE
        except (ProofInvalid, CertificateInvalid):
            return Answer.SOMEBODY_ELSE
        return Answer.THIS_PEER

    return probe


async def _signature_at(order: DialOrder, nonce: bytes, timeout_seconds: float) -> bytes:
    options = [
        ("grpc.enable_http_proxy", 0),
        ("grpc.enable_retries", 0),
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.max_receive_message_length", 4096),
    ]
    scheme = "ipv6" if ":" in order.endpoint.host else "ipv4"
    target = f"{scheme}:{order.endpoint}"
    async with grpc.aio.insecure_channel(target, options=options) as channel:
        stub = peer_pb2_grpc.PeerServiceStub(channel)
        request = peer_pb2.ProveIdentityRequest(nonce=nonce)
        proof = await stub.ProveIdentity(request, timeout=timeout_seconds)
        return proof.signature
