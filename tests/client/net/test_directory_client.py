"""The client believes only the directory whose key it knows, and says what is wrong otherwise."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path

import grpc
import pytest
from tests.support.certificates import directory_key_pair
from tests.support.directory.fake import FakeDirectory

from p2p.v1 import directory_pb2 as pb
from p2p_client.config import Address
from p2p_client.errors import (
    DirectoryRefused,
    DirectoryUnreachable,
    DirectoryUntrusted,
    UsageError,
)
from p2p_client.models import (
    AnnounceBatch,
    Digest,
    Endpoint,
    ManifestDigest,
    PeerId,
    Query,
    Resource,
    Revision,
)
from p2p_client.net.directory import DirectoryClient
from p2p_client.net.directory import client as client_module
from p2p_client.net.identity import Identity, load_or_create
from p2p_client.net.trust import KnownDirectories

PEER_ID = PeerId("a" * 22)
Connect = Callable[..., DirectoryClient]


@pytest.fixture
def identity(tmp_path: Path) -> Identity:
    return load_or_create(tmp_path / "identity.pem")


@pytest.fixture
async def connect(tmp_path: Path) -> AsyncIterator[Connect]:
    opened: list[DirectoryClient] = []

    def make(
        *addresses: Address,
        pinned: str | None = None,
        insecure: bool = False,
        timeout_seconds: float = 5.0,
    ) -> DirectoryClient:
        client = DirectoryClient(
            addresses,
            known=KnownDirectories(tmp_path),
            pinned=pinned,
            insecure=insecure,
            timeout_seconds=timeout_seconds,
        )
        opened.append(client)
        return client

    yield make
    for client in opened:
        await client.close()


def resource(path: str) -> Resource:
    return Resource(
        path=path,
        size_bytes=3,
        digest=Digest("d" * 64),
        manifest_digest=ManifestDigest("e" * 64),
        modified_at=datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC),
        media_type="text/plain",
    )


async def register(client: DirectoryClient, identity: Identity, user: str = "alice") -> None:
    await client.register(
        identity, user, PEER_ID, listed=True, endpoints=[Endpoint("192.0.2.7", 4000)]
    )


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


async def test_the_first_contact_is_recorded_and_then_not_first_any_more(
    connect: Connect, identity: Identity
) -> None:
    async with FakeDirectory() as directory:
        first, second = connect(directory.address), connect(directory.address)

        await register(first, identity)
        await register(second, identity)

        assert (first.first_contact, second.first_contact) == (True, False)


async def test_another_key_at_a_known_address_is_refused_with_both_fingerprints(
    connect: Connect, identity: Identity
) -> None:
    async with FakeDirectory() as directory:
        await register(connect(directory.address), identity)
    async with FakeDirectory(port=directory.port) as impostor:
        with pytest.raises(DirectoryUntrusted) as caught:
            await register(connect(directory.address), identity)

    assert caught.value.expected == directory.fingerprint
    assert caught.value.found == impostor.fingerprint
    assert directory.fingerprint in str(caught.value)
    assert impostor.fingerprint in str(caught.value)
    assert "known_directories.json" in str(caught.value)
    assert not impostor.calls, "not a single call may reach it"


async def test_a_key_that_changes_under_a_running_client_is_refused_too(
    connect: Connect, identity: Identity
) -> None:
    async with FakeDirectory() as directory:
        client = connect(directory.address)
        await register(client, identity)
    async with FakeDirectory(port=directory.port) as impostor:
        with pytest.raises((DirectoryUnreachable, DirectoryUntrusted)):
            await client.heartbeat(Revision(), 0, 0)
        with pytest.raises(DirectoryUntrusted):
            await client.heartbeat(Revision(), 0, 0)

    assert not impostor.calls


async def test_a_new_certificate_for_the_same_key_is_no_event(
    connect: Connect, identity: Identity
) -> None:
    old = directory_key_pair()
    new = directory_key_pair(key=old.key)
    async with FakeDirectory(identity=old) as directory:
        await register(connect(directory.address), identity)
    async with FakeDirectory(identity=new, port=directory.port) as directory:
        client = connect(directory.address)

        await register(client, identity)

    assert old.certificate_der != new.certificate_der
    assert not client.first_contact


async def test_a_pinned_fingerprint_may_be_written_as_people_do(
    connect: Connect, identity: Identity
) -> None:
    async with FakeDirectory() as directory:
        hexed = directory.fingerprint.upper()
        written = ":".join(hexed[at : at + 2] for at in range(0, 64, 2))

        await register(connect(directory.address, pinned=written), identity)

        assert directory.calls["Register"] == 1


async def test_a_pin_that_does_not_fit_is_refused_at_first_contact(
    connect: Connect, identity: Identity
) -> None:
    async with FakeDirectory() as directory:
        with pytest.raises(DirectoryUntrusted, match="--fingerprint"):
            await register(connect(directory.address, pinned="0" * 64), identity)

        assert not directory.calls


async def test_a_pin_replaces_what_is_on_record(connect: Connect, identity: Identity) -> None:
    async with FakeDirectory() as directory:
        await register(connect(directory.address), identity)
    async with FakeDirectory(port=directory.port) as renewed:
        await register(connect(renewed.address, pinned=renewed.fingerprint), identity)

        await register(connect(renewed.address), identity)


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


async def test_a_second_address_with_another_key_is_not_believed(
    connect: Connect, identity: Identity
) -> None:
    async with FakeDirectory() as directory, FakeDirectory() as stranger:
        client = connect(directory.address, stranger.address)
        await register(client, identity)
        await directory.stop()

        with pytest.raises(DirectoryUntrusted):
            await client.heartbeat(Revision(), 0, 0)

        assert not stranger.calls


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


async def test_plaintext_is_never_fallen_back_to(connect: Connect, identity: Identity) -> None:
    async with FakeDirectory(insecure=True) as directory:
        with pytest.raises(DirectoryUnreachable, match="--insecure"):
            await register(connect(directory.address), identity)

        assert not directory.calls


async def test_an_insecure_client_cannot_talk_to_a_directory_with_tls(
    connect: Connect, identity: Identity
) -> None:
    async with FakeDirectory() as directory:
        with pytest.raises(DirectoryUnreachable, match="--insecure"):
            await register(connect(directory.address, insecure=True), identity)


async def test_an_insecure_network_works_and_records_nothing(
    connect: Connect, identity: Identity, tmp_path: Path
) -> None:
    async with FakeDirectory(insecure=True) as directory:
        client = connect(directory.address, insecure=True)

        await register(client, identity)

        assert client.fingerprint is None
        assert not client.first_contact
        assert not (tmp_path / "known_directories.json").exists()


async def test_a_pin_holds_in_an_insecure_network_too(connect: Connect, identity: Identity) -> None:
    async with FakeDirectory(insecure=True) as directory:
        client = connect(directory.address, insecure=True, pinned="0" * 64)
        with pytest.raises(DirectoryUntrusted):
            await register(client, identity)


async def test_a_directory_that_claims_the_other_kind_of_network_is_refused(
    connect: Connect, identity: Identity
) -> None:
    async with FakeDirectory() as directory:

        def claim_insecure(answer: pb.GetDirectoryInfoResponse) -> None:
            answer.transport_security = pb.TRANSPORT_SECURITY_INSECURE

        directory.lie["GetDirectoryInfo"] = claim_insecure
        with pytest.raises(DirectoryRefused, match="insecure") as caught:
            await register(connect(directory.address), identity)

    assert caught.value.reason == "TRANSPORT_MISMATCH"


async def test_a_directory_that_claims_another_id_is_not_recorded(
    connect: Connect, identity: Identity, tmp_path: Path
) -> None:
    async with FakeDirectory() as directory:
        directory.lie["GetDirectoryInfo"] = lambda answer: setattr(answer, "directory_id", "0" * 64)
        with pytest.raises(DirectoryUntrusted):
            await register(connect(directory.address), identity)

    assert KnownDirectories(tmp_path).recorded([directory.address]) is None


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
