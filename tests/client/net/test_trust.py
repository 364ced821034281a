"""What is on record about directories is believed over what they show."""

import asyncio
import json
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.support.certificates import directory_key_pair, key_pair
from tests.support.directory.fake import FakeDirectory

from p2p_client.config import Address
from p2p_client.errors import DirectoryUnreachable, DirectoryUntrusted, LocalRefusal
from p2p_client.net.trust import KnownDirectories, TrustDecision, probe

HERE, THERE = Address("a.lab", 1), Address("b.lab", 2)


def decision(*, first_contact: bool = True) -> TrustDecision:
    keys = directory_key_pair()
    return TrustDecision(keys.certificate_der, keys.fingerprint, first_contact)


def test_a_record_is_private_and_found_again(tmp_path: Path) -> None:
    made = decision()
    KnownDirectories(tmp_path).record(HERE, made)
    file = tmp_path / "known_directories.json"

    assert KnownDirectories(tmp_path).recorded([THERE, HERE]) == made.fingerprint
    assert KnownDirectories(tmp_path).recorded([THERE]) is None
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_addresses_with_different_keys_are_not_one_directory(tmp_path: Path) -> None:
    known = KnownDirectories(tmp_path)
    known.record(HERE, decision())
    known.record(THERE, decision())

    with pytest.raises(DirectoryUntrusted):
        known.recorded([HERE, THERE])


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{", '{"a.lab:1": {}}', '{"a.lab:1": {"fingerprint": "x", "certificate": ""}}'],
)
def test_a_damaged_record_is_said_and_not_started_afresh(tmp_path: Path, content: str) -> None:
    file = tmp_path / "known_directories.json"
    file.write_text(content)
    known = KnownDirectories(tmp_path)

    with pytest.raises(LocalRefusal, match="damaged"):
        known.recorded([HERE])
    with pytest.raises(LocalRefusal, match="damaged"):
        known.record(HERE, decision())
    assert file.read_text() == content


async def test_a_decision_alone_records_nothing(tmp_path: Path) -> None:
    async with FakeDirectory() as directory:
        known = KnownDirectories(tmp_path)

        made = await known.trusted_certificate(directory.address, None)

        assert made.fingerprint == directory.fingerprint
        assert made.first_contact
        assert known.recorded([directory.address]) is None


async def test_removing_the_entry_as_the_error_says_trusts_anew(tmp_path: Path) -> None:
    known = KnownDirectories(tmp_path)
    async with FakeDirectory() as directory:
        known.record(directory.address, decision())
        with pytest.raises(DirectoryUntrusted) as caught:
            await known.trusted_certificate(directory.address, None)

        file = tmp_path / "known_directories.json"
        assert str(file) in str(caught.value)
        assert f'"{directory.address}"' in str(caught.value)
        entries = json.loads(file.read_text())
        del entries[str(directory.address)]
        file.write_text(json.dumps(entries))

        made = await known.trusted_certificate(directory.address, None)
        assert made.first_contact


async def test_a_server_of_another_kind_is_no_directory(tmp_path: Path) -> None:
    async with FakeDirectory(identity=key_pair("www.example.com")) as server:
        with pytest.raises(DirectoryUnreachable, match="no directory"):
            await KnownDirectories(tmp_path).trusted_certificate(server.address, None)


async def test_a_name_that_does_not_resolve_is_said() -> None:
    with pytest.raises(DirectoryUnreachable, match=r"nowhere\.invalid:1"):
        await probe(Address("nowhere.invalid", 1), 5.0)


async def test_bytes_that_are_not_tls_are_said_as_such() -> None:
    held: list[asyncio.StreamWriter] = []

    def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example.com ESMTP\r\n")
        held.append(writer)

    async with await asyncio.start_server(greet, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(DirectoryUnreachable, match="does not speak TLS"):
            await probe(Address("127.0.0.1", port), 5.0)
        for writer in held:
            writer.transport.abort()


def test_two_who_record_at_once_lose_neither_record(tmp_path: Path) -> None:
    made = decision()
    addresses = [Address("a.lab", port) for port in range(40)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda at: KnownDirectories(tmp_path).record(at, made), addresses))

    known = KnownDirectories(tmp_path)
    assert all(known.recorded([address]) == made.fingerprint for address in addresses)
