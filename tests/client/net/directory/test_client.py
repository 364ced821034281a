"""The client's calls: a whole session, several addresses, deadlines, and refusals by name."""

import asyncio

import grpc
import pytest
from tests.client.net.directory.clients import PEER_ID, Connect, register, resource
from tests.support.certificates import directory_key_pair
from tests.support.directory.fake import FakeDirectory

from p2p_client.config import Address
from p2p_client.errors import (
    DirectoryRefused,
    DirectoryUnreachable,
    UsageError,
)
from p2p_client.models import (
    AnnounceBatch,
    Digest,
    Query,
    Revision,
)
from p2p_client.net.directory import client as client_module
from p2p_client.net.identity import Identity


async def test_a_session_goes_through_its_whole_life(connect: Connect, identity: Identity) -> None:
    async with FakeDirectory() as directory:
        client = connect(directory.address)

        granted = await client.register(identity, "alice", PEER_ID, listed=True)
        announced = await client.announce(
            AnnounceBatch(Revision("epoch", 1), [resource("a/b.txt")], snapshot_id="s1", last=True)
        )
        renewed = await client.heartbeat(Revision("epoch", 1), 1, 4)
        page, token = await client.query(Query(), 10)
        found = page()
        peers, _ = await client.list_peers("")
        holdings = await client.locate([Digest("d" * 64)])
        await client.leave()

        assert granted.directory_id == directory.fingerprint == client.fingerprint
        assert announced.held == renewed.held == Revision("epoch", 1)
        assert [item.resource for item in found] == [resource("a/b.txt")]
        assert token == ""
        assert peers == [found[0].peer]
        assert [at.source.certificate_der for at in holdings] == [identity.certificate_der]
        assert not directory.tokens


async def test_the_second_address_serves_when_the_first_is_gone(
    connect: Connect, identity: Identity
) -> None:
    keys = directory_key_pair()
    async with FakeDirectory(identity=keys) as gone, FakeDirectory(identity=keys) as other:
        client = connect(gone.address, other.address)
        await register(client, identity)
        other.tokens, other.peers = gone.tokens, gone.peers
        await gone.stop()

        await client.heartbeat(Revision(), 0, 0)

        assert other.calls["Heartbeat"] == 1
        assert other.calls["Register"] == 0


async def test_an_instance_that_lost_its_database_is_passed_over(
    connect: Connect, identity: Identity
) -> None:
    keys = directory_key_pair()
    async with FakeDirectory(identity=keys) as unwell, FakeDirectory(identity=keys) as other:
        client = connect(unwell.address, other.address)
        await register(client, identity)
        other.tokens, other.peers = unwell.tokens, unwell.peers
        unwell.refuse["Heartbeat"] = (grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE")

        await client.heartbeat(Revision(), 0, 0)

        assert other.calls["Heartbeat"] == 1
        other.refuse["Heartbeat"] = (grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE")
        with pytest.raises(DirectoryRefused) as refused:
            await client.heartbeat(Revision(), 0, 0)
        assert refused.value.reason == "STORE_UNAVAILABLE"


async def test_nobody_there_names_the_address(connect: Connect, identity: Identity) -> None:
    async with FakeDirectory() as directory:
        address = directory.address
    with pytest.raises(DirectoryUnreachable, match=str(address)):
        await register(connect(address), identity)


async def test_a_directory_that_accepts_and_says_nothing_is_given_up_in_time(
    connect: Connect, identity: Identity
) -> None:
    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        held.append(writer)

    held: list[asyncio.StreamWriter] = []
    async with await asyncio.start_server(accept, "127.0.0.1", 0) as silent:
        port = silent.sockets[0].getsockname()[1]
        client = connect(Address("127.0.0.1", port), timeout_seconds=0.2)

        with pytest.raises(DirectoryUnreachable, match="in time"):
            async with asyncio.timeout(5):
                await register(client, identity)
        for writer in held:
            writer.transport.abort()


async def test_a_call_that_stalls_ends_at_its_deadline(
    connect: Connect, identity: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "CALL_SECONDS", 0.3)
    async with FakeDirectory() as directory:
        client = connect(directory.address)
        await register(client, identity)
        directory.stall.add("Heartbeat")

        with pytest.raises(DirectoryUnreachable, match="in time"):
            await client.heartbeat(Revision(), 0, 0)


@pytest.mark.slow
async def test_a_lost_call_does_not_cut_the_others_on_its_connection(
    connect: Connect, identity: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "CALL_SECONDS", 0.2)
    monkeypatch.setattr(client_module, "PAGE_SECONDS", 1.0)
    async with FakeDirectory() as directory:
        client = connect(directory.address)
        await register(client, identity)
        directory.stall |= {"Heartbeat", "Query"}

        calls = client.query(Query(), 1), client.heartbeat(Revision(), 0, 0)
        ends = await asyncio.gather(*calls, return_exceptions=True)

    assert [type(end) for end in ends] == [DirectoryUnreachable] * 2, "none was cancelled"


@pytest.mark.parametrize("token", ["", "with blank", "ünïcode", "x" * 5_000, "a\nb"])
async def test_a_token_that_no_call_could_carry_is_a_refusal(
    connect: Connect, identity: Identity, token: str
) -> None:
    async with FakeDirectory() as directory:
        directory.lie["Register"] = lambda answer: setattr(answer, "session_token", token)
        with pytest.raises(DirectoryRefused, match="protocol"):
            await register(connect(directory.address), identity)


async def test_a_refusal_carries_the_reason_but_no_secret(
    connect: Connect, identity: Identity
) -> None:
    async with FakeDirectory() as directory:
        client = connect(directory.address)
        await register(client, identity)
        token = next(iter(directory.tokens))
        directory.forget_sessions()

        with pytest.raises(DirectoryRefused) as caught:
            await client.heartbeat(Revision(), 0, 0)

    assert (caught.value.code, caught.value.reason) == ("UNAUTHENTICATED", "SESSION_UNKNOWN")
    assert caught.value.__cause__ is None
    assert token not in str(caught.value)


async def test_a_stopping_directory_counts_as_unreachable(
    connect: Connect, identity: Identity
) -> None:
    async with FakeDirectory() as directory:
        directory.refuse["Register"] = (grpc.StatusCode.UNAVAILABLE, "SHUTTING_DOWN")
        with pytest.raises(DirectoryUnreachable, match="stopping"):
            await register(connect(directory.address), identity)


@pytest.mark.parametrize("user", ["", "-a", "a b", "ä", "a" * 65, "a\x1b", "\udc80"])
async def test_a_name_that_cannot_be_one_is_refused_here(
    connect: Connect, identity: Identity, user: str
) -> None:
    with pytest.raises(UsageError, match="user name"):
        await register(connect(Address("127.0.0.1", 9)), identity, user)


async def test_a_query_of_undecodable_text_finds_nothing_and_breaks_nothing(
    connect: Connect, identity: Identity
) -> None:
    async with FakeDirectory() as directory:
        client = connect(directory.address)
        await register(client, identity)

        page, _ = await client.query(Query(text="\udcff", min_size_bytes=1 << 70), 1 << 40)

        assert page() == []


async def test_a_directory_that_pages_for_ever_is_left_alone(
    connect: Connect, identity: Identity
) -> None:
    async with FakeDirectory() as directory:
        client = connect(directory.address)
        await register(client, identity)
        numbers = iter(range(10**9))
        directory.lie["Locate"] = lambda answer: setattr(
            answer, "next_page_token", f"page {next(numbers)}"
        )

        await client.locate([Digest("d" * 64)])

        assert directory.calls["Locate"] == client_module.MOST_LOCATE_PAGES


async def test_cancelling_a_call_cancels_it_and_leaves_the_client_usable(
    connect: Connect, identity: Identity
) -> None:
    async with FakeDirectory() as directory:
        client = connect(directory.address)
        await register(client, identity)
        directory.stall.add("Heartbeat")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await client.heartbeat(Revision(), 0, 0)
        directory.stall.clear()

        await client.heartbeat(Revision(), 0, 0)
