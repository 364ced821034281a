"""Contents by digest over TLS: the right bytes for good calls, the right reason for all others."""

import os
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import grpc
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from tests.support.grants import GrantSigner
from tests.support.sources.sharing import (
    PEER_ID,
    Source,
    a_source,
    first_chunk,
    refusal_of,
    rest_of,
)

from p2p.v1 import peer_pb2
from p2p.v1.peer_pb2_grpc import PeerServiceStub
from p2p_client.content.manifest import Manifest
from p2p_client.models import Endpoint
from p2p_client.net.channels import peer_channel
from p2p_client.net.identity import load_or_create

KIB, MIB = 1 << 10, 1 << 20
CONTENT = os.urandom(3 * MIB + 12_345)


@pytest.fixture
async def source(tmp_path: Path) -> AsyncIterator[Source]:
    share = tmp_path / "share"
    share.mkdir()
    (share / "big").write_bytes(CONTENT)
    (share / "empty").write_bytes(b"")
    async with a_source(share) as source:
        yield source


@pytest.mark.parametrize(
    ("offset", "limit"),
    [
        (0, 0),
        (0, 1),
        (1, MIB),
        (MIB - 1, 2),
        (MIB, MIB),
        (3 * MIB, 0),
        (len(CONTENT) - 1, 0),
        (len(CONTENT) - 1, 1 << 62),
        (len(CONTENT), 0),
        (len(CONTENT), 5),
        (0, (1 << 63) - 1),
    ],
)
async def test_a_range_is_sent_as_it_is_on_disk(source: Source, offset: int, limit: int) -> None:
    end = min(len(CONTENT), offset + limit) if limit else len(CONTENT)

    assert await source.fetch_all(source.digest("share/big"), offset, limit) == CONTENT[offset:end]


async def test_an_empty_content_is_a_stream_without_data(source: Source) -> None:
    assert await source.fetch_all(source.digest("share/empty")) == b""


@pytest.mark.parametrize(
    ("wished", "expected"),
    [(0, MIB), (1, 16 * KIB), (-5, MIB), (100_000, 100_000), ((1 << 31) - 1, MIB)],
)
async def test_chunks_have_the_size_wished_for_within_bounds(
    source: Source, wished: int, expected: int
) -> None:
    call = source.fetch(source.digest("share/big"), chunk_bytes=wished)
    lengths = [len(chunk.data) async for chunk in call]

    assert set(lengths[:-1]) == {expected}
    assert 0 < lengths[-1] <= expected
    assert sum(lengths) == len(CONTENT)


@pytest.mark.parametrize(
    ("offset", "limit"),
    [
        (-1, 0),
        (-(1 << 63), 0),
        (0, -1),
        (0, -(1 << 63)),
        (len(CONTENT) + 1, 0),
        ((1 << 63) - 1, (1 << 63) - 1),
    ],
)
async def test_a_range_outside_the_content_is_refused(
    source: Source, offset: int, limit: int
) -> None:
    call = source.fetch(source.digest("share/big"), offset, limit)

    assert await refusal_of(call) == ("OUT_OF_RANGE", "RANGE_INVALID")


async def test_the_manifest_is_that_of_the_content(source: Source) -> None:
    resource = source.shared.resources["share/big"]
    answer = (await source.manifest(resource.digest)).manifest

    manifest = Manifest(answer.size_bytes, answer.piece_size_bytes, answer.piece_digests)
    assert manifest.digest() == resource.manifest_digest
    assert manifest.piece_count == 4


@pytest.mark.parametrize("digest", ["", "0" * 63, "0" * 65, "A" * 64, "../../etc/passwd", "b3:00"])
async def test_a_malformed_digest_is_refused(source: Source, digest: str) -> None:
    expected = ("INVALID_ARGUMENT", "FIELD_INVALID")
    assert await refusal_of(source.fetch(digest)) == expected
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await source.manifest(digest)
    assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_content_that_is_not_shared_is_unknown(source: Source) -> None:
    assert await refusal_of(source.fetch("0" * 64)) == ("NOT_FOUND", "CONTENT_UNKNOWN")


async def test_without_a_good_grant_nothing_is_given(source: Source) -> None:
    digest, signer = source.digest("share/big"), source.signer
    unauthenticated, denied = "UNAUTHENTICATED", "PERMISSION_DENIED"
    cases = {
        "": (unauthenticated, "GRANT_MISSING"),
        "nonsense": (unauthenticated, "GRANT_INVALID"),
        GrantSigner().grant(PEER_ID): (unauthenticated, "GRANT_INVALID"),
        signer.grant(PEER_ID, lifetime=timedelta(minutes=-3)): (unauthenticated, "GRANT_EXPIRED"),
        signer.grant("another"): (denied, "GRANT_MISMATCH"),
        signer.grant(PEER_ID, digests=["0" * 64]): (denied, "GRANT_MISMATCH"),
    }
    for grant, expected in cases.items():
        assert await refusal_of(source.fetch(digest, grant=grant)) == expected
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await source.manifest(digest, grant)
        assert error.value.code().name == expected[0]
    good = signer.grant(PEER_ID, digests=[digest])
    assert [chunk async for chunk in source.fetch(digest, grant=good)]


async def test_a_stream_goes_on_when_its_grant_expires_and_the_next_is_refused(
    source: Source,
) -> None:
    digest = source.digest("share/big")
    call = source.fetch(digest, chunk_bytes=64 * KIB)
    received = await first_chunk(call)
    source.clock_ahead = timedelta(hours=13)
    received += await rest_of(call)

    assert received == CONTENT
    assert (await refusal_of(source.fetch(digest)))[1] == "GRANT_EXPIRED"


async def test_another_certificate_at_the_same_address_is_not_talked_to(
    source: Source, tmp_path: Path
) -> None:
    stranger = load_or_create(tmp_path / "stranger.pem")
    endpoint = Endpoint("127.0.0.1", source.port)
    async with peer_channel(endpoint, stranger.certificate_der) as channel:
        call = source.fetch(source.digest("share/big"), stub=PeerServiceStub(channel))
        code, reason = await refusal_of(call)

    assert (code, reason) == ("UNAVAILABLE", "")


@pytest.mark.parametrize("insecure", [False, True])
async def test_the_peer_proves_its_identity(tmp_path: Path, insecure: bool) -> None:
    (tmp_path / "f").write_bytes(b"x")
    nonce = os.urandom(32)
    async with a_source(tmp_path / "f", insecure=insecure) as source:
        answer = await source.stub.ProveIdentity(
            peer_pb2.ProveIdentityRequest(nonce=nonce), timeout=10
        )
        signed = b"p2p.v1.ProveIdentity\0" + b"".join(
            len(part).to_bytes(4, "big") + part for part in (nonce, PEER_ID.encode())
        )
        key = source.identity.private_key.public_key()
        key.verify(answer.signature, signed, ec.ECDSA(hashes.SHA256()))
        for length in (0, 15, 65, 10_000):
            request = peer_pb2.ProveIdentityRequest(nonce=bytes(length))
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await source.stub.ProveIdentity(request, timeout=10)
            assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT
