"""gRPC channels: their options, to the directory and to peers.

Every TLS channel has exactly one root, the certificate it expects; names are never looked at. Which
certificate to expect is decided elsewhere: `trust.py` for directories, the directory for peers.
"""

import asyncio
import contextlib
import ipaddress
import ssl
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import grpc

from p2p_client.config import Address
from p2p_client.errors import SourceError, SourceImpostor, SourceUnavailable
from p2p_client.models import Endpoint, PeerId, Source
from p2p_client.net.identity import (
    DIRECTORY_NAME,
    PEER_NAME,
    CertificateUnfit,
    fingerprint_of,
    pem_of,
)
from p2p_client.net.trust import ProbeFailed, fetch_certificate

if TYPE_CHECKING:  # with h2, for those who fetch: a `search` need not load it
    from p2p_client.net.stream.reader import Reader, Request
    from p2p_client.net.stream.streams import Streams

Options = Sequence[tuple[str, int | str]]

_COMMON: Options = (
    ("grpc.max_receive_message_length", (4 << 20) + (64 << 10)),
    ("grpc.enable_http_proxy", 0),
    ("grpc.enable_retries", 0),  # retries are ours: we know which calls may be repeated
    ("grpc.enable_channelz", 0),
    # A connection that died silently must not be handed out again by the process-wide pool.
    ("grpc.use_local_subchannel_pool", 1),
)
DIRECTORY_OPTIONS: Options = (
    *_COMMON,
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 3_000),  # in truth: how long one attempt to connect may take
    ("grpc.max_reconnect_backoff_ms", 1_000),
)
WINDOW_BYTES = 16 << 20
"""How much a source may send before we have taken it: 1 Gbit/s at a round trip of 130 ms."""
PEER_OPTIONS: Options = (
    *_COMMON,
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.max_frame_size", (16 << 20) - 1),
    ("grpc.http2.lookahead_bytes", WINDOW_BYTES),
    ("grpc.http2.bdp_probe", 0),  # would raise the window far above that: no bound on memory
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 5_000),
    ("grpc.max_reconnect_backoff_ms", 2_000),
)

STAGGER_SECONDS = 0.25
CONNECT_SECONDS = 5.0
DIAGNOSE_SECONDS = 1.0

MOST_CHANNELS = 256
"""How many are kept for the next call. Beyond, the one opened first is let go: it is closed when
the last call over it ends."""

_Key = tuple[PeerId, bytes, tuple[Endpoint, ...]]


def target_of(host: str, port: int) -> str:
    """A gRPC target that means just this place, however the host looks."""
    try:
        literal = ipaddress.ip_address(host)
    except ValueError:
        return f"dns:///{host}:{port}"
    return f"ipv6:[{literal}]:{port}" if literal.version == 6 else f"ipv4:{literal}:{port}"


def directory_channel(address: Address, certificate_der: bytes | None) -> grpc.aio.Channel:
    """A channel to a directory that must show this certificate; None: in plaintext."""
    return _open(
        target_of(address.host, address.port), certificate_der, DIRECTORY_NAME, DIRECTORY_OPTIONS
    )


def peer_channel(endpoint: Endpoint, certificate_der: bytes | None) -> grpc.aio.Channel:
    """A channel to a peer that must show this certificate; None: in plaintext."""
    return _open(target_of(endpoint.host, endpoint.port), certificate_der, PEER_NAME, PEER_OPTIONS)


def _open(
    target: str, certificate_der: bytes | None, name: str, options: Options
) -> grpc.aio.Channel:
    if certificate_der is None:
        return grpc.aio.insecure_channel(target, options=options)
    credentials = grpc.ssl_channel_credentials(root_certificates=pem_of(certificate_der))
    named = (*options, ("grpc.ssl_target_name_override", name))
    return grpc.aio.secure_channel(target, credentials, options=named)


class PeerChannels:
    """One channel per source for calls, kept for the next one, and streams of content beside it."""

    def __init__(self, insecure: bool) -> None:
        self._insecure = insecure
        self._streams: Streams | None = None
        self._channels: dict[_Key, tuple[grpc.aio.Channel, Endpoint]] = {}
        self._opening: dict[_Key, asyncio.Lock] = {}
        self._waiters: Counter[_Key] = Counter()  # of each lock

    async def channel(self, source: Source) -> grpc.aio.Channel:
        """A connected channel to the source, by whichever of its endpoints answered first.

        Raises SourceUnavailable, naming each endpoint and what was wrong with it; SourceImpostor.
        """
        channel, _ = await self._connected(source)
        return channel

    async def stream(
        self, source: Source, request: "Request", idle_timeout_seconds: float
    ) -> "Reader":
        """A call that streams content, to the endpoint that answered first. Raises as `channel`."""
        from p2p_client.net.stream.streams import Streams

        if self._streams is None:
            self._streams = Streams(WINDOW_BYTES)
        _, endpoint = await self._connected(source)
        certificate_der = None if self._insecure else source.certificate_der
        try:
            return self._streams.open(endpoint, certificate_der, request, idle_timeout_seconds)
        except (CertificateUnfit, ssl.SSLError) as error:
            raise _no_certificate(source) from error

    async def _connected(self, source: Source) -> tuple[grpc.aio.Channel, Endpoint]:
        key = _key_of(source)
        if (known := self._channels.get(key)) is not None:
            return known
        lock = self._opening.setdefault(key, asyncio.Lock())
        self._waiters[key] += 1
        try:
            async with lock:
                known = self._channels.get(key)
                if known is None:
                    known = self._channels[key] = await self._connect(source)
                    if len(self._channels) > MOST_CHANNELS:
                        del self._channels[next(iter(self._channels))]
                return known
        finally:
            self._waiters[key] -= 1
            if not self._waiters[key]:
                del self._waiters[key], self._opening[key]

    async def discard(self, source: Source) -> None:
        """Connects anew for the next fetch. Streams that run over the old connection go on: it is
        closed when the last of them lets go of the channel."""
        self._channels.pop(_key_of(source), None)

    async def close(self) -> None:
        """Ends all connections and the streams over them."""
        channels = [channel for channel, _ in self._channels.values()]
        self._channels.clear()
        if self._streams is not None:
            self._streams.close()
        for channel in channels:
            await channel.close()

    async def _connect(self, source: Source) -> tuple[grpc.aio.Channel, Endpoint]:
        if not source.endpoints:
            raise SourceUnavailable("it has no address that we could reach", reason="UNREACHABLE")
        certificate_der = None if self._insecure else source.certificate_der
        try:
            channels = [peer_channel(at, certificate_der) for at in source.endpoints]
        except CertificateUnfit as error:
            raise _no_certificate(source) from error
        winner: grpc.aio.Channel | None = None
        try:
            winner = await _first_ready(channels)
        finally:
            for channel in channels:
                if channel is not winner:
                    await channel.close()
        if winner is None:
            raise await _why_unavailable(source, certificate_der)
        return winner, source.endpoints[channels.index(winner)]


def _no_certificate(source: Source) -> SourceUnavailable:
    return SourceUnavailable(
        f"the directory lists no usable certificate for {source.user}",
        reason="CERTIFICATE_INVALID",
    )


def _key_of(source: Source) -> _Key:
    return source.peer_id, source.certificate_der, source.endpoints


async def _first_ready(channels: Sequence[grpc.aio.Channel]) -> grpc.aio.Channel | None:
    """Happy eyeballs (RFC 8305): each next one starts after 250 ms, or when one has failed."""
    waiting = list(channels)
    tasks: dict[asyncio.Task[bool], grpc.aio.Channel] = {}
    winner: grpc.aio.Channel | None = None
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(CONNECT_SECONDS), asyncio.TaskGroup() as group:
            while winner is None and (waiting or tasks):
                if waiting:
                    channel = waiting.pop(0)
                    tasks[group.create_task(_becomes_ready(channel))] = channel
                patience = STAGGER_SECONDS if waiting else None
                done, _ = await asyncio.wait(
                    tasks, timeout=patience, return_when=asyncio.FIRST_COMPLETED
                )
                for task in done:
                    channel = tasks.pop(task)
                    if task.result() and winner is None:
                        winner = channel
            for task in tasks:
                task.cancel()
    return winner


async def _becomes_ready(channel: grpc.aio.Channel) -> bool:
    """True: connected. False: the first attempt failed."""
    state = channel.get_state(try_to_connect=True)
    while state is not grpc.ChannelConnectivity.READY:
        if state in (
            grpc.ChannelConnectivity.TRANSIENT_FAILURE,
            grpc.ChannelConnectivity.SHUTDOWN,
        ):
            return False
        await channel.wait_for_state_change(state)
        state = channel.get_state(try_to_connect=True)
    return True


async def _why_unavailable(source: Source, certificate_der: bytes | None) -> SourceError:
    """gRPC tells no reason for a failed connection, so we look for it once all have failed."""
    findings = await asyncio.gather(*(_look(at, certificate_der) for at in source.endpoints))
    places: dict[str, list[str]] = {}  # by what was found there
    for endpoint, (text, _) in zip(source.endpoints, findings, strict=True):
        places.setdefault(text, []).append(str(endpoint))
    found = "it " + ", and ".join(f"{text} at {_listed(at)}" for text, at in places.items())
    others = [is_other_key for _, is_other_key in findings]
    if all(others):
        return SourceImpostor(found)
    # Behind an address that is silent now the source itself may come back.
    return SourceUnavailable(found, reason="CERTIFICATE_MISMATCH" if any(others) else "UNREACHABLE")


def _listed(places: Sequence[str]) -> str:
    *first, last = places
    return f"{', '.join(first)} and {last}" if first else last


async def _look(endpoint: Endpoint, certificate_der: bytes | None) -> tuple[str, bool]:
    """What is wrong there, and whether it is that somebody else answers."""
    if certificate_der is None:
        return "does not answer", False
    try:
        found_der = await fetch_certificate(
            endpoint.host, endpoint.port, PEER_NAME, DIAGNOSE_SECONDS
        )
        expected, found = fingerprint_of(certificate_der), fingerprint_of(found_der)
    except ProbeFailed as error:
        return str(error), False
    except CertificateUnfit:
        return "shows no usable certificate", False
    if found == expected:
        return "does not answer", False
    return f"shows the key {found} instead of {expected}", True
