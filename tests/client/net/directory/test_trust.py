"""The client believes only the directory whose key it knows."""

from pathlib import Path

import pytest
from tests.client.net.directory.clients import Connect, register
from tests.support.certificates import directory_key_pair
from tests.support.directory.fake import FakeDirectory

from p2p.v1 import directory_pb2 as pb
from p2p_client.errors import (
    DirectoryRefused,
    DirectoryUnreachable,
    DirectoryUntrusted,
)
from p2p_client.models import (
    Revision,
)
from p2p_client.net.identity import Identity
from p2p_client.net.trust import KnownDirectories


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
