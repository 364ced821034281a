"""A source is reached by whichever of its addresses answers, and only with its own key."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime

import grpc
import pytest
from tests.support.certificates import KeyPair, key_pair, peer_key_pair
from tests.support.sources.basic import BasicSource

from p2p.v1 import peer_pb2, peer_pb2_grpc
from p2p_client.errors import SourceImpostor, SourceUnavailable
from p2p_client.models import Endpoint, PeerId, Source
from p2p_client.net import channels as channels_module
from p2p_client.net.channels import PeerChannels, target_of


class Peer(BasicSource):
    """Answers with its name; streams until told to stop."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()

    async def GetManifest(
        self, request: peer_pb2.GetManifestRequest, context: object
    ) -> peer_pb2.GetManifestResponse:
        return peer_pb2.GetManifestResponse()

    async def ProveIdentity(
        self, request: peer_pb2.ProveIdentityRequest, context: object
    ) -> peer_pb2.ProveIdentityResponse:
        return peer_pb2.ProveIdentityResponse(signature=b"it is me")

    async def FetchFile(  # type: ignore[override]  # the stubs know only generators
        self,
        request: peer_pb2.FetchFileRequest,
        context: "grpc.aio.ServicerContext[object, peer_pb2.FetchFileResponse]",
    ) -> None:
        await context.write(peer_pb2.FetchFileResponse(data=b"first"))
        await self.go_on.wait()
        await context.write(peer_pb2.FetchFileResponse(data=b"second"))


@asynccontextmanager
async def serving(keys: KeyPair | None, peer: Peer | None = None) -> AsyncIterator[Endpoint]:
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    peer_pb2_grpc.add_PeerServiceServicer_to_server(peer or Peer(), server)
    if keys is None:
        port = server.add_insecure_port("127.0.0.1:0")
    else:
        port = server.add_secure_port("127.0.0.1:0", keys.server_credentials())
    await server.start()
    try:
        yield Endpoint("127.0.0.1", port)
    finally:
        await server.stop(None)


@asynccontextmanager
async def peer_channels(*, insecure: bool = False) -> AsyncIterator[PeerChannels]:
    channels = PeerChannels(insecure=insecure)
    try:
        yield channels
    finally:
        await channels.close()


def source(*endpoints: Endpoint, certificate_der: bytes = b"") -> Source:
    return Source(PeerId("p" * 22), "bob", endpoints, certificate_der, "grant", datetime.now(UTC))


async def answers(channel: grpc.aio.Channel) -> bytes:
    stub = peer_pb2_grpc.PeerServiceStub(channel)
    return (await stub.ProveIdentity(peer_pb2.ProveIdentityRequest(), timeout=5)).signature


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def test_a_source_is_reached_and_its_connection_kept() -> None:
    keys = peer_key_pair()
    async with serving(keys) as endpoint, peer_channels() as channels:
        bob = source(endpoint, certificate_der=keys.certificate_der)

        first, second = await asyncio.gather(channels.channel(bob), channels.channel(bob))

        assert first is second
        assert await answers(first) == b"it is me"


async def test_a_dead_address_does_not_hold_up_a_living_one(closed_port: int) -> None:
    keys = peer_key_pair()
    async with serving(keys) as endpoint, peer_channels() as channels:
        dead = Endpoint("127.0.0.1", closed_port)
        bob = source(dead, dead, dead, endpoint, certificate_der=keys.certificate_der)

        async with asyncio.timeout(channels_module.CONNECT_SECONDS / 2):
            channel = await channels.channel(bob)

        assert await answers(channel) == b"it is me"


async def test_an_address_that_says_nothing_is_overtaken_by_the_next() -> None:
    keys = peer_key_pair()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        async with serving(keys) as endpoint, peer_channels() as channels:
            mute = Endpoint("127.0.0.1", silent.getsockname()[1])

            async with asyncio.timeout(channels_module.CONNECT_SECONDS / 2):
                channel = await channels.channel(
                    source(mute, endpoint, certificate_der=keys.certificate_der)
                )

            assert await answers(channel) == b"it is me"


@pytest.mark.slow
async def test_addresses_that_say_nothing_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channels_module, "CONNECT_SECONDS", 0.3)
    monkeypatch.setattr(channels_module, "DIAGNOSE_SECONDS", 0.1)
    keys = peer_key_pair()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        async with peer_channels() as channels:
            mute = Endpoint("127.0.0.1", silent.getsockname()[1])
            with pytest.raises(SourceUnavailable, match="in time"):
                await channels.channel(source(mute, certificate_der=keys.certificate_der))


async def test_a_dead_source_is_told_in_one_sentence_with_each_address_once(
    closed_port: int,
) -> None:
    dead = [Endpoint(f"127.0.0.{last}", closed_port) for last in (1, 2, 3)]
    certificate_der = peer_key_pair().certificate_der
    async with peer_channels() as channels:
        with pytest.raises(SourceUnavailable) as caught:
            await channels.channel(source(*dead, certificate_der=certificate_der))

    assert str(caught.value) == f"it refuses the connection at {dead[0]}, {dead[1]} and {dead[2]}"


async def test_somebody_with_another_key_is_refused_with_both_fingerprints() -> None:
    expected, impostor = peer_key_pair(), peer_key_pair()
    async with serving(impostor) as endpoint, peer_channels() as channels:
        with pytest.raises(SourceImpostor) as caught:
            await channels.channel(source(endpoint, certificate_der=expected.certificate_der))

    assert caught.value.reason == "CERTIFICATE_MISMATCH"
    assert expected.fingerprint in str(caught.value)
    assert impostor.fingerprint in str(caught.value)


async def test_a_source_that_may_come_back_at_another_address_is_not_given_up(
    closed_port: int,
) -> None:
    certificate_der = peer_key_pair().certificate_der
    async with serving(peer_key_pair()) as wrong, peer_channels() as channels:
        dead = Endpoint("127.0.0.1", closed_port)
        with pytest.raises(SourceUnavailable) as caught:
            await channels.channel(source(dead, wrong, certificate_der=certificate_der))

    assert caught.value.reason == "CERTIFICATE_MISMATCH"


async def test_the_wrong_host_among_the_addresses_is_harmless() -> None:
    keys = peer_key_pair()
    async with serving(peer_key_pair()) as wrong, serving(keys) as right:
        async with peer_channels() as channels:
            bob = source(wrong, right, certificate_der=keys.certificate_der)

            assert await answers(await channels.channel(bob)) == b"it is me"


async def test_a_certificate_for_another_name_is_refused_even_with_the_right_key() -> None:
    keys = peer_key_pair()
    renamed = key_pair("else.invalid", key=keys.key)
    async with serving(renamed) as endpoint, peer_channels() as channels:
        with pytest.raises(SourceUnavailable):
            await channels.channel(source(endpoint, certificate_der=keys.certificate_der))


async def test_plaintext_is_no_substitute() -> None:
    keys = peer_key_pair()
    async with serving(None) as endpoint, peer_channels() as channels:
        with pytest.raises(SourceUnavailable, match="TLS"):
            await channels.channel(source(endpoint, certificate_der=keys.certificate_der))


async def test_an_insecure_network_uses_plaintext() -> None:
    async with serving(None) as endpoint, peer_channels(insecure=True) as channels:
        assert await answers(await channels.channel(source(endpoint))) == b"it is me"


async def test_no_address_and_no_certificate_are_said_and_not_tried() -> None:
    async with peer_channels() as channels:
        with pytest.raises(SourceUnavailable, match="no address"):
            await channels.channel(source(certificate_der=peer_key_pair().certificate_der))
        with pytest.raises(SourceUnavailable, match="certificate"):
            await channels.channel(source(Endpoint("127.0.0.1", 9), certificate_der=b"junk"))


async def test_discarding_makes_a_new_connection_and_cuts_no_running_stream() -> None:
    keys, peer = peer_key_pair(), Peer()
    async with serving(keys, peer) as endpoint, peer_channels() as channels:
        bob = source(endpoint, certificate_der=keys.certificate_der)
        old = await channels.channel(bob)
        stream = peer_pb2_grpc.PeerServiceStub(old).FetchFile(
            peer_pb2.FetchFileRequest(), timeout=10
        )
        assert (await anext(aiter(stream))).data == b"first"

        await channels.discard(bob)
        new = await channels.channel(bob)
        assert new is not old
        del old
        peer.go_on.set()

        assert [chunk.data async for chunk in stream] == [b"second"]
        assert await answers(new) == b"it is me"


async def test_of_very_many_sources_a_few_connections_are_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(channels_module, "MOST_CHANNELS", 2)
    keys = peer_key_pair()
    async with serving(keys) as endpoint, peer_channels() as channels:
        for number in range(5):
            bob = source(endpoint, certificate_der=keys.certificate_der)
            await channels.channel(replace(bob, peer_id=PeerId(f"peer-{number}")))

        assert len(channels._channels) == 2
        assert not channels._opening


async def test_one_who_gives_up_waiting_does_not_disturb_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    keys = peer_key_pair()
    async with serving(keys) as endpoint, peer_channels() as channels:
        bob = source(endpoint, certificate_der=keys.certificate_der)
        async with asyncio.TaskGroup() as group:
            impatient = group.create_task(channels.channel(bob))
            patient = group.create_task(channels.channel(bob))
            await asyncio.sleep(0)
            impatient.cancel()

        assert await answers(patient.result()) == b"it is me"


@pytest.mark.parametrize(
    ("host", "target"),
    [
        ("192.0.2.1", "ipv4:192.0.2.1:7"),
        ("2001:db8::1", "ipv6:[2001:db8::1]:7"),
        ("files.lab", "dns:///files.lab:7"),
    ],
)
def test_a_target_means_just_that_place(host: str, target: str) -> None:
    assert target_of(host, 7) == target
