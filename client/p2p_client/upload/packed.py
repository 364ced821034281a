"""Many small contents in one stream: the next ones are read while the network takes the last."""

from collections.abc import Awaitable, Callable, Iterator, Sequence

from p2p.v1 import peer_pb2, types_pb2
from p2p_client.library.errors import ContentError, ContentUnknown
from p2p_client.library.library import Library, SmallRead
from p2p_client.models import Digest
from p2p_client.upload.grants import Grant
from p2p_client.upload.refusals import FieldInvalid, TooLarge
from p2p_client.upload.slots.slots import Turn
from p2p_client.upload.status import refusal_of

MOST_DIGESTS = 5_000
LARGEST_CONTENT_BYTES = 1 << 20
LARGEST_MESSAGE_BYTES = 1 << 20  # of data
MOST_IN_MESSAGE = 1_024
MOST_IN_FIRST_MESSAGE = 32
"""Each may have four times as many as the one before: the downloader need not wait for many."""
DIGEST_BYTES = 32

Pack = Callable[[peer_pb2.FetchPackedResponse], Awaitable[None]]
Group = Sequence[tuple[Digest, str]]
"""Contents of one message, each with the reason why it will not be in it; empty: none is known."""


def checked_digests(raw: Sequence[bytes]) -> list[Digest]:
    """Raises TooLarge, FieldInvalid."""
    if len(raw) > MOST_DIGESTS:
        raise TooLarge(MOST_DIGESTS)
    if any(len(digest) != DIGEST_BYTES for digest in raw) or len(set(raw)) != len(raw):
        raise FieldInvalid("digests", f"{DIGEST_BYTES} bytes each, and no two alike")
    return [Digest(digest.hex()) for digest in raw]


def data_bytes(message: peer_pb2.FetchPackedResponse) -> int:
    return sum(len(content.data) for content in message.contents)


async def send_packed(
    library: Library, grant: Grant, digests: Sequence[Digest], turn: Turn, send: Pack
) -> None:
    """Sends every content once, in order, or the reason why it is not there.

    Raises StreamIdle, TooManyStreams: as `Turn.sending`.
    """
    groups = _groups(library, grant, digests, min(LARGEST_MESSAGE_BYTES, turn.chunk_bytes))
    index = 0
    ahead = _start(library, next(groups, None))
    try:
        while ahead is not None:
            (group, read), ahead = ahead, None
            outcomes = iter(await library.finish_reading(read))
            ahead = _start(library, next(groups, None))
            message = _message([reason or next(outcomes) for _, reason in group], index)
            index += len(group)
            async with turn.sending(data_bytes(message)):
                await send(message)
    finally:
        if ahead is not None:
            ahead[1].reading.cancel()


def _start(library: Library, group: Group | None) -> tuple[Group, SmallRead] | None:
    if group is None:
        return None
    return group, library.start_reading([digest for digest, reason in group if not reason])


def _groups(
    library: Library, grant: Grant, digests: Sequence[Digest], most_bytes: int
) -> Iterator[Group]:
    """Cut so that the data of each is within `most_bytes`, or it is one content."""
    group: list[tuple[Digest, str]] = []
    group_bytes, most = 0, MOST_IN_FIRST_MESSAGE
    for digest in digests:
        length, reason = _length_of(library, grant, digest)
        if group and (group_bytes + length > most_bytes or len(group) == most):
            yield group
            group, group_bytes = [], 0
            most = min(4 * most, MOST_IN_MESSAGE)
        group.append((digest, reason))
        group_bytes += length
    if group:
        yield group


def _length_of(library: Library, grant: Grant, digest: Digest) -> tuple[int, str]:
    """Bytes of the content in a message, and why there are none."""
    if not grant.covers(digest):
        return 0, "GRANT_MISMATCH"
    try:
        size_bytes = library.size_of(digest)
    except ContentUnknown:
        return 0, "CONTENT_UNKNOWN"
    return (size_bytes, "") if size_bytes <= LARGEST_CONTENT_BYTES else (0, "TOO_LARGE")


def _message(
    outcomes: Sequence[bytes | ContentError | str], index: int
) -> peer_pb2.FetchPackedResponse:
    """Contents from `index` on, or why they are not there: an error, or a reason by name."""
    contents = []
    for at, outcome in enumerate(outcomes, index):
        if isinstance(outcome, bytes):
            contents.append(peer_pb2.PackedContent(index=at, data=outcome))
            continue
        reason = outcome if isinstance(outcome, str) else refusal_of(outcome).reason
        code = types_pb2.ErrorReason.Value(f"ERROR_REASON_{reason}")
        contents.append(peer_pb2.PackedContent(index=at, reason=code))
    return peer_pb2.FetchPackedResponse(contents=contents)
