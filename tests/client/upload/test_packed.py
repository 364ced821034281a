"""FetchPacked at a real source: every content in its place, or the reason why not."""

from pathlib import Path

from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st
from tests.support.grants import GrantSigner
from tests.support.sources.sharing import PEER_ID, Source, a_source, first_chunk, refusal_of

from p2p.v1 import peer_pb2, types_pb2
from p2p_client.library.errors import ContentChanged, ContentError
from p2p_client.upload.packed import MOST_IN_FIRST_MESSAGE, encoded

MIB = 1 << 20


def a_tree(folder: Path, count: int, size_bytes: int = 100) -> list[bytes]:
    contents = [bytes([n % 256, n // 256]) * (size_bytes // 2) for n in range(count)]
    for n, content in enumerate(contents):
        file = folder / "tree" / str(n % 5) / f"{n}.bin"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    return contents


def digest(content: bytes) -> bytes:
    return blake3(content).digest()


async def packed(
    source: Source, digests: list[bytes], grant: str | None = None
) -> list[peer_pb2.FetchPackedResponse]:
    request = peer_pb2.FetchPackedRequest(digests=digests)
    call = source.stub.FetchPacked(request, metadata=source.with_grant(grant), timeout=30)
    return [message async for message in call]


def reasons(messages: list[peer_pb2.FetchPackedResponse]) -> list[int]:
    return [content.reason for message in messages for content in message.contents]


async def test_many_contents_come_whole_and_in_order(tmp_path: Path) -> None:
    contents = a_tree(tmp_path, 1_500)
    async with a_source(tmp_path / "tree", insecure=True) as source:
        messages = await packed(source, [digest(content) for content in contents])

    came = [content for message in messages for content in message.contents]
    assert [content.data for content in came] == contents
    assert [content.index for content in came] == list(range(1_500))
    assert len(messages) < 5
    assert len(messages[0].contents) <= MOST_IN_FIRST_MESSAGE  # so nobody waits for many


async def test_a_message_holds_a_mebibyte_at_most(tmp_path: Path) -> None:
    contents = a_tree(tmp_path, 9, 400_000)
    async with a_source(tmp_path / "tree", insecure=True) as source:
        messages = await packed(source, [digest(content) for content in contents])

    assert [len(message.contents) for message in messages] == [2, 2, 2, 2, 1]


async def test_what_cannot_be_sent_is_answered_in_its_place(tmp_path: Path) -> None:
    (good,) = a_tree(tmp_path, 1)
    gone, changed, large = tmp_path / "tree/gone", tmp_path / "tree/changed", bytes(MIB + 1)
    gone.write_bytes(b"gone")
    changed.write_bytes(b"before")
    (tmp_path / "tree/large").write_bytes(large)
    (tmp_path / "tree/most").write_bytes(bytes(MIB))
    async with a_source(tmp_path / "tree", insecure=True) as source:
        gone.unlink()
        changed.write_bytes(b"after!")
        asked = [b"gone", b"before", large, b"never shared", good, bytes(MIB)]
        messages = await packed(source, list(map(digest, asked)))

    assert reasons(messages) == [
        types_pb2.ERROR_REASON_CONTENT_CHANGED,
        types_pb2.ERROR_REASON_CONTENT_CHANGED,
        types_pb2.ERROR_REASON_TOO_LARGE,
        types_pb2.ERROR_REASON_CONTENT_UNKNOWN,
        types_pb2.ERROR_REASON_UNSPECIFIED,
        types_pb2.ERROR_REASON_UNSPECIFIED,
    ]
    came = [content.data for message in messages for content in message.contents]
    assert came == [b"", b"", b"", b"", good, bytes(MIB)]


async def test_a_symlink_in_the_place_of_a_shared_file_is_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"shared")
    a_tree(tmp_path, 1)
    shared = tmp_path / "tree/shared"
    shared.write_bytes(b"shared")
    async with a_source(tmp_path / "tree", insecure=True) as source:
        shared.unlink()
        shared.symlink_to(secret)
        messages = await packed(source, [digest(b"shared")])

    assert reasons(messages) == [types_pb2.ERROR_REASON_CONTENT_CHANGED]


async def test_of_several_files_with_a_content_any_good_one_serves(tmp_path: Path) -> None:
    a_tree(tmp_path, 1)
    for name in ("one", "two"):
        (tmp_path / "tree" / name).write_bytes(b"twice")
    async with a_source(tmp_path / "tree", insecure=True) as source:
        (tmp_path / "tree/one").write_bytes(b"other")
        messages = await packed(source, [digest(b"twice")])

    assert [content.data for content in messages[0].contents] == [b"twice"]


async def test_an_empty_content_is_content(tmp_path: Path) -> None:
    a_tree(tmp_path, 1)
    (tmp_path / "tree/empty").touch()
    async with a_source(tmp_path / "tree", insecure=True) as source:
        messages = await packed(source, [digest(b"")])

    assert reasons(messages) == [types_pb2.ERROR_REASON_UNSPECIFIED]


async def test_a_grant_for_some_gives_these_alone(tmp_path: Path) -> None:
    contents = a_tree(tmp_path, 2)
    async with a_source(tmp_path / "tree", insecure=True) as source:
        grant = source.signer.grant(PEER_ID, digests=[digest(contents[1]).hex()])
        messages = await packed(source, list(map(digest, contents)), grant)

    assert reasons(messages) == [types_pb2.ERROR_REASON_GRANT_MISMATCH, 0]


async def test_one_who_waits_for_a_slot_is_told_its_place(tmp_path: Path) -> None:
    (content,) = a_tree(tmp_path, 1)
    large = bytes(40 * MIB)
    (tmp_path / "tree/large").write_bytes(large)
    async with a_source(tmp_path / "tree", insecure=True, max_uploads=1) as source:
        other = source.fetch(digest(large).hex(), user="carol")
        await first_chunk(other)  # and takes no more: the slot is taken
        request = peer_pb2.FetchPackedRequest(digests=[digest(content)], wait_in_queue=True)
        call = source.stub.FetchPacked(request, metadata=source.with_grant(None), timeout=30)

        waiting = await call.read()
        other.cancel()
        messages = []
        while isinstance(message := await call.read(), peer_pb2.FetchPackedResponse):
            messages.append(message)

    assert isinstance(waiting, peer_pb2.FetchPackedResponse)
    assert (waiting.queue.position, waiting.queue.waiting_count) == (0, 1)
    assert not waiting.contents
    assert [came.data for came in messages[-1].contents] == [content]


async def test_what_is_no_request_is_refused(tmp_path: Path) -> None:
    (content,) = a_tree(tmp_path, 1)
    async with a_source(tmp_path / "tree", insecure=True, max_uploads=1) as source:

        async def refused(digests: list[bytes], grant: str | None = None) -> tuple[str, str]:
            request = peer_pb2.FetchPackedRequest(digests=digests)
            metadata = source.with_grant(grant)
            return await refusal_of(source.stub.FetchPacked(request, metadata=metadata, timeout=30))

        good = digest(content)
        assert await refused([good], "") == ("UNAUTHENTICATED", "GRANT_MISSING")
        foreign = GrantSigner().grant(PEER_ID)
        assert await refused([good], foreign) == ("UNAUTHENTICATED", "GRANT_INVALID")
        assert await refused([good[:31]]) == ("INVALID_ARGUMENT", "FIELD_INVALID")
        assert await refused([good, good]) == ("INVALID_ARGUMENT", "FIELD_INVALID")
        many = [n.to_bytes(32, "big") for n in range(5_001)]
        assert await refused(many) == ("RESOURCE_EXHAUSTED", "TOO_LARGE")
        assert len(reasons(await packed(source, many[:5_000]))) == 5_000


@given(
    outcomes=st.lists(
        st.one_of(
            st.binary(max_size=300),
            st.sampled_from(["CONTENT_UNKNOWN", "TOO_LARGE", "GRANT_MISMATCH"]),
            st.just(ContentChanged("it was written to")),
        ),
        max_size=20,
    ),
    index=st.integers(0, 5_000),
)
def test_what_is_encoded_by_hand_is_what_protobuf_encodes(
    outcomes: list[bytes | str | ContentError], index: int
) -> None:
    message = peer_pb2.FetchPackedResponse()
    for at, outcome in enumerate(outcomes, index):
        if isinstance(outcome, bytes):
            message.contents.add(index=at, data=outcome)
            continue
        reason = outcome if isinstance(outcome, str) else "CONTENT_CHANGED"
        code = types_pb2.ErrorReason.Value(f"ERROR_REASON_{reason}")
        message.contents.add(index=at, reason=code)

    assert encoded(outcomes, index) == message.SerializeToString(deterministic=True)
