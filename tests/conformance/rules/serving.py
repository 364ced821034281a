"""Rules for who shares, as a downloader meets it: grants, contents, ranges."""

import asyncio
import os
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from tests.conformance.rules.book import rule
from tests.conformance.rules.world import Sharing, World, bearer, ended
from tests.support.certificates import peer_key_pair
from tools.vectors.base import FOREIGN_KEY, MIB, NONCE, content, len32
from tools.vectors.contents import manifest_case
from tools.vectors.grants import jwt

from p2p.v1 import peer_pb2 as pb

CONTENT = content(2 * MIB + 77)
CODES = {
    "GRANT_MISSING": "UNAUTHENTICATED",
    "GRANT_INVALID": "UNAUTHENTICATED",
    "GRANT_EXPIRED": "UNAUTHENTICATED",
    "GRANT_MISMATCH": "PERMISSION_DENIED",
}
OUT_OF_RANGE = "OUT_OF_RANGE / RANGE_INVALID"
UNKNOWN = "NOT_FOUND / CONTENT_UNKNOWN"
MALFORMED = "INVALID_ARGUMENT / FIELD_INVALID"
CHANGED = "ABORTED / CONTENT_CHANGED"


async def sharing_one(world: World, data: bytes = CONTENT) -> tuple[Sharing, str]:
    sharing = await world.share(await world.directory(), {"a.bin": data})
    return sharing, sharing.resource("a.bin").digest


def fetch(
    sharing: Sharing,
    digest: str,
    metadata: Any,
    read_offset: int = 0,
    read_limit: int = 0,
    max_chunk_bytes: int = 0,
) -> Any:
    request = pb.FetchFileRequest(
        digest=digest,
        read_offset=read_offset,
        read_limit=read_limit,
        max_chunk_bytes=max_chunk_bytes,
    )
    return sharing.stub.FetchFile(request, metadata=metadata)


def manifest(sharing: Sharing, digest: str, metadata: Any) -> Any:
    return sharing.stub.GetManifest(pb.GetManifestRequest(digest=digest), metadata=metadata)


@rule("share", "serves manifest and content to who shows a grant, under its own certificate")
async def serves(world: World) -> None:
    sharing, digest = await sharing_one(world)
    grant = sharing.grant(digest)

    sent = (await manifest(sharing, digest, grant)).manifest
    answer = await ended(fetch(sharing, digest, grant))

    case = manifest_case("", CONTENT)
    assert sent.piece_digests.hex() == "".join(case["piece_digests"]), "other piece digests"
    assert (sent.size_bytes, sent.piece_size_bytes) == (len(CONTENT), case["piece_size_bytes"])
    assert answer.status == "OK", answer.status
    assert answer.data == CONTENT, "other bytes"
    assert answer.largest_chunk <= MIB, f"a chunk of {answer.largest_chunk} bytes"


@rule("share", "serves an empty content")
async def serves_nothing(world: World) -> None:
    sharing, digest = await sharing_one(world, b"")
    grant = sharing.grant(digest)

    assert (await manifest(sharing, digest, grant)).manifest.piece_digests == b""
    answer = await ended(fetch(sharing, digest, grant))
    assert (answer.status, answer.data) == ("OK", b""), answer.status


@rule("share", "refuses calls without a grant")
async def no_grant(world: World) -> None:
    sharing, digest = await sharing_one(world)

    for metadata in ((), (("authorization", "Basic abc"),)):
        for call in (manifest, fetch):
            status = (await ended(call(sharing, digest, metadata))).status
            reasons = ("GRANT_MISSING", "GRANT_INVALID") if metadata else ("GRANT_MISSING",)
            assert status in {f"UNAUTHENTICATED / {reason}" for reason in reasons}, status


@rule("share", "judges every grant of the vectors as they say: forged, expired, none, for others")
async def judges_grants(world: World) -> None:
    sharing, digest = await sharing_one(world)
    wrong = []
    for name, expect, grant in sharing.granting(digest).cases():
        wanted = [f"{CODES[why]} / {why}" if why != "good" else "OK" for why in expect.split("|")]
        for call in (manifest, fetch):
            status = (await ended(call(sharing, digest, bearer(grant)))).status
            if status not in wanted:
                wanted_text = " or ".join(wanted)
                wrong.append(f"{name}: {call.__name__} answered {status}, wanted {wanted_text}")
    assert not wrong, "; ".join(wrong)


@rule("share", "does not cut a running stream when another grant is refused")
async def streams_go_on(world: World) -> None:
    sharing, digest = await sharing_one(world, content(24 * MIB))
    running = fetch(sharing, digest, sharing.grant(digest))
    first = await anext(aiter(running))
    granting = sharing.granting(digest)

    forged = bearer(jwt(granting.claims(), FOREIGN_KEY))
    refused = await ended(fetch(sharing, digest, forged))

    assert refused.status == "UNAUTHENTICATED / GRANT_INVALID", refused.status
    rest = await ended(running)
    assert rest.status == "OK", rest.status
    assert len(first.data) + len(rest.data) == 24 * MIB, "bytes are missing"


@rule("share", "knows only the digests that it shares")
async def unknown_digests(world: World) -> None:
    sharing, digest = await sharing_one(world)
    everything = sharing.everything()
    wanted = {
        "00" * 32: UNKNOWN, digest[::-1]: UNKNOWN, "": MALFORMED, digest[:63]: MALFORMED,
        digest.upper(): MALFORMED, "../../etc/passwd": MALFORMED, f"b3:{digest}": MALFORMED,
    }  # fmt: skip
    for asked, status in wanted.items():
        for call in (manifest, fetch):
            answer = await ended(call(sharing, asked, everything))
            assert answer.status == status, f"{asked!r}: {answer.status}, wanted {status}"


@rule("share", "serves ranges with the meaning of google.bytestream.Read")
async def ranges(world: World) -> None:
    sharing, digest = await sharing_one(world)
    grant, size = sharing.grant(digest), len(CONTENT)
    for offset, limit in (
        (0, 1), (1, 1), (MIB - 1, 2), (MIB, 0), (5, MIB), (size - 1, 0), (size - 1, 100),
        (size, 0), (size, 5), (0, size), (0, size + 1), (7, (1 << 63) - 1),
    ):  # fmt: skip
        answer = await ended(fetch(sharing, digest, grant, read_offset=offset, read_limit=limit))
        wanted = CONTENT[offset : offset + limit] if limit else CONTENT[offset:]
        assert answer.status == "OK", f"({offset}, {limit}): {answer.status}"
        assert answer.data == wanted, f"({offset}, {limit}): other bytes"
    for offset, limit in ((-1, 0), (0, -1), (size + 1, 0), ((1 << 63) - 1, 1), (-(1 << 63), 5)):
        answer = await ended(fetch(sharing, digest, grant, read_offset=offset, read_limit=limit))
        assert answer.status == OUT_OF_RANGE, f"({offset}, {limit}): {answer.status}"


@rule("share", "keeps chunks within what is asked for, 16 KiB and 1 MiB")
async def chunks(world: World) -> None:
    sharing, digest = await sharing_one(world)
    grant = sharing.grant(digest)
    for asked, most in ((20_000, 20_000), (1, 16 << 10), (-5, MIB), (1 << 30, MIB)):
        answer = await ended(fetch(sharing, digest, grant, max_chunk_bytes=asked))
        assert answer.data == CONTENT, f"{asked}: {answer.status}"
        assert answer.largest_chunk <= most, f"{answer.largest_chunk} where {asked} was asked for"


@rule("share", "does not serve a file that changed under an unchanged name")
async def changed(world: World) -> None:
    sharing, digest = await sharing_one(world)
    file = sharing.folder / "a.bin"
    before = file.stat()

    file.write_bytes(CONTENT[::-1])
    os.utime(
        file, ns=(before.st_atime_ns, before.st_mtime_ns)
    )  # the change time tells all the same
    answer = await ended(fetch(sharing, digest, sharing.grant(digest)))

    assert answer.status in (CHANGED, UNKNOWN), answer.status
    assert not answer.data, "it sent bytes of a changed file"


@rule("share", "ends a stream with CONTENT_CHANGED when the file changes while it is sent")
async def changed_meanwhile(world: World) -> None:
    data = content(64 * MIB)
    sharing, digest = await sharing_one(world, data)
    running = fetch(sharing, digest, sharing.grant(digest))
    first = await anext(aiter(running))

    with (sharing.folder / "a.bin").open("r+b") as file:
        file.truncate(40 * MIB)
    rest = await ended(running)

    assert rest.status == CHANGED, rest.status
    assert data.startswith(first.data + rest.data[: 32 * MIB]), "other bytes came"
    assert sharing.program.running, "it died of it"


@rule("share", "proves its identity with its key")
async def proves_identity(world: World) -> None:
    sharing, _ = await sharing_one(world)
    register = sharing.directory.sharer.register

    answer = await sharing.stub.ProveIdentity(pb.ProveIdentityRequest(nonce=NONCE))

    key = x509.load_der_x509_certificate(register.certificate_der).public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    signed = b"p2p.v1.ProveIdentity\0" + len32(NONCE, register.peer_id.encode())
    key.verify(answer.signature, signed, ec.ECDSA(SHA256()))
    for nonce in (b"", bytes(15), bytes(65)):
        call = sharing.stub.ProveIdentity(pb.ProveIdentityRequest(nonce=nonce))
        status = (await ended(call)).status
        assert status == MALFORMED, f"a nonce of {len(nonce)} bytes: {status}"


@rule("share", "bears a downloader that hangs up in the middle")
async def hangs_up(world: World) -> None:
    sharing, digest = await sharing_one(world, content(24 * MIB))
    for _ in range(40):
        call = fetch(sharing, digest, sharing.grant(digest))
        await anext(aiter(call))
        call.cancel()
    await asyncio.sleep(0.5)

    answer = await ended(fetch(sharing, digest, sharing.grant(digest)))

    assert len(answer.data) == 24 * MIB, answer.status


@rule("share", "is not to be reached under another certificate")
async def pinned(world: World) -> None:
    sharing, digest = await sharing_one(world)
    register = sharing.directory.sharer.register
    port = register.listen_port or register.endpoints[0].port
    channel = world.dial(port, peer_key_pair().certificate_der)
    other = Sharing(sharing.program, sharing.directory, sharing.folder, channel)

    answer = await ended(manifest(other, digest, sharing.grant(digest)))

    assert answer.status.startswith("UNAVAILABLE"), answer.status
